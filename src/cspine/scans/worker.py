"""What runs inside a worker process: one call at a time, and an end when the parent ends."""

import faulthandler
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cspine.errors import InputError
from cspine.stage import end_with

GRACE_S = 30.0
"""After the time-out and this, a worker that nobody stopped ends itself."""


def call(function: Callable, args: tuple, timeout_s: float) -> tuple[Any, str | None, str, float]:
    """Call the function; returns its value, the text and the class name of its error, and the seconds."""
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
    """Make this process fit for work: one thread, and no life after its parent's."""
    import cv2  # not in the parent, which may never need it

    cv2.setNumThreads(1)
    end_with(parent)


def _words(error: BaseException) -> str:
    """What an index says about an error: the message alone where it was written for the reader."""
    if isinstance(error, InputError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
