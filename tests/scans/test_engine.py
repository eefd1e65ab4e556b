"""Workers that fail, hang and die: each costs its own task."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from scans import tasks

from cspine.scans.engine import run_tasks


def outcomes(items, workers=2, timeout_s=60.0, function=tasks.behave):
    return {outcome.key: outcome for outcome in run_tasks(function, items, workers, timeout_s)}


@pytest.mark.slow
def test_each_failure_costs_its_own_task():
    items = [(number, ("double", number)) for number in range(8)]
    bad = ["raise", "refuse", "kill", "crash", "exit", "hang", "kill", "crash"]
    for place, how in enumerate(bad):
        items.insert(2 * place, (f"{how} {place}", (how,)))
    found = outcomes(items, timeout_s=4.0)
    assert len(found) == len(items)
    for number in range(8):
        assert (found[number].value, found[number].error) == (2 * number, None)
    expected = {
        "raise": "KeyError: 'lost' (tasks.py:",
        "refuse": "file x: found y; expected z",
        "kill": "worker died (signal 9, SIGKILL)",
        "crash": "worker died (signal 11, SIGSEGV)",
        "exit": "SystemExit: 3",
        "hang": "stopped after 4 s",
    }
    for place, how in enumerate(bad):
        outcome = found[f"{how} {place}"]
        assert outcome.error.startswith(expected[how]) and outcome.value is None


def test_nothing_to_do():
    assert outcomes([]) == {}


def test_workers_use_one_thread_and_the_caller_keeps_his_settings(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert outcomes([("a", ())], workers=1, function=tasks.threads)["a"].value == ("1", 1)
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_items_are_taken_as_outcomes_are():
    """However long the list of studies, only a few are under way at any time."""
    taken = []

    def items():
        for number in range(200):
            taken.append(number)
            yield number, ("double", number)

    running = run_tasks(tasks.behave, items(), workers=1, timeout_s=60)
    for done, _ in enumerate(running, start=1):
        assert len(taken) <= done + 2
        if done == 5:
            break
    running.close()
    assert not multiprocessing.active_children()


def pids_in(folder: Path, count: int) -> list[int]:
    """The ids that workers wrote, once all are there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        texts = [path.read_text() for path in folder.glob("*.pid")]
        if len(texts) == count and all(texts):
            return [int(text) for text in texts]
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [pid for pid in pids if alive(pid)]


@pytest.mark.slow
def test_killing_the_parent_leaves_no_orphan(tmp_path):
    context = multiprocessing.get_context("spawn")
    parent = context.Process(target=tasks.parent_of_waiting_workers, args=(str(tmp_path),))
    parent.start()
    workers = pids_in(tmp_path, 2)
    family = children_of(parent.pid)  # the workers, and the process in which multiprocessing tracks resources
    assert set(workers) <= set(family)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    assert wait_until_gone(family, 10) == []


@pytest.mark.slow
def test_an_idle_worker_that_dies_does_not_end_the_run(tmp_path):
    """A worker killed between two tasks breaks pebble's pool; it is replaced, and no task is lost."""
    running = run_tasks(tasks.behave, ((n, ("double", n)) for n in range(6)), workers=1, timeout_s=60)
    first = next(running)
    time.sleep(1.0)  # the tasks scheduled ahead are finished by now, the worker is idle
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGKILL)
    rest = {outcome.key: outcome for outcome in running}
    assert first.value == 0 and {key: o.value for key, o in rest.items()} == {n: 2 * n for n in range(1, 6)}
