"""A replica is the same to the byte however it came about, and never overwrites what it does not own."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from replica.settings import ReplicaError, ReplicaSettings
from replica.writer.folder import replicate

SRC = Path(__file__).parents[2] / "src"
MANY = {"train": 10, "public": 2, "private": 2, "size": 0.125, "seed": 3, "mask_share": 0.5, "box_share": 1.0}


def digest(folder: Path) -> dict[str, str]:
    """Hash of every file by its path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("writer") / "one"
    replicate(ReplicaSettings(out=out, workers=1, **MANY))
    return out


def test_two_workers_write_the_same_bytes(one_worker, tmp_path):
    replicate(ReplicaSettings(out=tmp_path / "two", workers=2, **MANY))
    assert digest(tmp_path / "two") == digest(one_worker)


def test_killed_half_way_and_started_again_gives_the_same_bytes(one_worker, tmp_path):
    out = tmp_path / "killed"
    code = (
        "from pathlib import Path\n"
        "from replica.settings import ReplicaSettings\n"
        "from replica.writer.folder import replicate\n"
        "if __name__ == '__main__':\n"
        f"    replicate(ReplicaSettings(out=Path({str(out)!r}), workers=2, **{MANY!r}))\n"
    )
    script = tmp_path / "start.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(SRC)})
    records = out / ".records"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and len(list(records.glob("*.json"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in records.glob("*.json")}
    assert 3 <= len(kept) < 14  # really half-way
    assert not (out / "competition" / "train.csv").exists()
    counts = replicate(ReplicaSettings(out=out, workers=1, **MANY))
    assert counts["written"] <= 14 - len(kept)  # what was done stays done
    assert digest(out) == digest(one_worker)


def test_a_complete_replica_is_left_alone(one_worker):
    before = {p: p.stat().st_mtime_ns for p in one_worker.rglob("*") if p.is_file() and p.name != ".lock"}
    assert replicate(ReplicaSettings(out=one_worker, workers=1, **MANY))["written"] == 0
    after = {p: p.stat().st_mtime_ns for p in one_worker.rglob("*") if p.is_file() and p.name != ".lock"}
    assert before == after


def test_other_settings_are_refused(one_worker):
    before = digest(one_worker)
    with pytest.raises(ReplicaError, match="seed 3, asked 4"):
        replicate(ReplicaSettings(out=one_worker, workers=1, **{**MANY, "seed": 4}))
    assert digest(one_worker) == before


def test_a_strangers_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ReplicaError, match="thesis.txt"):
        replicate(ReplicaSettings(out=tmp_path, **MANY))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_labels_only_writes_tables_and_no_image(tmp_path):
    settings = ReplicaSettings(out=tmp_path / "l", train=40, public=5, private=5, labels_only=True)
    counts = replicate(settings)
    assert counts["studies"] == 50
    assert not (tmp_path / "l" / "competition" / "train_images").exists()
    assert (tmp_path / "l" / "solution.csv").read_text().count("\n") == 81
    with pytest.raises(ReplicaError, match="labels_only"):
        replicate(replace(settings, labels_only=False))


def test_script_ends_with_2_and_says_why(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    run = subprocess.run(
        [sys.executable, str(SRC / "replicate.py"), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert "thesis.txt" in run.stderr
    assert "Traceback" not in run.stderr
