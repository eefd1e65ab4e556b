"""The same command in several processes that train together: torchrun's own agent, whose errors become one sentence."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cspine.errors import InputError
from cspine.settings.execution import available_cpus

AGENT = "torch.distributed.elastic"
"""What the names of the agent's loggers begin with; each has a level of its own."""


def is_launched() -> bool:
    """Say whether this is one of several processes that `launch` or torchrun started.

    Returns
    -------
    bool
        True if it is.
    """
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(processes: int, words: Sequence[str]) -> None:
    """Run Python with the same words in several processes, and wait for them.

    They meet at 127.0.0.1: the machine's own name need not be one that can be resolved.

    Parameters
    ----------
    processes : int
        How many, one for each GPU.
    words : sequence of str
        What follows `python` on the command line.

    Raises
    ------
    InputError
        With the sentence of the first process that ended with one, or with what ended a process.
    KeyboardInterrupt
        If Ctrl-C stopped them.
    SystemExit
        If another signal did.
    """
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(AGENT)]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they would tell the same on a page of their own
    os.environ.setdefault("OMP_NUM_THREADS", str(max(available_cpus() // processes, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*words)
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        if Path(first.error_file).is_file():
            raise InputError(first.message) from error
        how = f"signal {-first.exitcode}" if first.exitcode < 0 else f"exit code {first.exitcode}"
        raise InputError(
            f"process {rank} of {processes} ended with {how}; its own words, if it had any, stand above; if the "
            "memory ran out, use fewer --loader-workers; what was trained stays, run again to go on"
        ) from error
