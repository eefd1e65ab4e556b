"""One worker process by itself: how it starts, what it tells, and when it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from contextlib import contextmanager

import pytest
from helpers import stages, tasks

from cspine.execution import worker
from cspine.execution.worker import DIED, STOPPED, Attempt, Job, Outcome, Worker, call
from replica.writer import folder

JOB = Job(tasks.behave, 60.0)


@contextmanager
def working():
    """A worker that is ended in the end."""
    one = Worker()
    try:
        yield one
    finally:
        one.stop()


def ended(one: Worker, job: Job = JOB, seconds: float = 60.0) -> list[Outcome | Attempt]:
    """What ends next."""
    deadline = time.monotonic() + seconds
    while not (taken := one.take(job)):
        assert time.monotonic() < deadline, "nothing ended"
        wait(one.futures, 0.2)
    return taken


def test_a_call_tells_its_value_or_its_error_and_its_seconds():
    assert call(tasks.behave, ("double", 4), 60.0)[:3] == (8, None, "")
    assert call(tasks.behave, ("refuse",), 60.0)[:3] == (None, "file x: found y; expected z", "InputError")
    value, words, kind, seconds = call(tasks.behave, ("raise",), 60.0)
    assert (value, kind) == (None, "KeyError") and words.startswith("KeyError: 'lost' (tasks.py:")
    assert call(tasks.behave, ("exit",), 60.0)[2] == "SystemExit", "a task does not end its worker"
    assert 0 <= seconds < 5
    assert 0.2 <= call(time.sleep, (0.2,), 60.0)[3] < 5


def test_an_error_without_a_frame_of_its_own_is_told_too():
    value, words, kind, _ = call(int, ("x",), 60.0)
    assert (value, kind) == (None, "ValueError")
    assert words.startswith("ValueError: invalid literal for int() with base 10: 'x' (worker.py:")


@contextmanager
def a_thread_that_hears_ctrl_c():
    """Libraries have such: the kernel may hand them the signal, and Python's main thread acts on it all the same."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield thread
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("starting", [worker.interrupts_for_this_process_alone, folder._ctrl_c_later])
def test_ctrl_c_waits_until_a_process_that_is_being_started_has_all_it_needs(starting):
    reached = []
    with a_thread_that_hears_ctrl_c() as thread, pytest.raises(KeyboardInterrupt):
        with starting():
            signal.pthread_kill(thread.ident, signal.SIGINT)
            time.sleep(0.1)
            reached.append("its end")
        reached.append("what comes after")
    assert reached == ["its end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_a_worker_keeps_its_process_for_the_next_task():
    with working() as one:
        found = []
        for number in range(3):
            one.give(Job(os.getpid, 60.0), Attempt(number, ()))
            found += ended(one)
        assert [outcome.key for outcome in found] == [0, 1, 2] and one.futures == []
        assert len({outcome.value for outcome in found}) == 1 and found[0].value != os.getpid()
        assert all((o.error, o.kind, o.attempts) == (None, "", 1) for o in found)
        pid = found[0].value
    assert stages.wait_until_gone([pid], 10) == []


@pytest.mark.slow
def test_a_killed_worker_gives_its_tasks_back_and_starts_anew():
    """The one under way has one attempt less; the one in line has lost nothing."""
    with working() as one:
        one.give(JOB, Attempt("kill", ("kill",)))
        one.give(JOB, Attempt("next", ("double", 2)))
        again = ended(one)
        assert again[0].key == "kill" and again[0].number == 2 and again[0].spent_s > 0
        assert again[1] == Attempt("next", ("double", 2))
        assert one.futures == [] and one.take(JOB) == []
        one.give(JOB, again[1])
        assert [outcome.value for outcome in ended(one)] == [4]


@pytest.mark.slow
def test_a_crash_asks_for_the_fallback_once():
    job = Job(tasks.behave, 60.0, tasks.behave, "with more care")
    with working() as one:
        one.give(job, Attempt("a", ("crash",)))
        (again,) = ended(one, job)
        assert isinstance(again, Attempt) and again.by_fallback and again.number == 2
        one.give(job, again)
        (outcome,) = ended(one, job)
        assert isinstance(outcome, Outcome) and (outcome.kind, outcome.attempts) == (DIED, 2)
        assert outcome.error == "worker died (signal 11, SIGSEGV), also with more care"
        assert outcome.seconds > again.spent_s


def test_a_task_that_takes_too_long_is_stopped_and_its_worker_replaced():
    job = Job(tasks.behave, 1.0)
    with working() as one:
        one.give(job, Attempt("a", ("hang",)))
        (outcome,) = ended(one, job)
        assert (outcome.kind, outcome.error) == (STOPPED, "stopped after 1 s") and 1 <= outcome.seconds < 20
        one.give(job, Attempt("b", ("double", 1)))
        assert ended(one, job)[0].value == 2


def test_what_can_not_be_sent_costs_its_own_task():
    """A lambda can't be pickled, a function that is gone can't be found: neither ends the worker."""
    with working() as one:
        one.give(JOB, Attempt("a", (lambda: None,)))
        (outcome,) = ended(one)
        assert outcome.value is None and "pickle" in outcome.error
        one.give(JOB, Attempt("b", ("double", 1)))
        assert ended(one)[0].value == 2


def test_stopping_is_harmless_at_any_time_and_ends_a_task_at_once():
    one = Worker()
    one.tell_to_stop()
    one.stop()
    one.give(Job(os.getpid, 60.0), Attempt("a", ()))
    pid = ended(one)[0].value
    one.give(JOB, Attempt("b", ("hang",)))
    started = time.monotonic()
    one.stop()
    one.stop()
    assert time.monotonic() - started < 20 and not stages.alive(pid)


WATCHING = """
import os, subprocess, sys, time
from cspine.execution.worker import end_with_parent
if sys.argv[1] == "parent":
    print(subprocess.Popen([sys.executable, "-c", sys.argv[2], "child", str(os.getpid())]).pid, flush=True)
else:
    end_with_parent(int(sys.argv[2]))
    print("watching", flush=True)
time.sleep(600)
"""


def test_a_worker_ends_with_its_killed_parent_and_not_before():
    command = [sys.executable, "-c", WATCHING, "parent", WATCHING]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=stages.environment())
    child = 0
    try:
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "watching\n"
        time.sleep(3 * worker.WATCH_S)
        assert stages.alive(child)
        parent.kill()  # SIGKILL: nothing of the parent's own can tell its child
        assert stages.wait_until_gone([child], 10) == []
    finally:
        parent.kill()
        if child and stages.alive(child):
            os.kill(child, signal.SIGKILL)
        parent.communicate()  # ends once neither of them holds the pipe


def test_a_worker_whose_parent_was_gone_before_it_looked_ends_too():
    code = "import time; from cspine.execution.worker import end_with_parent; end_with_parent(1 << 22); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], env=stages.environment(), timeout=30)
    assert done.returncode == 1


def test_a_task_that_holds_the_interpreter_for_ever_ends_its_worker():
    """Such code lets no thread of the worker run, so only a timer that needs no lock can end it."""
    code = (
        "import ctypes; from cspine.execution import worker; worker.GRACE_S = 0.5\n"
        "worker.call(ctypes.PyDLL(None).sleep, (300,), 0.5)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=stages.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "Timeout (0:00:01)!" in done.stderr
    assert time.monotonic() - started < 30
