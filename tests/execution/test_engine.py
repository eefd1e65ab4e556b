"""Workers that fail, hang and die: each costs its own task."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import series, stages, tasks

from cspine.execution.engine import run_tasks
from cspine.execution.worker import DIED, MAX_ATTEMPTS, STOPPED, Job


def outcomes(items, workers=2, timeout_s=60.0, function=tasks.behave, fallback=None):
    job = Job(function, timeout_s, fallback, "without the fast decoder")
    return {outcome.key: outcome for outcome in run_tasks(job, items, workers)}


@pytest.mark.slow
def test_each_failure_costs_its_own_task():
    items = [(number, ("double", number)) for number in range(8)]
    bad = ["raise", "refuse", "kill", "crash", "exit", "hang", "kill", "crash"]
    for number, how in enumerate(bad):
        items.insert(2 * number, (f"{how} {number}", (how,)))
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
    for number, how in enumerate(bad):
        outcome = found[f"{how} {number}"]
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

    running = run_tasks(Job(tasks.behave, 60), items(), workers=1)
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
    assert stages.wait_until_gone(family, 10) == []


@pytest.mark.slow
def test_an_idle_worker_that_dies_does_not_end_the_run(tmp_path):
    """A worker killed between two tasks breaks pebble's pool; it is replaced, and no task is lost."""
    running = run_tasks(Job(tasks.behave, 60), ((n, ("double", n)) for n in range(6)), workers=1)
    first = next(running)
    time.sleep(1.0)  # the tasks scheduled ahead are finished by now, the worker is idle
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGKILL)
    rest = {outcome.key: outcome for outcome in running}
    assert first.value == 0 and {key: o.value for key, o in rest.items()} == {n: 2 * n for n in range(1, 6)}


def jpeg_file(folder: Path) -> bytes:
    """A slice in JPEG Lossless."""
    pixels = (np.arange(64 * 64).reshape(64, 64) % 4096).astype(np.int32)
    one = series.Slice(pixels, (0.0, 0.0, 0.0), syntax="1.2.840.10008.1.2.4.70")
    return series.write_slice(folder / "whole.dcm", one).read_bytes()


def crashing_files(folder: Path) -> dict[str, str]:
    """Files that end a process in dicomsdl: cut before the pixels, and a frame that claims 65,000 columns."""
    content = jpeg_file(folder)
    wide = bytearray(content)
    wide[content.index(b"\xff\xc3") + 7] = 0xFF
    found = {"cut": content[: content.index(b"\xe0\x7f\x10\x00")], "wide": bytes(wide)}
    for name, damaged in found.items():
        (folder / name).write_bytes(damaged)
    return {name: str(folder / name) for name in found}


@pytest.mark.slow
def test_a_real_crash_of_the_decoder_is_noticed_at_once_and_tried_again(tmp_path):
    files = {**crashing_files(tmp_path), "whole": str(tmp_path / "whole.dcm")}
    items = [(name, (path,)) for name, path in files.items()]
    started = time.monotonic()
    found = outcomes(items, timeout_s=300.0, function=tasks.decode_raw)
    assert found["whole"].value == "decoded" and found["whole"].attempts == 1
    for name in ("cut", "wide"):
        assert found[name].kind == DIED and found[name].attempts == 1 and found[name].seconds > 0
        assert any(signal in found[name].error for signal in ("SIGSEGV", "SIGABRT", "SIGBUS"))
    again = partial(tasks.decode_raw, fallback=True)
    found = outcomes(items, timeout_s=300.0, function=tasks.decode_raw, fallback=again)
    assert {name: (o.value, o.attempts) for name, o in found.items()} == {
        "whole": ("decoded", 1),
        "cut": ("left to another decoder", 2),
        "wide": ("left to another decoder", 2),
    }
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_workers_that_die_as_soon_as_they_begin_do_not_run_into_the_time_out():
    started = time.monotonic()
    found = outcomes([(n, ("crash",)) for n in range(12)], timeout_s=300.0)
    assert [o.kind for o in found.values()] == [DIED] * 12
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_second_crash_is_final():
    found = outcomes([("a", ("crash",))], fallback=tasks.behave)
    assert found["a"].attempts == 2 and "also without the fast decoder" in found["a"].error


@pytest.mark.slow
def test_a_task_whose_worker_was_killed_is_begun_anew_but_not_for_ever(tmp_path):
    items = [("once", (0.0, str(tmp_path / "was here"))), ("always", (0.5,))]
    found = outcomes(items, function=tasks.die_after)
    assert (found["once"].value, found["once"].attempts) == ("lived", 2)
    always = found["always"]
    assert always.error.startswith("worker died (signal 9, SIGKILL)") and "fewer workers" in always.error
    assert always.attempts == MAX_ATTEMPTS and 1.5 <= always.seconds < 30


def test_a_time_out_reports_its_seconds():
    found = outcomes([("a", ("hang",))], timeout_s=1.0)["a"]
    assert found.kind == STOPPED and 1.0 <= found.seconds < 10


def test_ctrl_c_is_kept_from_the_first_worker_of_a_process_too():
    """Python's resource tracker lifts the mask when it is started, and the first worker starts it."""
    program = (
        "from helpers.tasks import blocked_signals\nfrom cspine.execution.engine import run_tasks\n"
        "from cspine.execution.worker import Job\n"
        "if __name__ == '__main__':\n"
        "    for workers in (1, 2):\n"
        "        for outcome in run_tasks(Job(blocked_signals, 30.0), [(n, ()) for n in range(3)], workers):\n"
        "            print(outcome.value)\n"
        "    print(blocked_signals())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=stages.environment(), capture_output=True, text=True
    )
    interrupt = 1 << (signal.SIGINT - 1)
    *workers, parent = (int(word, 16) for word in done.stdout.split())
    assert len(workers) == 6 and all(mask & interrupt for mask in workers), done.stderr
    assert not parent & interrupt
