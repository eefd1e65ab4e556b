"""Many tasks in processes that may die: a crash, a hang or an error costs its own task and nothing else."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from typing import Any

from cspine.execution.worker import Attempt, Job, Outcome, Worker

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LOOK_S = 1.0
"""How often the processes are looked at while nothing finishes."""
AHEAD = 2
"""Tasks that a process holds, one under way and one in line, so that it need not wait for the caller."""


def run_tasks(job: Job, items: Iterable[tuple[Any, tuple]], workers: int) -> Generator[Outcome, None, None]:
    """Do a job with every (key, args) in worker processes and yield outcomes as they come.

    Exceptions, time-outs and dead workers are outcomes with an error text. A task that crashed its process is
    tried once more with `job.fallback`; one whose process was killed from outside is retried, `MAX_ATTEMPTS`
    times at most.
    Tasks start only as outcomes are taken, a few ahead, so memory stays flat however many items there are;
    when the caller stops early or dies, so do the workers.

    Parameters
    ----------
    job : Job
        What is done with each task.
    items : iterable of (Any, tuple)
        Key and args of each task.
    workers : int
        Number of processes, each with one thread for arithmetic.

    Yields
    ------
    Outcome
        What became of a task, in the order in which they end.
    """
    source = iter(items)
    waiting: deque[Attempt] = deque()
    with one_thread(), _workers(workers) as pool:
        while True:
            _hand_out(job, pool, waiting, source)
            held = [future for worker in pool for future in worker.futures]
            if not held:
                return
            wait(held, LOOK_S, FIRST_COMPLETED)
            for worker in pool:
                for result in worker.take(job):
                    if isinstance(result, Attempt):
                        waiting.appendleft(result)
                    else:
                        yield result


def run_one(job: Job, worker: Worker, key: Any, args: tuple) -> Outcome:
    """Do a job with one task in a process that is kept for the next; as `run_tasks` otherwise.

    Parameters
    ----------
    job : Job
        What is done with the task.
    worker : Worker
        The process, with no task of its own.
    key : Any
        The task's name.
    args : tuple
        Its arguments.

    Returns
    -------
    Outcome
        What became of the task.
    """
    waiting = deque([Attempt(key, args)])
    while True:
        if waiting:
            worker.give(job, waiting.popleft())
        wait(worker.futures, LOOK_S)
        for result in worker.take(job):
            if isinstance(result, Outcome):
                return result
            waiting.append(result)


def _hand_out(
    job: Job, workers: list[Worker], waiting: deque[Attempt], source: Iterator[tuple[Any, tuple]]
) -> None:
    """Give every process a task, and one more in line while enough are left for all of them."""
    for depth in range(AHEAD):
        for worker in workers:
            if len(worker.futures) > depth:
                continue
            while len(waiting) <= depth * len(workers) and (item := next(source, None)) is not None:
                waiting.append(Attempt(*item))
            if len(waiting) > depth * len(workers):
                worker.give(job, waiting.popleft())


@contextmanager
def _workers(count: int) -> Iterator[list[Worker]]:
    workers = [Worker() for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.tell_to_stop()
        for worker in workers:
            worker.stop()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have the processes that start meanwhile use one thread: libraries read this when they are loaded.

    Yields
    ------
    None
        The caller's own settings are back after that.
    """
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
