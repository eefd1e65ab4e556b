"""A disk that gets full: a clear end, a readable cache, and going on once there is room."""

import resource
import subprocess
from pathlib import Path

import pytest
from helpers import stages
from helpers.series import phantom, slices_of, write_series

from cspine import storage
from cspine.execution.store import StudyStore

UIDS = [f"1.2.826.0.1.3680043.{number}" for number in range(701, 711)]
SIZE_KB, LEFT_KB = 2000, 90
"""Of the small file system: all of it, and what a filler leaves; each study takes some 16."""


class MountedDisk:
    """A small tmpfs in a mount namespace of its own, reached through /proc; needs no rights where user
    namespaces are allowed."""

    def __init__(self, folder: Path):
        command = f"mount -t tmpfs -o size={SIZE_KB}k tmpfs {folder} && echo ready && exec sleep 600"
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.works = self._holder.stdout.readline().strip() == "ready"
        self.cache = Path(f"/proc/{self._holder.pid}/root{folder}") / "cache"
        self.options = {}

    def fill(self) -> None:
        (self.cache.parent / "filler").write_bytes(bytes(1000 * (SIZE_KB - LEFT_KB)))

    def make_room(self) -> None:
        (self.cache.parent / "filler").unlink()

    def end(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class LimitedFiles:
    """Where nothing may be mounted: no file may grow beyond a size that the studies exceed."""

    def __init__(self, folder: Path):
        self.cache = folder / "cache"
        self.options = {}

    def fill(self) -> None:
        limit = (4_000, resource.RLIM_INFINITY)  # small files like settings.json still fit
        self.options = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)}

    def make_room(self) -> None:
        self.options = {}

    def end(self) -> None:
        """Nothing is left."""


def small_disk(folder: Path) -> MountedDisk | LimitedFiles:
    """A real full file system where this machine allows one, else a limit that gives the same errors."""
    folder.mkdir()
    mounted = MountedDisk(folder)
    if mounted.works:
        return mounted
    mounted.end()
    return LimitedFiles(folder)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for number, uid in enumerate(UIDS):
        write_series(folder / "train_images" / uid, slices_of(phantom((16, 160, 160), number)))
    return stages.write_train(folder, UIDS)


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    assert stages.run_prepare(raw, cache, "--workers", 2).returncode == 0
    return stages.content_of(cache)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [small_disk, LimitedFiles])
def test_a_full_disk_ends_the_run_and_going_on_works(raw, undisturbed, tmp_path, kind):
    disk = kind(tmp_path / "disk")
    try:
        disk.fill()
        full = stages.run_prepare(raw, disk.cache, "--workers", 2, **disk.options)
        assert full.returncode == 2 and "Traceback" not in full.stderr, full.stderr
        words = full.stderr.strip().splitlines()[-1]
        assert words.startswith("error: study 1.2.826.0.1.3680043.7") and "MB free there); make room" in words
        assert f"{disk.cache}/volumes: can't be written" in words
        before = stages.whole_studies(disk.cache)
        assert len(before) < len(UIDS)
        assert not list((disk.cache / "volumes").glob(".*.tmp")), "what did not fit is gone"
        settings = storage.read_json(disk.cache / "volumes" / "settings.json")["settings"]
        store = StudyStore(disk.cache / "volumes", settings)
        for uid in before:
            assert store.read(uid, mmap=False)[0]["volume"].size > 1000
        assert "failed" not in set(store.read_index()["status"]), "a full disk is no fault of a study"

        disk.make_room()
        again = stages.run_prepare(raw, disk.cache, "--workers", 2, **disk.options)
        assert again.returncode == 0, again.stderr
        assert f"done {len(UIDS)} (reused {len(before)}, failed 0)" in again.stdout
        assert stages.content_of(disk.cache) == undisturbed
    finally:
        disk.end()
