"""Hundreds of damaged files through the stage as it runs: each costs its slice or its study, and nothing more."""

import ctypes
import os
import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from helpers import damage, stages
from helpers.series import slices_of, write_series
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
SLICES, DAMAGED = 40, (6, 15, 24, 33)
"""Of a study, and the numbers of the files that are damaged: a tenth, the most that may be lost."""
RUINED_SLICES = 6
MOST_MEMORY_KB = 700_000
"""For the largest process of all; one that believed in 4 GB of header or pixels would exceed it."""


def scan() -> np.ndarray:
    """HU that rise evenly along z, so that a slice between two others is what interpolation makes of them."""
    plane = np.random.default_rng(3).choice([-1000, 40, 60, 300], (32, 32), p=[0.4, 0.3, 0.2, 0.1])
    return (plane + 2 * np.arange(SLICES)[:, None, None]).astype(np.int16)


class Studies:
    """Studies that are copies of one scan, but for their damaged files."""

    def __init__(self, raw: Path, templates: Path):
        self.raw, self.templates = raw, templates
        self.of: dict[str, tuple[str, list[str]]] = {}
        """Study -> kind of study, kinds of damage."""
        for name, syntax in SYNTAXES.items():
            write_series(templates / name, slices_of(scan(), syntax=syntax))

    def add(self, what: str, syntax: str, kinds: list[str], seed: int = 0) -> None:
        """Add a study; `kinds` are those of its files in DAMAGED, or the one kind of all for `ruined`."""
        uid = f"1.2.826.0.1.3680043.{8000 + len(self.of)}"
        folder = self.raw / "train_images" / uid
        folder.mkdir(parents=True)
        count = RUINED_SLICES if what == "ruined" else SLICES
        for number in range(1, count + 1):
            os.link(self.templates / syntax / f"{number}.dcm", folder / f"{number}.dcm")
        if what == "ruined":
            broken = dict.fromkeys(range(1, count + 1), kinds[0])
        else:
            broken = dict(zip(DAMAGED, kinds, strict=False))
        for number, kind in broken.items():
            self._break(folder / f"{number}.dcm", kind, random.Random(f"{syntax} {kind} {seed} {number}"))
        self.of[uid] = what, list(broken.values())

    @staticmethod
    def _break(path: Path, kind: str, rng: random.Random) -> None:
        content = path.read_bytes()
        path.unlink()  # the template shares its bytes
        if kind in damage.TRAPS:
            path.write_bytes(content)
            damage.TRAPS[kind](path)
        else:
            path.write_bytes({**damage.LOST, **damage.DOUBTFUL}[kind](content, rng))


def in_groups(kinds: list[str]) -> Iterator[list[str]]:
    source = iter(kinds)
    while group := list(islice(source, len(DAMAGED))):
        yield group


def every_damage(studies: Studies) -> int:
    """Add all studies; returns how many files are damaged."""
    for syntax in SYNTAXES:
        studies.add("good", syntax, [])
        for group in in_groups(list(damage.LOST)):
            studies.add("lost", syntax, group)
        for group in in_groups(list(damage.TRAPS)):
            studies.add("traps", syntax, group)
        for seed in range(2):
            for group in in_groups(list(damage.DOUBTFUL)):
                studies.add("doubtful", syntax, group, seed)
    for kind in damage.LOST:
        studies.add("ruined", "explicit", [kind])
    return sum(len(kinds) for _, kinds in studies.of.values())


def tree(folder: Path) -> dict[str, tuple]:
    """All that is in a folder: type, size, time and target of every entry."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        target = os.readlink(path) if path.is_symlink() else ""
        found[str(path.relative_to(folder))] = (about.st_mode, about.st_size, about.st_mtime_ns, target)
    return found


def without_superpowers() -> None:
    """Take from root the right to read what nobody may read, so that permissions count."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "can't drop a capability")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """What the stage made of all the damage: studies, index, output, memory, trees before and after."""
    home = tmp_path_factory.mktemp("damaged")
    studies = Studies(home / "raw", home / "templates")
    damaged = every_damage(studies)
    stages.write_train(home / "raw", studies.of)
    (home / "work").mkdir()
    before = tree(home)
    command = stages.prepare_command(home / "raw", home / "cache", "--workers", 2)
    told = stages.measured(command, timeout=400, cwd=home / "work", preexec_fn=without_superpowers)
    after = {name: about for name, about in tree(home).items() if name.split("/")[0] != "cache"}
    return studies.of, damaged, home, told, before, after


@pytest.mark.slow
def test_the_stage_lives_and_writes_nothing_but_its_cache(result):
    of, damaged, home, told, before, after = result
    assert damaged >= 300
    assert told["code"] == 0, told["err"]
    assert "Traceback" not in told["err"]
    assert told["most_kb"] < MOST_MEMORY_KB
    assert after == before, "nothing outside of the cache was written, changed or removed"
    allowed = {"settings.json", "index.csv", ".lock", *of}
    assert {path.name for path in (home / "cache" / "volumes").iterdir()} <= allowed
    assert [path.name for path in (home / "cache").iterdir()] == ["volumes"]


@pytest.mark.slow
def test_each_damaged_file_costs_its_slice_or_its_study(result):
    of, _, home, told, _, _ = result
    index = stages.index_of(home / "cache")
    assert set(index.index) == set(of), "every study has its row"
    good = {uid for uid, (what, _) in of.items() if what == "good"}
    expected = np.load(home / "cache" / "volumes" / min(good) / "volume.npy")
    for uid, (what, kinds) in of.items():
        status, reason, notes = index.loc[uid, ["status", "reason", "notes"]]
        assert status in ("done", "failed"), uid
        assert bool(reason) == (status == "failed"), (uid, kinds)
        assert (home / "cache" / "volumes" / uid / "meta.json").is_file() == (status == "done")
        if what == "good":
            assert (status, notes) == ("done", "") or "fallback" in notes, (uid, notes)
        if what == "ruined":
            assert status == "failed" and re.search("unreadable|no readable", reason), (kinds, reason)
        if what == "lost":
            assert status == "done", (kinds, reason)
            assert f"{len(kinds)} of {SLICES} files unreadable" in notes, (kinds, notes)
        if what in ("good", "lost"):
            volume = np.load(home / "cache" / "volumes" / uid / "volume.npy")
            np.testing.assert_allclose(volume, expected, atol=2, err_msg=f"{uid} {kinds}")
    assert f"failed {len(index[index['status'] == 'failed'])})" in told["out"]


@pytest.mark.slow
def test_a_table_with_a_uid_that_climbs_is_refused(tmp_path):
    raw = stages.write_train(tmp_path / "raw", ["1.2.3", "../../evil"])
    (raw / "train_images").mkdir()
    done = stages.run_prepare(raw, tmp_path / "cache")
    assert done.returncode == 2 and "../../evil" in done.stderr and "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"raw", "cache"}
