"""SIGKILL for workers and for the whole stage at random moments: nothing half-written is read, nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import stages
from helpers.series import phantom, slices_of, write_series

from cspine import storage
from cspine.execution.store import StudyStore

UIDS = [f"1.2.826.0.1.3680043.{number}" for number in range(901, 925)]
BROKEN = UIDS[7]
SLICES = 60


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Studies that differ in their number of slices, each of which takes some tenths of a second."""
    folder = tmp_path_factory.mktemp("kills")
    slices = slices_of(phantom((SLICES, 256, 256)), syntax="1.2.840.10008.1.2.4.70")
    whole = write_series(folder / "whole", slices)
    for number, uid in enumerate(UIDS):
        (folder / "train_images" / uid).mkdir(parents=True)
        for name in range(1, SLICES + 1 - number):
            os.link(whole / f"{name}.dcm", folder / "train_images" / uid / f"{name}.dcm")
    for number in range(1, 11):
        (folder / "train_images" / BROKEN / f"{number}.dcm").unlink()
        (folder / "train_images" / BROKEN / f"{number}.dcm").write_bytes(b"")
    return stages.write_train(folder, UIDS)


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory):
    cache = tmp_path_factory.mktemp("undisturbed")
    done = stages.run_prepare(raw, cache, "--workers", 2)
    assert done.returncode == 0 and f"done {len(UIDS) - 1} (reused 0, failed 1)" in done.stdout
    return stages.content_of(cache)


def start(raw: Path, cache: Path) -> subprocess.Popen:
    command = stages.prepare_command(raw, cache, "--workers", 2)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers_of(pid: int) -> list[int]:
    """The stage's workers, without the process in which multiprocessing tracks its resources."""
    found = []
    for child in stages.descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"spawn_main" in words:
            found.append(child)
    return found


@pytest.mark.slow
def test_killed_workers_cost_nothing(raw, undisturbed, tmp_path):
    rng = random.Random(1)
    running, killed = start(raw, tmp_path), 0
    while killed < 4 and running.poll() is None:
        time.sleep(rng.uniform(0.1, 0.6))
        workers = workers_of(running.pid)
        if workers:  # the older one: by turns, since a study that is hit three times counts as failed
            os.kill(min(workers), signal.SIGKILL)
            killed += 1
    family = stages.descendants(running.pid)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert killed >= 2, "the run was long enough"
    assert f"done {len(UIDS) - 1} (reused 0, failed 1)" in out
    assert stages.content_of(tmp_path) == undisturbed
    assert stages.wait_until_gone(family, 10) == []


def check_what_is_there(cache: Path, undisturbed: dict[str, str]) -> list[str]:
    """Every study that a reader finds is whole and right; returns them."""
    whole = stages.whole_studies(cache)
    if whole:
        settings = storage.read_json(cache / "volumes" / "settings.json")["settings"]
        store = StudyStore(cache / "volumes", settings)
        assert store.uids() == whole
        for uid in whole:
            assert isinstance(store.read(uid, mmap=False)[0]["volume"], np.ndarray)
    found = {name: digest for name, digest in stages.content_of(cache).items() if name.split("/")[1] in whole}
    assert found == {name: digest for name, digest in undisturbed.items() if name.split("/")[1] in whole}
    return whole


@pytest.mark.slow
def test_a_killed_stage_goes_on_where_it_was(raw, undisturbed, tmp_path):
    rng = random.Random(2)
    whole: list[str] = []
    for _ in range(4):
        if len(whole) > len(UIDS) // 2:  # a quick machine leaves no room for another kill
            break
        running = start(raw, tmp_path)
        goal = len(whole) + 1
        stages.wait_for(lambda goal=goal: len(stages.whole_studies(tmp_path)) >= goal)
        time.sleep(rng.uniform(0, 0.02))
        family = stages.descendants(running.pid)
        running.kill()
        running.communicate()
        assert stages.wait_until_gone(family, 10) == [], "no worker outlives the stage"
        earlier, whole = whole, check_what_is_there(tmp_path, undisturbed)
        assert set(earlier) <= set(whole)
    assert len(whole) < len(UIDS) - 1, "there is something left to do"
    times = {uid: (tmp_path / "volumes" / uid / "meta.json").stat().st_mtime_ns for uid in whole}
    last = stages.run_prepare(raw, tmp_path, "--workers", 2)
    assert f"done {len(UIDS) - 1} (reused {len(whole)}, failed 1)" in last.stdout, last.stderr
    assert stages.content_of(tmp_path) == undisturbed
    for uid, changed in times.items():
        assert (tmp_path / "volumes" / uid / "meta.json").stat().st_mtime_ns == changed, (
            "only what was missing"
        )

    shutil.rmtree(raw / "train_images" / BROKEN)  # its files share their bytes with others
    write_series(raw / "train_images" / BROKEN, slices_of(phantom((20, 64, 64))))
    again = stages.run_prepare(raw, tmp_path, "--workers", 2)
    assert "failed 1)" in again.stdout, "failures stay until they are asked for"
    retried = stages.run_prepare(raw, tmp_path, "--workers", 2, "--retry-failed")
    assert f"done {len(UIDS)} (reused {len(UIDS) - 1}, failed 0)" in retried.stdout, retried.stderr
