import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cspine.competition.submission import check
from cspine.competition.tables import read_sample, read_submission
from cspine.errors import InputError
from cspine.kaggle.local_run import GUARD, run_kernel
from cspine.networks.checkpoints import read_description, save_weights
from cspine.settings.layout import MODEL

SCRIPT = Path(__file__).resolve().parents[2] / "kernels" / "inference" / "inference.py"
COUNTING = """
import shutil, sys
from pathlib import Path
log = Path(sys.argv[1]).parents[2] / "runs.log"
log.write_text((log.read_text() if log.is_file() else "") + "x")
shutil.copy(next(Path(sys.argv[1]).glob("*/*/sample_submission.csv")), "submission.csv")
Path("inference.json").write_text("{}")
Path("fold_logits.csv").write_text("")
Path("fallbacks.csv").write_text("")
"""
CONNECT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5) as connection:
    connection.sendall(b"hello")
"""


def connect(port: int, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", CONNECT, str(port)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_the_guard_refuses_every_connection(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        port = server.getsockname()[1]
        assert connect(port).returncode == 0  # without the guard it works
        server.accept()[0].close()
        guarded = connect(port, PYTHONPATH=str(tmp_path))
        assert guarded.returncode == 1
        assert "PermissionError: no network in this kernel: socket.getaddrinfo '127.0.0.1'" in guarded.stderr
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("socket.socket().connect(('127.0.0.1', 9))", True),
        ("socket.socket(socket.AF_INET6).connect(('::1', 9))", True),
        ("socket.getaddrinfo('localhost', 80)", True),
        ("socket.gethostbyname('localhost')", True),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))", True),
        ("socket.socket(socket.AF_UNIX).connect('/no/such/socket')", False),
    ],
)
def test_the_guard_knows_networks_from_pipes(tmp_path, words, refused):
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    command = [sys.executable, "-c", f"import socket; {words}"]
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ("no network in this kernel" in done.stderr) is refused
    assert ("FileNotFoundError" in done.stderr) is not refused


def test_the_kernel_as_kaggle_runs_it(competition, studies, run, tmp_path):
    path = run_kernel(competition, run, SCRIPT, tmp_path)
    sample = read_sample(competition)
    check(read_submission(path), sample, path)
    said = json.loads((tmp_path / "inference.json").read_text())
    assert (said["predicted"], said["fell_back"]) == (len(studies), {})
    assert (tmp_path / "fallbacks.csv").read_text() == "StudyInstanceUID,reason\n"
    assert read_submission(path)["fractured"].nunique() > 8
    assert (tmp_path / "kaggle" / "input" / "competitions").is_dir()


def test_an_up_to_date_submission_is_kept_and_a_new_model_runs_again(competition, own_run, tmp_path):
    competition = shutil.copytree(competition, tmp_path / "competition")
    script = tmp_path / "script.py"
    script.write_text(COUNTING)
    out = tmp_path / "out"

    def runs() -> int:
        result = run_kernel(competition, own_run, script, out)
        check(read_submission(result), read_sample(competition), result)
        return len((tmp_path / "runs.log").read_text()) if (tmp_path / "runs.log").exists() else 0

    assert runs() == 1
    assert runs() == 1
    model, other = (own_run / "classifier" / f"fold{fold}" / MODEL for fold in (1, 0))
    save_weights(model, load_file(other), read_description(model, "make train"))
    assert runs() == 2
    assert runs() == 2
    script.write_text(COUNTING + "\n")
    assert runs() == 3
    (out / "submission.csv").unlink()
    assert runs() == 4
    next((competition / "test_images").rglob("*.dcm")).unlink()
    assert runs() == 5


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("", "left no submission.csv"),
        ("open('submission.csv', 'w').write('row_id,fractured\\n1.2_C1,0.5\\n')", "row id"),
    ],
)
def test_a_kernel_that_fails_is_told(competition, run, tmp_path, code, words):
    script = tmp_path / "script.py"
    script.write_text(code)
    with pytest.raises(InputError, match=words):
        run_kernel(competition, run, script, tmp_path / "out")
    assert not (tmp_path / "out" / "submission.csv").exists()
