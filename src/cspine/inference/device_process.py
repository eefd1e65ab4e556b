"""A process with the networks on one device, for whoever watches it: `python -m` this file.

What can't be caught (a process out of memory, a GPU that answers nothing more after an error) ends this process, not
the one that started it. The processes that decode for it import this file again, so nothing large is imported up here:
torch alone would cost each of them seconds and hundreds of megabytes.
"""

import json
import os
import signal
import sys

from cspine.execution.worker import end_with_parent
from cspine.inference.device_task import Task


def main() -> None:
    """Read the task from standard input; the first argument is the pipe's number."""
    end_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this; it ends with them
    from cspine.inference.device_answers import answer

    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:
        answer(Task(**json.loads(sys.stdin.read())), pipe)


if __name__ == "__main__":
    main()
