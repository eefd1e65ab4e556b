"""The same tasks on many machines: Dask distributes them, and on each worker the engine does them.

A Dask worker's thread gives its study to a process of its own (`worker.Worker`), so a crash, a hang or an error
ends as on one machine, with the same words. Dask's part is what the engine can't see: machines that come, go
and die. A task whose Dask worker died is given to another one by the scheduler, and counts as failed after
`distributed.scheduler.allowed-failures` (3) such deaths. Messages are distributed's own business.
"""

import logging
import multiprocessing
import os
import threading
import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, LocalCluster, wait

from cspine.errors import InputError
from cspine.execution.engine import AHEAD, LOOK_S, ONE_THREAD, one_thread, run_one
from cspine.execution.worker import DIED, Job, Outcome, Worker

LOCAL = "local"
CONNECT_S = 30.0
"""How long a scheduler may take to answer."""
NO_WORKER_S = 120.0
"""How long a run goes on waiting without a single worker."""
HOW_TO_START = (
    "with PYTHONPATH=<this kit>/src: dask worker ADDRESS --nworkers 1 --nthreads <cores> --no-nanny"
)

_of_thread = threading.local()
_started: list[Worker] = []


def run_on_cluster(
    job: Job, items: Iterable[tuple[Any, tuple]], scheduler: str, workers: int, folders: tuple[Path, ...]
) -> Generator[Outcome, None, None]:
    """Do a job with every (key, args) on a Dask scheduler's workers.

    Parameters
    ----------
    job : Job
        What is done with each task.
    items : iterable of (Any, tuple)
        Key and args of each task.
    scheduler : str
        An address such as tcp://10.0.0.1:8786, or `local` for a scheduler in this process.
    workers : int
        Threads of a scheduler in this process.
    folders : tuple of Path
        Absolute paths that every worker has to see under the same name.

    Yields
    ------
    Outcome
        Outcomes as from `engine.run_tasks`.

    Raises
    ------
    InputError
        If the scheduler does not answer, no worker is there, a worker can't import this library, lacks a
        folder or may not start processes.
    """
    prefix = f"study-{uuid.uuid4().hex[:8]}"
    source = enumerate(items)
    running: dict[Future, tuple[Any, float]] = {}
    with _client(scheduler, workers) as client:
        try:
            while True:
                for number, (key, args) in _next(source, AHEAD * _threads(client) - len(running)):
                    name = f"{prefix}-{number}"
                    future = client.submit(do_here, job, key, args, folders, key=name, pure=False)
                    running[future] = key, time.monotonic()
                if not running:
                    return
                for future in _finished(running):
                    yield _outcome(future, *running.pop(future))
        except (OSError, CancelledError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"{scheduler}: lost the Dask scheduler ({reason}); start it again, then run again: it goes on"
            ) from error
        finally:
            client.cancel(list(running))


def do_here(job: Job, key: Any, args: tuple, folders: tuple[Path, ...]) -> Outcome:
    """On a Dask worker: one task in the process that belongs to this thread.

    Parameters
    ----------
    job : Job
        What is done with the task.
    key : Any
        The task's name.
    args : tuple
        Its arguments.
    folders : tuple of Path
        Absolute paths that have to be there.

    Returns
    -------
    Outcome
        What became of the task.

    Raises
    ------
    InputError
        If this worker may not start processes, or does not see one of the folders.
    """
    if multiprocessing.current_process().daemon:
        raise InputError("its nanny forbids it to start processes; start it with --no-nanny")
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"it does not see {folder}; mount it there under the same path")
    if not hasattr(_of_thread, "worker"):
        _of_thread.worker = Worker()
        _started.append(_of_thread.worker)
    os.environ.update(ONE_THREAD)  # for the process that the worker starts; this one has no arithmetic to do
    return run_one(job, _of_thread.worker, key, args)


def _next(source: Iterator, count: int) -> Iterator[tuple[int, tuple[Any, tuple]]]:
    while count > 0 and (item := next(source, None)) is not None:
        yield item
        count -= 1


def _threads(client: Client) -> int:
    """Threads of all workers; waits for the first worker, but not for ever."""
    assert client.scheduler is not None, "the client is connected"
    deadline = time.monotonic() + NO_WORKER_S
    while not (threads := sum(client.nthreads().values())):
        if time.monotonic() > deadline:
            raise InputError(
                f"{client.scheduler.address}: found no Dask worker for {NO_WORKER_S:.0f} s; start one, "
                f"{HOW_TO_START}; then run again: it goes on"
            )
        time.sleep(LOOK_S)
    return threads


def _finished(running: Iterable[Future]) -> list[Future]:
    try:
        return list(wait(list(running), LOOK_S, FIRST_COMPLETED).done)
    except TimeoutError:
        return []


def _outcome(future: Future, key: Any, since: float) -> Outcome:
    """A finished future's outcome; what is wrong with a worker rather than a study ends the run."""
    if future.status == "finished":
        return future.result()
    if future.status in ("cancelled", "lost"):
        raise CancelledError(f"task {future.key} was cancelled")
    error = future.exception()
    if isinstance(error, KilledWorker):
        attempts = error.allowed_failures + 1
        last = error.last_worker.address
        words = f"worker died (Dask lost {attempts} workers that had this study, the last at {last})"
        return Outcome(key, None, words, time.monotonic() - since, DIED, attempts)
    raise InputError(f"a Dask worker can't work: {error}; {HOW_TO_START}") from error


@contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Client]:
    logging.getLogger("distributed").setLevel(logging.ERROR)  # our own words tell what matters
    if scheduler == LOCAL:
        options = {
            "n_workers": 1,
            "threads_per_worker": workers,
            "processes": False,
            "dashboard_address": None,
        }
        try:
            with one_thread(), LocalCluster(**options) as cluster, Client(cluster) as client:
                yield client
        finally:
            while _started:
                _started.pop().stop()
        return
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{scheduler}: no Dask scheduler answers there ({error}); expected an address such as "
            "tcp://10.0.0.1:8786; start one with `dask scheduler`, and workers "
            f"{HOW_TO_START}"
        ) from error
    with client:
        yield client
