"""Many tasks in processes that may die: a crash, a hang or an error costs its own task and nothing else."""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pebble import ProcessExpired, ProcessPool

from cspine.scans.worker import call, start_worker

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LOOK_S = 1.0
"""How often the processes are looked at while nothing finishes."""
AHEAD = 2
"""Tasks that a process holds, one under way and one in line, so that it need not wait for the caller."""
MAX_ATTEMPTS = 3
"""Starts of a task whose process was killed from outside, which says nothing about the task."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
DIED, STOPPED = "died", "stopped"
"""What `Outcome.kind` says of a task without an exception."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the error that stands in its place."""

    key: Any
    value: Any
    error: str | None
    seconds: float
    kind: str = ""
    """Name of the exception's class, `died`, `stopped`, or nothing where there is a value."""
    starts: int = 1
    """How often the task was begun; more than once if its process died."""


@dataclass(frozen=True)
class Job:
    """What is done with each task's arguments, and for how long.

    function: importable from the top level of a module; arguments and values travel between processes, so
    they are best small. timeout_s: a task that takes longer is stopped. again: called with the same
    arguments, once, in place of `function` for a task that crashed its process.
    """

    function: Callable
    timeout_s: float
    again: Callable | None = None


@dataclass(frozen=True)
class Task:
    """One key with its arguments, and what it went through so far."""

    key: Any
    args: tuple
    starts: int = 1
    careful: bool = False
    spent_s: float = 0.0


@dataclass
class _Held:
    task: Task
    future: Future
    ended: float = 0.0


def run_tasks(job: Job, items: Iterable[tuple[Any, tuple]], workers: int) -> Iterator[Outcome]:
    """Do a job with every (key, args) in worker processes and yield outcomes as they come.

    workers: number of processes, each with one thread for arithmetic. Exceptions, time-outs and dead workers
    are outcomes with an error text. A task that crashed its process is tried once more with `job.again`; one
    whose process was killed from outside is begun anew, `MAX_ATTEMPTS` times at most.
    Tasks start only as outcomes are taken, a few ahead, so memory stays flat however many items there are;
    when the caller stops early or dies, so do the workers.
    """
    source = iter(items)
    waiting: deque[Task] = deque()
    with one_thread(), _hands(workers) as hands:
        while True:
            _hand_out(job, hands, waiting, source)
            held = [future for hand in hands for future in hand.futures]
            if not held:
                return
            wait(held, LOOK_S, FIRST_COMPLETED)
            for hand in hands:
                for result in hand.take(job):
                    if isinstance(result, Task):
                        waiting.appendleft(result)
                    else:
                        yield result


def run_one(job: Job, hand: "Hand", key: Any, args: tuple) -> Outcome:
    """Do a job with one task in a process that is kept for the next; as `run_tasks` otherwise."""
    waiting = deque([Task(key, args)])
    while True:
        if waiting:
            hand.give(job, waiting.popleft())
        wait(hand.futures, LOOK_S)
        for result in hand.take(job):
            if isinstance(result, Outcome):
                return result
            waiting.append(result)


class Hand:
    """One worker process, with the task that it works on and the one that is next.

    Each is a pool of its own: pebble notices at once when a pool's only worker dies, even before it said
    which task it took, and locks or half-written messages that a dead worker leaves go with its pool.
    """

    def __init__(self):
        self._pool: ProcessPool | None = None
        self._held: deque[_Held] = deque()
        self._since = 0.0

    @property
    def futures(self) -> list[Future]:
        """Of the tasks that it holds."""
        return [held.future for held in self._held]

    def give(self, job: Job, task: Task) -> None:
        """Put a task in line; starts a process if there is none."""
        if self._pool is None or not self._pool.active:
            self.stop()
            self._pool = _new_pool()
        if not self._held:
            self._since = time.monotonic()
        work = (job.again if task.careful else job.function, task.args, job.timeout_s)
        try:
            held = _Held(task, self._pool.schedule(call, work, timeout=job.timeout_s))
        except RuntimeError:  # the process died this very moment
            self.stop()
            self._pool = _new_pool()
            held = _Held(task, self._pool.schedule(call, work, timeout=job.timeout_s))
        held.future.add_done_callback(lambda _: setattr(held, "ended", time.monotonic()))
        self._held.append(held)

    def take(self, job: Job) -> list[Outcome | Task]:
        """What ended meanwhile: outcomes, and tasks that are to be begun anew."""
        taken: list[Outcome | Task] = []
        while self._held and (self._held[0].future.done() or not self._pool.active):
            held = self._held.popleft()
            # A future that is not done belongs to a broken pool, which will never finish it.
            broke = BrokenProcessPool("the pool broke down")
            error = held.future.exception() if held.future.done() else broke
            ended = held.ended or time.monotonic()
            since, self._since = self._since, ended
            if error is None:
                value, words, kind, seconds = held.future.result()
                spent_s = held.task.spent_s + seconds
                taken.append(Outcome(held.task.key, value, words, spent_s, kind, held.task.starts))
            else:
                taken.append(_settle(job, held.task, error, ended - since))
                # A new process for the rest, which has not begun, or only just.
                taken += [other.task for other in self._held]
                self._held.clear()
                self.stop()
        return taken

    def tell_to_stop(self) -> None:
        """Begin to end the process; `stop` goes faster then."""
        if self._pool is not None:
            self._pool.stop()

    def stop(self) -> None:
        """End the process at once."""
        self.tell_to_stop()
        if self._pool is not None:
            self._pool.join()
            self._pool = None


def _settle(job: Job, task: Task, error: Exception, seconds: float) -> Outcome | Task:
    """A task whose process did not answer: its outcome, or the task that is to be begun in its place."""
    spent_s = task.spent_s + seconds
    if isinstance(error, TimeoutError):
        return Outcome(task.key, None, f"stopped after {job.timeout_s:g} s", spent_s, STOPPED, task.starts)
    if not isinstance(error, ProcessExpired | BrokenProcessPool):
        words = f"{type(error).__name__}: {error}"
        return Outcome(task.key, None, words, spent_s, type(error).__name__, task.starts)
    code = getattr(error, "exitcode", None)
    crashed = code is not None and -code not in FROM_OUTSIDE
    if crashed and job.again is not None and not task.careful:
        return replace(task, starts=task.starts + 1, careful=True, spent_s=spent_s)
    if not crashed and task.starts < MAX_ATTEMPTS:
        return replace(task, starts=task.starts + 1, spent_s=spent_s)
    return Outcome(task.key, None, _death(code, task), spent_s, DIED, task.starts)


def _death(code: int | None, task: Task) -> str:
    """What an index says about a process that died."""
    words = "worker died"
    if code is not None:
        words += f" (signal {-code}, {signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"
    if code == -signal.SIGKILL:
        words += f" {task.starts} times; if the memory ran out, use fewer workers"
    return words + (", also without the fast decoder" if task.careful else "")


def _hand_out(job: Job, hands: list[Hand], waiting: deque[Task], source: Iterator[tuple[Any, tuple]]) -> None:
    """Give every process a task, and one more in line while enough are left for all of them."""
    for depth in range(AHEAD):
        for hand in hands:
            if len(hand.futures) > depth:
                continue
            while len(waiting) <= depth * len(hands) and (item := next(source, None)) is not None:
                waiting.append(Task(*item))
            if len(waiting) > depth * len(hands):
                hand.give(job, waiting.popleft())


@contextmanager
def _hands(count: int) -> Iterator[list[Hand]]:
    hands = [Hand() for _ in range(count)]
    try:
        yield hands
    finally:
        for hand in hands:
            hand.tell_to_stop()
        for hand in hands:
            hand.stop()


def _new_pool() -> ProcessPool:
    # spawn: a fork would copy the locks of threads that torch and pebble run in the parent
    context = multiprocessing.get_context("spawn")
    return ProcessPool(max_workers=1, initializer=start_worker, initargs=[os.getpid()], context=context)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have the processes that start meanwhile use one thread: libraries read this when they are loaded."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
