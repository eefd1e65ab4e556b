"""Odd machines: users without an account, screens of few letters, names of every kind, what the system refuses."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import Dataset

from cspine import storage
from cspine.errors import InputError, os_error_words, printable
from cspine.networks.encoder_weights import check_encoder_weights
from cspine.networks.pretrained import WEIGHTS
from cspine.settings import execution
from cspine.settings.networks import ClassifierSettings
from cspine.settings.presets import PRESETS
from cspine.training.datasets import Batches

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 12345
AS_NOBODY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
"""A user without an account."""
PACKAGES = {"PYTHONPATH": str(Path(np.__file__).parents[1])}


def script(
    name: str, *flags, as_nobody: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of src/, with its own words on both streams."""
    python = python_of_nobody() if as_nobody else sys.executable
    command = [str(python), str(ROOT / "src" / f"{name}.py"), *map(str, flags)]
    user = AS_NOBODY if as_nobody else {}
    kept = {
        key: value for key, value in os.environ.items() if key not in ("USER", "LOGNAME", "LNAME", "USERNAME")
    }
    return subprocess.run(
        command,
        env={**kept, **({**PACKAGES, "HOME": "/nonexistent"} if as_nobody else {}), **environment},
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=300,
        **user,
    )


@cache
def python_of_nobody() -> str | None:
    """A Python that a user without an account may run with this one's packages; None if there is none."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin")):
        try:
            if (
                python
                and not subprocess.run([python, "-c", "import cv2"], env=PACKAGES, **AS_NOBODY).returncode
            ):
                return python
        except PermissionError:
            continue
    return None


def needs_another_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process as another user")
    if python_of_nobody() is None:
        pytest.skip("Python and its packages lie where no other user may run them")


def open_to_all(folder: Path) -> Path:
    """Let every user read what a test has made, and pass through the folders above."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    for path in folder.parents:
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | stat.S_IXOTH)
    return folder


def sentence(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """The one line that a script ends with when it can't go on."""
    lines = [line for line in done.stderr.splitlines() if "atplotlib" not in line]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


# --- users ---


@pytest.mark.parametrize("name", ["locate", "train", "cv", "submission", "predict", "report", "describe"])
def test_a_user_without_an_account_gets_as_far_as_the_first_file(name, tmp_path):
    needs_another_user()
    missing = tmp_path / "missing"
    flags = {
        "locate": ["--cache", missing, "--run", missing],
        "train": ["--raw", missing, "--cache", missing, "--run", missing, "--no-pretrained"],
        "cv": ["--raw", missing, "--cache", missing, "--run", missing],
        "submission": ["--raw", missing, "--run", missing, "--out", missing],
        "predict": ["-i", missing, "-o", missing, "--run", missing],
        "report": ["--raw", missing, "--cache", missing, "--run", missing],
        "describe": ["--raw", missing, "--cache", missing],
    }
    sentence(script(name, *flags[name], as_nobody=True), str(missing))


def test_a_user_without_an_account_predicts(run, competition, studies, tmp_path):
    needs_another_user()
    scan = open_to_all(shutil.copytree(competition / "test_images" / studies[0], tmp_path / "scan"))
    models = open_to_all(shutil.copytree(run, tmp_path / "run"))
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    open_to_all(tmp_path)
    done = script("predict", "-i", scan, "-o", out, "--run", models, as_nobody=True)
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr, done.stderr
    assert len(pd.read_csv(out / "predictions.csv")) == 1


# --- words that nobody reads ---


@pytest.mark.parametrize("reader", ["gone", "a full disk"])
def test_words_that_nobody_reads_cost_no_result(reader, competition, run, studies, tmp_path):
    """As in `make describe | head -1`: what is found is written, also what comes after the first line that is lost."""
    scan, cache, out = competition / "test_images" / studies[0], tmp_path / "cache", tmp_path / "out"
    for words, result in {
        ("describe", "--raw", competition, "--cache", cache): cache / "describe.json",
        ("split", "--raw", competition, "--cache", cache, "--folds", 2): cache / "folds.csv",
        ("predict", "-i", scan, "-o", out, "--run", run): out / "index.html",
    }.items():
        code = heard_by_nobody(reader, *words)
        assert code in (0, 3) and result.is_file(), words[0]


def heard_by_nobody(reader: str, name: str, *flags) -> int:
    """Run a script with both streams to a pipe that nobody reads, or to a disk without room; its exit code."""
    command = [sys.executable, str(ROOT / "src" / f"{name}.py"), *map(str, flags)]
    if reader == "gone":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    try:
        return subprocess.run(command, stdout=writing, stderr=writing, timeout=300).returncode
    finally:
        os.close(writing)


def test_an_error_keeps_its_exit_code_where_nobody_reads_it(tmp_path):
    assert heard_by_nobody("gone", "score", "--raw", tmp_path / "none", "--runs", tmp_path) == 2


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "module://no_such", "nonsense"]
)
def test_the_plots_of_a_notebook_are_not_inherited(backend, run, competition, studies, tmp_path):
    scan = competition / "test_images" / studies[0]
    done = script("predict", "-i", scan, "-o", tmp_path, "--run", run, MPLBACKEND=backend)
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr, done.stderr
    assert list(tmp_path.glob("*.json"))


# --- names and screens ---

NAMES = ["Müller Ünal", "$x_1$ ^{", 'it\'s "so"', "\x1b[31mred\n2nd line", "名前", os.fsdecode(b"caf\xe9")]


@pytest.mark.parametrize("coding", ["utf-8", "latin-1", "ascii"])
def test_names_of_every_kind_on_screens_of_every_kind(coding, run, competition, studies, tmp_path):
    series = competition / "test_images" / studies[0]
    exports = tmp_path / "in"
    for name in NAMES:
        (exports / name).mkdir(parents=True)
        shutil.copy(next(series.iterdir()), exports / name / ("n" * 235))
    whole = exports / NAMES[1] / NAMES[5]
    shutil.copytree(series, whole)
    done = script("predict", "-i", exports, "-o", tmp_path / "out", "--run", run, PYTHONIOENCODING=coding)
    assert done.returncode in (0, 3), done.stderr
    assert (
        "Traceback" not in done.stderr
        and "\x1b" not in done.stdout
        and "2nd line:" not in done.stdout.split("\n")
    )
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert len(rows) >= 1 and not rows.path.str.contains("\x1b|\n").any()
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "\x1b" not in page
    missing = tmp_path / NAMES[3]
    told = sentence(
        script("predict", "-i", missing, "-o", tmp_path / "o", "--run", run, PYTHONIOENCODING=coding)
    )
    assert "\x1b" not in told and "?[31mred?2nd line" in told


def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path):
    name = "ü" * 127
    storage.write_text(tmp_path / name, "content")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_text_of_names_that_are_no_utf_8_is_written_all_the_same(tmp_path):
    storage.write_csv(tmp_path / "table.csv", pd.DataFrame({"path": [NAMES[5]]}))
    assert (tmp_path / "table.csv").read_text() == "path\ncaf\\udce9\n"


def test_printable_keeps_letters_and_nothing_else():
    assert printable("Müller 名前 $x$") == "Müller 名前 $x$"
    assert printable("a\x1b[31mb\nc\u202ed\udce9") == "a?[31mb?c?d?"
    assert printable("abc", 2) == "ab"


# --- what the operating system refuses ---


def test_folders_that_may_not_be_written_are_told_in_a_sentence(competition, run, studies, tmp_path):
    needs_another_user()
    raw = open_to_all(shutil.copytree(competition, tmp_path / "raw"))
    models = open_to_all(shutil.copytree(run, tmp_path / "run"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    open_to_all(tmp_path)
    scan = raw / "test_images" / studies[0]
    tries = {
        "prepare": ["--raw", raw, "--cache", closed, "--preset", "demo"],
        "describe": ["--raw", raw, "--cache", closed],
        "split": ["--raw", raw, "--cache", closed],
        "predict": ["-i", scan, "-o", closed, "--run", models],
        "locate_scan": ["-i", scan, "-o", closed],
        "submission": ["--raw", raw, "--run", models, "--out", closed],
    }
    for name, flags in tries.items():
        sentence(script(name, *flags, as_nobody=True), str(closed), "ermission", "may read and write")


def test_a_file_where_a_folder_is_expected(competition, run, studies, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    scan = competition / "test_images" / studies[0]
    for place in (file, file / "below"):
        sentence(script("predict", "-i", scan, "-o", place, "--run", run), str(file))
        sentence(script("prepare", "--raw", competition, "--cache", place, "--preset", "demo"), str(file))
        sentence(script("describe", "--raw", competition, "--cache", place), str(file))
        sentence(script("prepare", "--raw", place, "--cache", tmp_path / "c", "--preset", "demo"), str(file))


def test_what_one_study_may_not_read_costs_that_study(competition, tmp_path):
    needs_another_user()
    raw = open_to_all(shutil.copytree(competition, tmp_path / "raw"))
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    open_to_all(tmp_path)
    shut, other = sorted((raw / "train_images").iterdir())
    shut.chmod(0)
    one = sorted(other.iterdir())[3]
    one.chmod(0)
    done = script(
        "prepare", "--raw", raw, "--cache", cache, "--preset", "demo", "--workers", 1, as_nobody=True
    )
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(cache / "volumes" / "index.csv", keep_default_na=False).set_index("StudyInstanceUID")
    assert index.status.to_dict() == {shut.name: "failed", other.name: "done"}
    assert "ermission" in index.reason[shut.name] and one.name in index.notes[other.name]
    shut.chmod(0o755)
    one.chmod(0o644)


def test_a_file_system_without_locks_costs_a_line(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(storage.fcntl, "flock", refuse)
    with storage.locked(tmp_path, "prepare"):
        pass
    assert "has no locks" in capsys.readouterr().err


def test_every_error_of_the_system_has_its_words():
    assert os_error_words(OSError(errno.EACCES, "Permission denied", "/a")) == (
        "/a: Permission denied; check who may read and write it"
    )
    assert os_error_words(OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, "/b")) == (
        "/a -> /b: Invalid cross-device link"
    )
    assert os_error_words(OSError("odd")) == "odd"


# --- processors, memory, names of machines ---


def test_affinity_and_containers_decide_the_number_of_workers(tmp_path):
    assert execution.available_cpus() <= len(os.sched_getaffinity(0))
    only = subprocess.run(
        [sys.executable, "-c", "from cspine.settings.execution import *; print(ExecutionSettings().workers)"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert only.stdout == "1\n"
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert min(execution._allowed(tmp_path)) == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert execution._allowed(tmp_path) == []
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert min(execution._allowed(tmp_path)) == 1


def test_a_preset_has_no_more_workers_than_processors(monkeypatch):
    preset = PRESETS["gpu-80gb"]
    monkeypatch.setattr("cspine.settings.presets.available_cpus", lambda: 4)
    assert preset.for_machine().classifier_training.workers == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert preset.for_machine().classifier_training.workers == 2
    assert preset.for_machine(0).locator_training.workers == 0
    assert preset.for_machine(7).classifier_training.workers == 7


class Large(Dataset):
    """Samples that do not fit into 64 KB."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: object) -> dict[str, torch.Tensor]:
        if key == "bad":
            raise InputError("study 1.2.3: what is wrong; what to do")
        return {"image": torch.zeros(1 << 20)}


def test_little_shared_memory_is_told_with_what_to_do(tmp_path):
    program = (
        "import sys; sys.path[:0] = [{src!r}, {tests!r}]\n"
        "from test_machines import Large\n"
        "from cspine.training.datasets import Batches\n"
        "for workers in (0, 2):\n"
        "    print(workers, len(list(Batches(Large(), list(range(8)), 2, workers))), flush=True)\n"
    ).format(src=str(ROOT / "src"), tests=str(ROOT / "tests"))
    words = f"mount -t tmpfs -o size=64k tmpfs /dev/shm; exec '{sys.executable}' -c \"$PROGRAM\""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", words],
        env={**os.environ, "PROGRAM": program},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "unshare" in done.stderr and "ermitted" in done.stderr:
        pytest.skip("namespaces are not allowed here")
    assert done.stdout == "0 4\n", done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: /dev/shm" in last and "--loader-workers 0" in last


def test_what_a_worker_says_of_a_sample_is_its_sentence_alone():
    with pytest.raises(InputError, match=r"^study 1\.2\.3: what is wrong; what to do$"):
        list(Batches(Large(), ["bad"], 1, 1))


def test_processes_meet_on_a_machine_whose_name_nobody_knows(tmp_path):
    program = tmp_path / "meet.py"
    program.write_text(
        "import torch\nfrom torch import distributed\ndistributed.init_process_group('gloo')\n"
        "one = torch.ones(1)\ndistributed.all_reduce(one)\ndistributed.barrier()\nprint(int(one), flush=True)\n"
        "distributed.destroy_process_group()\n"
    )
    start = f"from cspine.training.launch import launch; launch(2, [{str(program)!r}])"
    command = ["unshare", "-u", "sh", "-c", 'hostname no-such-host.invalid && exec "$@"', "sh"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=120
    )
    if "unshare" in done.stderr and "ermitted" in done.stderr:
        pytest.skip("namespaces are not allowed here")
    assert done.returncode == 0 and done.stdout.replace("\n", "").endswith("22"), done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--no-pretrained"], "folds.csv"),
        (["--fold", "nine", "--no-pretrained"], "folds.csv"),
        (["--preset", "gpu-99gb"], "--preset"),
    ],
)
def test_bad_values_are_one_sentence_also_for_several_processes(flags, words, tmp_path):
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    common = ["--raw", tmp_path, "--cache", tmp_path, "--run", tmp_path, "--processes", 2]
    done = script("train", *common, *flags, **environment)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.lower().count(words) == 1, done.stderr


@pytest.mark.parametrize(
    ("does", "code", "words"),
    [
        ("os.kill(os.getpid(), 9)", 2, "error: process 1 of 2 ended with signal 9"),
        ("sys.exit(7)", 2, "error: process 1 of 2 ended with exit code 7"),
        ("time.sleep(3); os.kill(int(sys.argv[1]), 2)", 130, "stopped; run again to go on"),
        (
            "raise InputError('/data: what is wrong; what to do')",
            2,
            "error: /data: what is wrong; what to do",
        ),
    ],
)
def test_what_ends_one_of_several_processes_is_told_once(does, code, words, tmp_path):
    program = tmp_path / "one_ends.py"
    program.write_text(
        "import os, sys, time\nfrom cspine import cli\nfrom cspine.errors import InputError\n"
        f"with cli.errors_told():\n    if os.environ['RANK'] == '1':\n        {does}\n    time.sleep(100)\n"
    )
    start = (
        "import os; from cspine import cli; from cspine.training.launch import launch\n"
        f"with cli.errors_told():\n    launch(2, [{str(program)!r}, str(os.getpid())])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == code and done.stderr.splitlines() == [done.stderr.strip()], done.stderr
    assert done.stderr.startswith(words)


# --- files that are not what they seem ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>not found</html>", "a page of the web"),
        (b"PK\x03\x04" + bytes(100), "a file of pickles"),
        (b"\x80\x02}q\x00.", "a file of pickles"),
        (bytes(64), "no file of safetensors"),
        (WEIGHTS.read_bytes()[:5000], "a part of one"),
    ],
)
def test_encoder_weights_that_are_something_else(content, words, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words):
        check_encoder_weights(ClassifierSettings(), str(file))


def test_encoder_weights_under_another_name_or_nowhere(tmp_path):
    save_file({"a": torch.from_numpy(np.zeros(3, np.float32))}, tmp_path / "model.bin")
    with pytest.raises(InputError, match="under another name"):
        check_encoder_weights(ClassifierSettings(), str(tmp_path / "model.bin"))
    with pytest.raises(InputError, match="no such file"):
        check_encoder_weights(ClassifierSettings(), str(tmp_path / "none.safetensors"))
    check_encoder_weights(ClassifierSettings(), str(WEIGHTS))


@pytest.mark.parametrize(
    ("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 12), True), ((3, 13), False)]
)
def test_another_python_is_refused_before_anything_is_installed(version, fits, tmp_path):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$1" != -c ]; then echo installs; exit 9; fi\nexec \'{sys.executable}\' -c "import sys; '
        f'sys.version_info = {version}; exec(sys.argv[1])" "$2"\n'
    )
    python.chmod(0o755)
    done = subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and ("installs" in done.stdout) == fits
    assert ("is needed" in done.stderr) == (not fits)
