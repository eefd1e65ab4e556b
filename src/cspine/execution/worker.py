"""One worker process: how its parent gives it tasks and outlives its death, and what runs inside of it."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from cspine.errors import InputError, os_error_words

MAX_ATTEMPTS = 3
"""Attempts at a task whose process was killed from outside, which says nothing about the task."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
DIED, STOPPED = "died", "stopped"
"""What `Outcome.kind` says of a task without an exception."""
GRACE_S = 30.0
"""After the time-out and this, a worker that nobody stopped ends itself."""
WATCH_S = 0.5
"""How often a process looks whether its parent is still there."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the error that it ended with."""

    key: Any
    value: Any
    error: str | None
    seconds: float
    kind: str = ""
    """Name of the exception's class, `died`, `stopped`, or nothing where there is a value."""
    attempts: int = 1
    """How often the task was begun; more than once if its process died."""


@dataclass(frozen=True)
class Job:
    """What is done with each task's arguments, and for how long.

    function: importable from the top level of a module; arguments and values travel between processes, so
    they are best small. timeout_s: a task that takes longer is stopped. fallback: called with the same
    arguments, once, instead of `function` for a task that crashed its process; fallback_words: how it differs.
    """

    function: Callable
    timeout_s: float
    fallback: Callable | None = None
    fallback_words: str = "by the fallback"


@dataclass(frozen=True)
class Attempt:
    """One start of a task, and what the task went through before."""

    key: Any
    args: tuple
    number: int = 1
    """1 for the first start."""
    by_fallback: bool = False
    """Whether `Job.fallback` does it."""
    spent_s: float = 0.0
    """What earlier attempts took."""


@dataclass
class _Held:
    attempt: Attempt
    future: Future
    ended: float = 0.0


class Worker:
    """One worker process as its parent sees it, with the task that it works on and the one that is next.

    Each is a pool of its own: pebble notices at once when a pool's only worker dies, even before it said
    which task it took, and locks or half-written messages that a dead worker leaves go with its pool.
    """

    def __init__(self) -> None:
        self._pool: ProcessPool | None = None
        self._held: deque[_Held] = deque()
        self._since = 0.0

    @property
    def futures(self) -> list[Future]:
        """Of the tasks that it holds."""
        return [held.future for held in self._held]

    def give(self, job: Job, attempt: Attempt) -> None:
        """Put a task in line; starts a process if there is none.

        Parameters
        ----------
        job : Job
            What is done with the task.
        attempt : Attempt
            The task.
        """
        if not self._held:
            self._since = time.monotonic()
        work = [job.fallback if attempt.by_fallback else job.function, attempt.args, job.timeout_s]
        with interrupts_for_this_process_alone():
            try:
                future = self._alive_pool().schedule(call, work, timeout=job.timeout_s)
            except RuntimeError:  # the process died this very moment
                self.stop()
                future = self._alive_pool().schedule(call, work, timeout=job.timeout_s)
        held = _Held(attempt, future)
        held.future.add_done_callback(lambda _: setattr(held, "ended", time.monotonic()))
        self._held.append(held)

    def take(self, job: Job) -> list[Outcome | Attempt]:
        """What ended meanwhile.

        Parameters
        ----------
        job : Job
            What is done with the tasks.

        Returns
        -------
        list of Outcome or Attempt
            Outcomes, and further attempts at tasks whose process died.
        """
        taken: list[Outcome | Attempt] = []
        while self._held and (self._held[0].future.done() or not self._alive):
            held = self._held.popleft()
            # A future that is not done belongs to a broken pool, which will never finish it.
            broke = BrokenProcessPool("the pool broke down")
            error = held.future.exception() if held.future.done() else broke
            ended = held.ended or time.monotonic()
            since, self._since = self._since, ended
            if error is None:
                value, words, kind, seconds = held.future.result()
                spent_s = held.attempt.spent_s + seconds
                taken.append(Outcome(held.attempt.key, value, words, spent_s, kind, held.attempt.number))
            else:
                taken.append(_settle(job, held.attempt, error, ended - since))
                # A new process for the rest, which has not begun, or only just.
                taken += [other.attempt for other in self._held]
                self._held.clear()
                self.stop()
        return taken

    def _alive_pool(self) -> ProcessPool:
        if self._pool is None or not self._pool.active:
            self.stop()
            self._pool = _new_pool()
        return self._pool

    @property
    def _alive(self) -> bool:
        return self._pool is not None and self._pool.active

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


def _settle(job: Job, attempt: Attempt, error: BaseException, seconds: float) -> Outcome | Attempt:
    """A task whose process did not answer: its outcome, or the next attempt at it."""
    spent_s = attempt.spent_s + seconds
    if isinstance(error, TimeoutError):
        return Outcome(
            attempt.key, None, f"stopped after {job.timeout_s:g} s", spent_s, STOPPED, attempt.number
        )
    if not isinstance(error, ProcessExpired | BrokenProcessPool):
        words = f"{type(error).__name__}: {error}"
        return Outcome(attempt.key, None, words, spent_s, type(error).__name__, attempt.number)
    code = getattr(error, "exitcode", None)
    crashed = code is not None and -code not in FROM_OUTSIDE
    if crashed and job.fallback is not None and not attempt.by_fallback:
        return replace(attempt, number=attempt.number + 1, by_fallback=True, spent_s=spent_s)
    if not crashed and attempt.number < MAX_ATTEMPTS:
        return replace(attempt, number=attempt.number + 1, spent_s=spent_s)
    return Outcome(attempt.key, None, _death(job, code, attempt), spent_s, DIED, attempt.number)


def _death(job: Job, code: int | None, attempt: Attempt) -> str:
    """What an index says about a process that died."""
    words = "worker died"
    if code is not None:
        words += f" (signal {-code}, {signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"
    if code == -signal.SIGKILL:
        words += f" {attempt.number} times; if the memory ran out, use fewer workers"
    return words + (f", also {job.fallback_words}" if attempt.by_fallback else "")


@contextmanager
def interrupts_for_this_process_alone() -> Iterator[None]:
    """Keep Ctrl-C from the processes that are started meanwhile: this one ends them, and says so once.

    The mask goes on to the threads of a pool, and from them to its process. Python's resource tracker is started
    before: the first process that needs it starts it, and it lifts the mask on its way. Other threads of this process
    may still take the signal, so that what it does waits until the process that is being started has all it needs.

    Yields
    ------
    None
        While processes are started.
    """
    resource_tracker.ensure_running()
    handler, came = signal.getsignal(signal.SIGINT), threading.Event()
    waits = callable(handler) and threading.current_thread() is threading.main_thread()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if waits:
        signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if waits:
            signal.signal(signal.SIGINT, handler)
        if came.is_set():
            signal.raise_signal(signal.SIGINT)


def _new_pool() -> ProcessPool:
    # spawn: a fork would copy the locks of threads that torch and pebble run in the parent
    context = multiprocessing.get_context("spawn")
    return ProcessPool(max_workers=1, initializer=start_worker, initargs=[os.getpid()], context=context)


def call(function: Callable, args: tuple, timeout_s: float) -> tuple[Any, str | None, str, float]:
    """Call a function in a worker process; whatever it raises is told, not raised.

    Parameters
    ----------
    function : callable
        The task's function.
    args : tuple
        Its arguments.
    timeout_s : float
        What the parent allows it; `GRACE_S` after that, this process ends itself.

    Returns
    -------
    value : Any
        What the function returned; None after an error.
    words : str or None
        The text of its error.
    kind : str
        The class name of its error; empty without one.
    seconds : float
        How long it took.
    """
    # Code that hangs while it holds the interpreter's lock can't watch the parent; this timer needs no lock.
    faulthandler.dump_traceback_later(timeout_s + GRACE_S, exit=True)
    started = time.perf_counter()
    value, words, kind = None, None, ""
    try:
        value = function(*args)
    except BaseException as raised:  # noqa: BLE001  whatever a task raises is its outcome, a Rust panic too
        words, kind = _words(raised), type(raised).__name__
    finally:
        faulthandler.cancel_dump_traceback_later()
    return value, words, kind, time.perf_counter() - started


def start_worker(parent: int) -> None:
    """Make this process fit for work: one thread, and no life after its parent's.

    Parameters
    ----------
    parent : int
        The parent's process id.
    """
    import cv2  # not in the parent, which may never need it

    cv2.setNumThreads(1)
    end_with_parent(parent)


def end_with_parent(parent: int) -> None:
    """End this process as soon as its parent is gone, however that went.

    Parameters
    ----------
    parent : int
        The parent's process id.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _words(error: BaseException) -> str:
    """What an index says about an error: the message alone where it was written for the reader."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return os_error_words(error)
    frames = traceback.extract_tb(error.__traceback__)
    line = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"
