"""What workers are asked to do in the tests; at the top level of a module, so that they can be sent."""

import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np

from cspine.errors import InputError
from cspine.scans.cache import StudyStore
from cspine.scans.engine import run_tasks


def behave(how: str, value: int = 0):
    """Succeed, fail or die as asked."""
    match how:
        case "double":
            return 2 * value
        case "raise":
            raise KeyError("lost")
        case "refuse":
            raise InputError("file x: found y; expected z")
        case "exit":
            raise SystemExit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            ctypes.string_at(0)
        case "hang":
            time.sleep(600)
    return None


def threads() -> tuple[str | None, int]:
    """What a worker's libraries are told about threads."""
    import cv2

    return os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()


def sign_and_wait(folder: str, number: int) -> int:
    """Leave this process's id behind, then work for a long time."""
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(600)
    return number


def parent_of_waiting_workers(folder: str) -> None:
    """Run two tasks that take long; the test kills this process meanwhile."""
    list(run_tasks(sign_and_wait, [(n, (folder, n)) for n in range(2)], workers=2, timeout_s=600))


def write_and_die(folder: str, uid: str) -> None:
    """Write a study and get killed between its first array and its second."""
    store = StudyStore(folder, {"spacing_mm": 1.0})
    first = np.arange(1000)

    class Arrays(dict):
        def items(self):
            yield "first", first
            os.kill(os.getpid(), signal.SIGKILL)

    store.write(uid, Arrays(), {"a": 1})
