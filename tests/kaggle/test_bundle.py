import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cspine.errors import InputError
from cspine.kaggle import wheels
from cspine.kaggle.bundle import assemble
from cspine.kaggle.marker import MARKER
from cspine.kaggle.push import PushSources, prepare_push
from cspine.settings.layout import CALIBRATION

ROOT = Path(__file__).resolve().parents[2]
IMPORT_ALL = """
import sys
sys.path.insert(0, sys.argv[1])
import cspine.kaggle.kernel
names = [name for name in sys.modules if name.split(".")[0] == "cspine"]
strays = [name for name in names if not (sys.modules[name].__file__ or "").startswith(sys.argv[1])]
print(len(names), strays, [name for name in ("tyro", "kaggle", "pytest") if name in sys.modules])
"""


def test_the_bundle_holds_code_models_and_a_list_of_them(run, tmp_path):
    folder = tmp_path / "bundle"
    files = assemble(run, folder)
    assert all(path.is_file() for path in files)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {path.relative_to(folder).as_posix() for path in files} | {MARKER}
    listed = json.loads((folder / MARKER).read_text())["files"]
    assert list(listed) == sorted(names - {MARKER})
    assert all(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() == total for name, total in listed.items()
    )
    assert not [name for name in names if "__pycache__" in name]
    wanted = {
        f"models/{kind}/fold{fold}/model.safetensors" for kind in ("locator", "classifier") for fold in (0, 1)
    }
    assert {name for name in names if name.startswith("models/")} == wanted | {f"models/{CALIBRATION}"}
    source = ROOT / "src" / "cspine"
    code = {f"src/cspine/{path.relative_to(source).as_posix()}" for path in source.rglob("*.py")}
    assert code <= names


def test_the_kernel_imports_from_the_bundle_alone(run, tmp_path):
    folder = tmp_path / "bundle"
    assemble(run, folder)
    command = [sys.executable, "-I", "-c", IMPORT_ALL, str(folder / "src")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    count, strays = done.stdout.split(maxsplit=1)
    assert int(count) > 20
    assert strays.strip() == "[] []"


def test_a_bundle_is_made_anew(own_run, tmp_path):
    folder, packed = tmp_path / "bundle", tmp_path / "wheels"
    packed.mkdir()
    (packed / "some-1.0-py3-none-any.whl").write_bytes(b"")
    assemble(own_run, folder, packed)
    assert (folder / "wheels" / "some-1.0-py3-none-any.whl").is_file()
    (folder / "models" / "stray.bin").touch()
    assemble(own_run, folder)
    assert not (folder / "wheels").exists() and not (folder / "models" / "stray.bin").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_without_a_finished_fold_is_refused_and_the_old_bundle_stays(own_run, tmp_path):
    folder = tmp_path / "bundle"
    assemble(own_run, folder)
    for fold in (0, 1):
        (own_run / "classifier" / f"fold{fold}" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no finished classifier"):
        assemble(own_run, folder)
    assert (folder / "models" / "classifier" / "fold0" / "model.safetensors").is_file()
    (own_run / CALIBRATION).unlink()
    with pytest.raises(InputError, match="make cv"):
        assemble(own_run, folder)


def test_a_run_of_one_finished_fold_is_bundled(own_run, tmp_path):
    (own_run / "classifier" / "fold0" / "model.safetensors").unlink()
    names = {path.relative_to(tmp_path).as_posix() for path in assemble(own_run, tmp_path / "bundle")}
    assert "bundle/models/classifier/fold1/model.safetensors" in names
    assert "bundle/models/classifier/fold0/model.safetensors" not in names


def call(script: str, *flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "src" / script), *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def packed(folder: Path) -> Path:
    """A folder with a wheel."""
    wheels_folder = folder / "wheels"
    wheels_folder.mkdir()
    (wheels_folder / "some-1.0-py3-none-any.whl").write_bytes(b"")
    return wheels_folder


def nan_in(run: Path) -> None:
    path = run / "classifier" / "fold1" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4096:] = np.full(1024, np.nan, np.float32).tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("owner", "with_wheels", "harm", "words"),
    [
        ("", True, None, "expected your Kaggle user name"),
        ("OWNER", True, None, "expected your Kaggle user name"),
        ("../me", True, None, "expected your Kaggle user name"),
        ("me", False, None, "no .whl file in it; `make wheels`"),
        ("me", True, nan_in, "classifier/fold1/model.safetensors: its answer to a probe is not finite"),
    ],
)
def test_push_refuses_what_would_fail_on_kaggle(own_run, tmp_path, owner, with_wheels, harm, words):
    folder = packed(tmp_path) if with_wheels else tmp_path
    if harm:
        harm(own_run)
    sources = PushSources(own_run, ROOT / "kernels" / "inference", owner, folder)
    with pytest.raises(InputError, match=re.escape(words)):
        prepare_push(sources, tmp_path / "push")
    assert not (tmp_path / "push" / "bundle").exists()


def test_push_prints_two_commands_and_sends_nothing(run, tmp_path):
    out, lock = tmp_path / "push", tmp_path / "guard"
    lock.mkdir()
    (lock / "sitecustomize.py").write_text(
        "import sys\n"
        "def note(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen', 'os.system'):\n"
        f"        open({str(tmp_path / 'events')!r}, 'a').write(f'{{event}} {{arguments}}\\n')\n"
        "sys.addaudithook(note)\n"
    )
    command = [sys.executable, str(ROOT / "src" / "push.py")]
    command += ["--run", str(run), "--out", str(out), "--owner", "someone", "--wheels", str(packed(tmp_path))]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(lock), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    commands = [line.strip() for line in done.stdout.splitlines() if "kaggle" in line and line[:2] == "  "]
    assert commands == [
        f".venv/bin/kaggle datasets create -p {out / 'bundle'} --dir-mode zip",
        f".venv/bin/kaggle kernels push -p {out / 'kernel'}",
    ]
    events = (tmp_path / "events").read_text() if (tmp_path / "events").exists() else ""
    assert not [
        line for line in events.splitlines() if "socket" in line or "kaggle" in line.split("-p")[0]
    ], events
    kernel = json.loads((out / "kernel" / "kernel-metadata.json").read_text())
    dataset = json.loads((out / "bundle" / "dataset-metadata.json").read_text())
    assert kernel["enable_internet"] is False
    assert kernel["dataset_sources"] == [dataset["id"]] == ["someone/cspine-bundle"]
    assert kernel["id"] == "someone/cspine-inference"
    assert (out / "kernel" / kernel["code_file"]).read_text() == (
        ROOT / "kernels/inference/inference.py"
    ).read_text()


def test_wheels_that_travel_are_those_that_kaggle_lacks():
    names = wheels.travelling((ROOT / "requirements.txt").read_text())
    assert {name.split("==")[0] for name in names} >= {"pydicom", "dicomsdl", "pylibjpeg", "pebble"}
    assert not [name for name in names if name.split("==")[0] in ("torch", "numpy", "pytest", "tyro")]
    text = f"a==1\n\n{wheels.HEADING}: so\nb==2\n# why\nc==3\n\nd==4\n"
    assert wheels.travelling(text) == ["b==2", "c==3"]
    with pytest.raises(InputError, match="Not in Kaggle's image"):
        wheels.travelling("a==1\n")
