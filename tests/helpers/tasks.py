"""What workers are asked to do in the tests; at the top level of a module, so that they can be sent."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cspine import storage
from cspine.errors import InputError
from cspine.execution.engine import run_tasks
from cspine.execution.store import StudyStore
from cspine.execution.worker import Job


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
    list(run_tasks(Job(sign_and_wait, 600), [(n, (folder, n)) for n in range(2)], workers=2))


def write_and_die(folder: str, uid: str) -> None:
    """Write a study and get killed between its first array and its second."""
    store = StudyStore(folder, {"spacing_mm": 1.0})
    first = np.arange(1000)

    class Arrays(dict):
        def items(self):
            yield "first", first
            os.kill(os.getpid(), signal.SIGKILL)

    store.write(uid, Arrays(), {"a": 1})


def write_for_long_or_find_the_disk_full(folder: str, uid: str, full: bool) -> None:
    """Write a study and take long between its arrays, or find the disk full once another has come that far."""
    if full:
        while not list(Path(folder).glob(".*.tmp/first.npy")):
            time.sleep(0.01)
        raise storage.DiskFull("no room")

    class Arrays(dict):
        def items(self):
            yield "first", np.arange(1000)
            time.sleep(600)

    StudyStore(folder, {"spacing_mm": 1.0}).write(uid, Arrays(), {"a": 1})


def decode_raw(path: str, fallback: bool = False) -> str:
    """Hand a file to dicomsdl without any check, which may end this process."""
    if fallback:
        return "left to another decoder"
    import dicomsdl

    data = dicomsdl.open_memory(Path(path).read_bytes())
    info = data.getPixelDataInfo()
    pixels = np.empty((info["Rows"], info["Cols"]), info["dtype"])
    data.copyFrameData(0, pixels)
    return "decoded"


def die_after(seconds: float, marker: str = "") -> str:
    """Get killed after a while; with a marker file, only at the first attempt."""
    if marker and Path(marker).exists():
        return "lived"
    if marker:
        Path(marker).touch()
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def kill_parent(really: bool) -> None:
    """Kill the process that this worker belongs to."""
    if really:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


def memory_of(function: Callable, args: tuple) -> int:
    """Call the function; the most memory in kB that this process has ever held."""
    function(*args)
    # getrusage would also count the parent before this process became another program
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def blocked_signals() -> str:
    """The mask of blocked signals of this process, in hexadecimal digits."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("SigBlk"))
