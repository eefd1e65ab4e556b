"""Files that are either whole or absent, and folders that one process at a time may change."""

import errno
import fcntl
import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine.errors import InputError

FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFull(InputError):
    """A disk is full. Every further file would meet the same, so this ends a run."""


@contextmanager
def full_disk_reported(folder: Path | str) -> Iterator[None]:
    """Turn the system's errors about a full disk into DiskFull, which says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_ERRORS:
            raise
        candidates = [Path(folder).absolute(), *Path(folder).absolute().parents]
        there = next(path for path in candidates if path.exists() and not path.name.endswith(".tmp"))
        free_mb = shutil.disk_usage(there).free / 1e6
        raise DiskFull(
            f"{there}: can't be written ({error.strerror}; {free_mb:.0f} MB free there); make room or name "
            "another folder, then run again: what is finished stays, the rest is done then"
        ) from error


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder that no other process takes, on this machine or another."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part (rename within a folder).

    Raises DiskFull if the disk is full; what was written until then is removed.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        with full_disk_reported(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON document atomically, keys in the order given, floats in full precision."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path | str, frame: pd.DataFrame) -> None:
    """Write a table without its index atomically."""
    write_text(path, frame.to_csv(index=False))


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write one array as .npy atomically; objects are refused (they would need pickle)."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def read_json(path: Path | str, made_by: str = "") -> Any:
    """Read a JSON document; a missing or broken file is an InputError that says which target makes it."""
    path = Path(path)
    advice = f"; `{made_by}` makes it" if made_by else ""
    if not path.is_file():
        raise InputError(f"{path}: no such file{advice}")
    try:
        return json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: expected a JSON document, found {error}{advice}") from error


@contextmanager
def locked(folder: Path | str, what: str, take: bool = True) -> Iterator[None]:
    """Hold a folder for one process; a second one waits and says so. The lock dies with its process.

    take: False in the companions of a process that holds the folder for them all.
    """
    if not take:
        yield
        return
    folder = Path(folder)
    with full_disk_reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115  closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what}: another process is at work in {folder}; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
