"""Files that are either whole or absent, and folders that one process at a time may change."""

import errno
import fcntl
import hashlib
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

LONGEST_NAME = 200
"""Bytes of a file's name that its temporary name begins with; file systems take 255."""
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What file systems without locks answer."""
FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFull(InputError):
    """A disk is full. Every further file would meet the same, so this ends a run."""


@contextmanager
def full_disk_reported(folder: Path | str) -> Iterator[None]:
    """Turn the system's errors about a full disk into DiskFull, which says what to do.

    Parameters
    ----------
    folder : Path or str
        The folder that is written to; the message names it, or its nearest parent that exists.

    Yields
    ------
    None
        While errors are watched for.

    Raises
    ------
    DiskFull
        If the disk or the quota is full, or the file is larger than the system allows.
    """
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
    """Make up a hidden name in the same folder that no other process takes, on this machine or another.

    Parameters
    ----------
    path : Path
        The file that is going to be written.

    Returns
    -------
    Path
        The temporary file's path; it ends in .tmp.
    """
    begin = os.fsdecode(os.fsencode(path.name)[:LONGEST_NAME])
    return path.with_name(f".{begin}.{secrets.token_hex(6)}.tmp")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    The content goes into a temporary file in the same folder, which is then renamed.

    Parameters
    ----------
    path : Path or str
        The file; its folder is made where it is missing.
    content : bytes
        All of its content.

    Raises
    ------
    DiskFull
        If the disk is full; what was written until then is removed.
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
    """Write UTF-8 text atomically; what is no text, as in names of files that are not UTF-8, is written in digits.

    Parameters
    ----------
    path : Path or str
        The file, as for `write_bytes`.
    text : str
        All of its content.

    Raises
    ------
    DiskFull
        If the disk is full.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON document atomically, keys in the order given, floats in full precision.

    Parameters
    ----------
    path : Path or str
        The file, as for `write_bytes`.
    value : object
        Anything that the json module can write.

    Raises
    ------
    DiskFull
        If the disk is full.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path | str, frame: pd.DataFrame) -> None:
    """Write a table without its index atomically.

    Parameters
    ----------
    path : Path or str
        The file, as for `write_bytes`.
    frame : DataFrame
        The table.

    Raises
    ------
    DiskFull
        If the disk is full.
    """
    write_text(path, frame.to_csv(index=False))


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write one array as .npy atomically; objects are refused (they would need pickle).

    Parameters
    ----------
    path : Path or str
        The file, as for `write_bytes`.
    array : ndarray, any shape
        The array, of numbers or strings.

    Raises
    ------
    ValueError
        If the array holds objects.
    DiskFull
        If the disk is full.
    """
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def sha256_of(path: Path | str) -> str:
    """Give a file's SHA-256.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    str
        In hexadecimal digits.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path | str, made_by: str = "") -> Any:
    """Read a JSON document.

    Parameters
    ----------
    path : Path or str
        The file.
    made_by : str
        The target that makes the file, for the message; "" for none.

    Returns
    -------
    object
        The document.

    Raises
    ------
    InputError
        If the file is missing or broken; the message says which target makes it.
    """
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
    """Hold a folder for one process; a second one waits and says so.

    The lock dies with its process. On a file system without locks a line says so, and nothing is held.

    Parameters
    ----------
    folder : Path or str
        The folder; it is made where it is missing.
    what : str
        The stage, for the message of a process that waits.
    take : bool
        False in the companions of a process that holds the folder for them all.

    Yields
    ------
    None
        While the folder is held.

    Raises
    ------
    DiskFull
        If the folder can't be made because the disk is full.
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
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            words = (
                "its file system has no locks; see to it that no other process works there at the same time"
            )
            print(f"{what}: {folder}: {words}", file=sys.stderr)
        yield
