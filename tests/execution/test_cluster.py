"""Preparing on a Dask scheduler's workers: real processes, one of which is killed."""

import os
import signal
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers import stages, tasks
from helpers.dask_cluster import Cluster, end
from helpers.series import phantom, slices_of, write_series

from cspine.errors import InputError
from cspine.execution import cluster
from cspine.execution.worker import DIED, Job

UIDS = [f"1.2.826.0.1.3680043.{number}" for number in range(501, 513)]
ABSENT = UIDS[4]


@pytest.fixture
def start(tmp_path):
    with ExitStack() as stack:
        yield lambda **environment: Cluster(tmp_path, stack, **environment)


@pytest.fixture
def raw(tmp_path):
    for number, uid in enumerate(UIDS):
        if uid != ABSENT:
            hu = phantom((24, 160, 160), number)
            write_series(
                tmp_path / "raw" / "train_images" / uid, slices_of(hu, syntax="1.2.840.10008.1.2.4.70")
            )
    return stages.write_train(tmp_path / "raw", UIDS)


@pytest.mark.slow
def test_a_killed_worker_costs_no_study_and_the_cache_is_the_local_one(tmp_path, raw, start):
    local = stages.run_prepare(raw, tmp_path / "local", "--workers", 2)
    assert local.returncode == 0, local.stderr
    there = start()
    command = stages.prepare_command(raw, tmp_path / "far", "--scheduler", there.address)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stages.wait_for(lambda: len(stages.whole_studies(tmp_path / "far")) >= 3)
    family = stages.descendants(there.workers[0].pid)
    assert family, "the worker reads its studies in a process of its own"
    os.kill(there.workers[0].pid, signal.SIGKILL)
    half = len(stages.whole_studies(tmp_path / "far"))
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert half < len(UIDS) - 1, "it was killed while there was work left"
    assert "done 11 (reused 0, failed 1)" in out and f"failed {ABSENT}: " in out
    assert stages.content_of(tmp_path / "far") == stages.content_of(tmp_path / "local")
    assert stages.wait_until_gone(family, 10) == [], "nothing of the killed worker lives on"


def run(there: Cluster | str, items, folders=(), function=tasks.behave, timeout_s=60.0):
    address = there if isinstance(there, str) else there.address
    outcomes = cluster.run_on_cluster(Job(function, timeout_s), items, address, 2, folders)
    return {outcome.key: outcome for outcome in outcomes}


@pytest.mark.slow
def test_failures_are_told_as_on_one_machine_and_a_deadly_task_ends(start):
    there = start(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    items = [(how, (how, 4)) for how in ("double", "raise", "refuse", "crash", "hang")]
    found = run(there, items, timeout_s=4.0)
    assert found["double"].value == 8 and found["hang"].error == "stopped after 4 s"
    assert found["raise"].error.startswith("KeyError: 'lost' (tasks.py:")
    assert found["refuse"].error == "file x: found y; expected z" and found["refuse"].kind == "InputError"
    assert found["crash"].error.startswith("worker died (signal 11, SIGSEGV)")
    assert all(worker.poll() is None for worker in there.workers), "no Dask worker died of all this"

    there.add_worker()  # one has to be left for the next study
    found = run(there, [("deadly", (True,)), ("next", (False,))], function=tasks.kill_parent)
    assert found["next"].error is None and found["deadly"].kind == DIED
    assert "Dask lost 2 workers that had this study" in found["deadly"].error


@pytest.mark.slow
def test_what_is_wrong_with_the_cluster_ends_the_run_with_advice(start, tmp_path, monkeypatch):
    there = start()
    with pytest.raises(InputError, match="does not see /nowhere; mount it"):
        run(there, [("a", ("double", 1))], (tmp_path, Path("/nowhere")))
    assert run(there, [("a", ("double", 1))], (tmp_path,))["a"].value == 2, "and leaves the cluster usable"
    for worker in there.workers:
        end(worker)
    monkeypatch.setattr(cluster, "NO_WORKER_S", 0.5)
    with pytest.raises(InputError, match="found no Dask worker for 0 s; start one"):
        run(there, [("a", ("double", 1))])
    monkeypatch.setattr(cluster, "NO_WORKER_S", 30.0)
    nanny = there.add_worker("--nanny")
    with pytest.raises(InputError, match="--no-nanny"):
        run(there, [("a", ("double", 1))])
    nanny.terminate()
    nanny.wait()
    there.add_worker()
    threading.Timer(2.0, there.scheduler.kill).start()
    with pytest.raises(InputError, match="lost the Dask scheduler .* it goes on"):
        run(there, [("a", ("hang",))])


def test_no_scheduler_and_no_worker(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(InputError, match="no Dask scheduler answers there"):
        run("tcp://127.0.0.1:9", [("a", ("double", 1))])
    with pytest.raises(InputError, match="expected an address such as tcp://"):
        run("nonsense", [("a", ("double", 1))])


@pytest.mark.slow
def test_a_scheduler_in_this_process():
    assert run("local", [(n, ("double", n)) for n in range(5)])[4].value == 8
