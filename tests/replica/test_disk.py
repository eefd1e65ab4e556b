"""A disk that gets full: a clear end, nothing half written, and going on once there is space."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from replica.settings import ReplicaError, ReplicaSettings
from replica.writer import disk, tables
from replica.writer import folder as writer
from replica.writer.folder import replicate

SRC = Path(__file__).parents[2] / "src"
FLAGS = {"train": 5, "public": 1, "private": 1, "size": 0.125, "seed": 3, "mask_share": 0.5}


def start(out: Path, workers: int, **how) -> subprocess.CompletedProcess:
    """Run the script."""
    flags = [word for key, value in FLAGS.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = [
        sys.executable,
        str(SRC / "replicate.py"),
        "--out",
        str(out),
        "--workers",
        str(workers),
        *flags,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **how)


def go_on(out: Path) -> int:
    """Write what is missing; returns how many studies that were."""
    return replicate(ReplicaSettings(out=out, workers=1, **FLAGS))["written"]


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def broken_off(full: subprocess.CompletedProcess, out: Path) -> list[Path]:
    """Check that a run ended as it should on a full disk; returns the studies it had finished."""
    assert full.returncode == 2 and "Traceback" not in full.stderr, full.stderr
    words = full.stderr.strip().splitlines()[-1]
    assert words.startswith(f"error: {out}: ") and "make room" in words, words
    assert not (out / "competition" / "train.csv").exists()
    assert not [p for p in (out / ".work").rglob("*") if p.is_file()], "halves are removed"
    return sorted((out / ".records").glob("*.json"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("disk") / "whole"
    go_on(out)
    return content(out)


def test_a_small_file_system_ends_the_run_and_going_on_works(undisturbed, tmp_path):
    folder = tmp_path / "mount"
    folder.mkdir()
    needed = sum(len(b) for b in undisturbed.values())
    # too little for all, although the sum of the slices is less than what is free: blocks are larger
    size_kb = int(needed / 1000 * 0.99)
    mount = f"mount -t tmpfs -o size={size_kb}k tmpfs {folder} && echo ready && exec sleep 600"
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if holder.stdout.readline().strip() != "ready":
            pytest.skip("this machine lets nobody mount a file system")
        there = Path(f"/proc/{holder.pid}/root{folder}")
        out = there / "replica"
        full = start(out, workers=2)
        before = broken_off(full, out)
        assert 0 < len(before) < 7
        enter = ["nsenter", "--user", "--mount", "--preserve-credentials", "-t", str(holder.pid)]
        more = subprocess.run(
            [*enter, "mount", "-o", f"remount,size={3 * size_kb}k", str(folder)], capture_output=True
        )
        assert more.returncode == 0, more.stderr
        assert go_on(out) == 7 - len(before)
        assert content(out) == undisturbed
    finally:
        holder.kill()
        holder.communicate()


def test_a_limit_of_file_size_ends_it_too(undisturbed, tmp_path):
    """No file may grow beyond what a slice has and a mask exceeds: it works where nothing may be mounted."""
    limit = (60_000, resource.RLIM_INFINITY)
    out = tmp_path / "out"
    full = start(out, workers=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    finished = len(broken_off(full, out))
    assert finished < 7
    assert go_on(out) == 7 - finished
    assert content(out) == undisturbed


def test_too_little_space_is_refused_before_the_first_study(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1_000_000)
    out = tmp_path / "out"
    with pytest.raises(ReplicaError, match=r"need \d+\.\d+ GB at least, 0.00 GB are free there; make room"):
        replicate(ReplicaSettings(out=out, train=3, public=0, private=0, size=0.5, workers=1))
    assert not list((out / "competition" / "train_images").iterdir())
    tables_alone = ReplicaSettings(out=tmp_path / "l", train=3, public=0, private=0, labels_only=True)
    assert replicate(tables_alone)["studies"] == 3


def test_the_estimate_is_near_and_never_too_high(undisturbed):
    settings = ReplicaSettings(out=Path("unused"), **FLAGS)
    rows = [row for _, row in writer.make_cohort(settings).iterrows()]
    needed, real = writer.bytes_needed(rows, settings), sum(len(b) for b in undisturbed.values())
    assert 0.7 * real < needed < real


def test_a_table_that_does_not_fit_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "train.csv"
    tables.write_text(path, "old")

    def full(_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(tables.os, "fsync", full)
    with pytest.raises(ReplicaError, match="quota exceeded"), disk.full_disk_reported(tmp_path):
        tables.write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_other_errors_of_the_disk_keep_their_names(tmp_path):
    with pytest.raises(OSError, match="broken"), disk.full_disk_reported(tmp_path):
        raise OSError(errno.EIO, "broken")
