"""Many tasks in processes that may die: a crash, a hang or an error costs its own task and nothing else."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from cspine.errors import InputError

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LOOK_S = 1.0
"""How often the state of the pool is looked at while nothing finishes."""
WATCH_S = 0.5
"""How often a worker looks whether its parent is still there."""
GRACE_S = 30.0
"""After the time-out and this, a worker that nobody stopped ends itself."""
MAX_ATTEMPTS = 3
"""Starts of a task that was under way when the whole pool broke down."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the error that stands in its place."""

    key: Any
    value: Any
    error: str | None
    seconds: float


@dataclass(frozen=True)
class _Task:
    key: Any
    args: tuple
    attempt: int


def run_tasks(
    function: Callable, items: Iterable[tuple[Any, tuple]], workers: int, timeout_s: float
) -> Iterator[Outcome]:
    """Call `function(*args)` for every (key, args) in worker processes and yield outcomes as they come.

    function: importable from the top level of a module; arguments and values travel between processes, so
    they are best small. workers: number of processes, each with one thread for arithmetic. timeout_s: a task
    that takes longer is stopped. Exceptions, time-outs and dead workers are outcomes with an error text.
    Tasks start only as outcomes are taken, a few ahead, so memory stays flat however many items there are;
    when the caller stops early or dies, so do the workers.
    """
    waiting: deque[_Task] = deque()
    source = iter(items)
    with _environment(ONE_THREAD):
        pool = _new_pool(workers)
        running: dict[ProcessFuture, _Task] = {}
        try:
            while True:
                while len(running) < 2 * workers and pool.active:
                    task = waiting.popleft() if waiting else _next_task(source)
                    if task is None:
                        break
                    running[pool.schedule(_call, (function, task.args, timeout_s), timeout=timeout_s)] = task
                if not running and pool.active:
                    return
                finished = wait(running, LOOK_S, FIRST_COMPLETED).done
                broken = not pool.active
                for future in list(running) if broken else finished:
                    task = running.pop(future)
                    outcome = _outcome(task, future, timeout_s)
                    if outcome is None:
                        waiting.append(_Task(task.key, task.args, task.attempt + 1))
                    else:
                        yield outcome
                if broken:
                    _end(pool)
                    pool = _new_pool(workers)
        finally:
            _end(pool)


def _next_task(source: Iterator[tuple[Any, tuple]]) -> _Task | None:
    item = next(source, None)
    return None if item is None else _Task(*item, attempt=1)


def _outcome(task: _Task, future: ProcessFuture, timeout_s: float) -> Outcome | None:
    """A finished task's outcome; None if the pool broke down around it and it deserves another attempt."""
    # A future that is not done belongs to a broken pool, which will never finish it.
    error = future.exception() if future.done() else BrokenProcessPool("the pool broke down")
    if error is None:
        return Outcome(task.key, *future.result())
    if isinstance(error, TimeoutError):
        return Outcome(task.key, None, f"stopped after {timeout_s:g} s", timeout_s)
    if isinstance(error, BrokenProcessPool) and task.attempt < MAX_ATTEMPTS:
        return None
    if isinstance(error, ProcessExpired | BrokenProcessPool):
        return Outcome(task.key, None, _death(error), 0.0)
    return Outcome(task.key, None, _words(error), 0.0)


def _death(error: ProcessExpired | BrokenProcessPool) -> str:
    code = getattr(error, "exitcode", None)
    if isinstance(code, int) and code < 0:
        return f"worker died (signal {-code}, {signal.Signals(-code).name})"
    return f"worker died (exit code {code})" if code is not None else "worker died"


def _new_pool(workers: int) -> ProcessPool:
    # spawn: a fork would copy the locks of threads that torch and pebble run in the parent
    context = multiprocessing.get_context("spawn")
    return ProcessPool(
        max_workers=workers, initializer=_start_worker, initargs=[os.getpid()], context=context
    )


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _call(function: Callable, args: tuple, timeout_s: float) -> tuple[Any, str | None, float]:
    """Call the function in the worker; its value, its error and how long it took."""
    # Code that hangs while it holds the interpreter's lock can't watch the parent; this timer needs no lock.
    faulthandler.dump_traceback_later(timeout_s + GRACE_S, exit=True)
    started = time.perf_counter()
    value, error = None, None
    try:
        value = function(*args)
    except BaseException as raised:  # noqa: BLE001  whatever a task raises is its outcome, a Rust panic too
        error = _words(raised)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return value, error, time.perf_counter() - started


def _words(error: BaseException) -> str:
    """What an index says about an error: the message alone where it was written for the reader."""
    if isinstance(error, InputError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _start_worker(parent: int) -> None:
    import cv2  # not in the parent, which may never need it

    cv2.setNumThreads(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    """End this process as soon as its parent is another one."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that start meanwhile: libraries read them when they are loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
