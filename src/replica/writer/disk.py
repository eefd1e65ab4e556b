"""A full disk ends a replica with a reason, and never with half a file under a final name."""

import errno
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from replica.scanner.protocol import Protocol
from replica.scanner.sites import JPEG_LOSSLESS
from replica.settings import ReplicaError, ReplicaSettings
from replica.study import draw_protocol

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
HEADER_BYTES = 700  # of a slice's file
SMALLEST_JPEG = 0.35  # share of its plain size that a JPEG Lossless slice takes at least
ADVICE = (
    "make room or name another folder with --out, then run again with the same settings: "
    "what is finished stays, the rest is done then"
)


def free_bytes(folder: Path) -> int:
    """Bytes free where a folder lies, or will lie.

    Parameters
    ----------
    folder : Path
        It need not exist yet.

    Returns
    -------
    int
        Of its file system.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def check_free_space(out: Path, needed: int) -> None:
    """Refuse to go on when what is still to be written can't fit.

    Parameters
    ----------
    out : Path
        The replica's folder.
    needed : int
        Bytes.

    Raises
    ------
    ReplicaError
        If fewer are free.
    """
    free = free_bytes(out)
    if needed > free:
        raise ReplicaError(
            f"{out}: the studies still to be written need {needed / 1e9:.2f} GB at least, {free / 1e9:.2f} GB "
            f"are free there; {ADVICE}"
        )


@contextmanager
def full_disk_reported(out: Path) -> Iterator[None]:
    """Turn the system's errors about a full disk into one that says what to do.

    Parameters
    ----------
    out : Path
        The replica's folder.

    Yields
    ------
    None
        While the replica is written.

    Raises
    ------
    ReplicaError
        If the disk or its quota is full, or a file grows too large.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ReplicaError(
            f"{out}: can't be written ({error.strerror}; {free_bytes(out) / 1e6:.0f} MB free there); {ADVICE}"
        ) from error


def bytes_needed(rows: Iterable[pd.Series], settings: ReplicaSettings) -> int:
    """The least that the images and masks of some studies take on disk.

    Parameters
    ----------
    rows : iterable of pandas.Series
        Of the cohort.
    settings : ReplicaSettings
        For seed and size.

    Returns
    -------
    int
        Bytes.
    """
    return sum(_study_bytes(draw_protocol(row, settings)[1], bool(row["masked"])) for row in rows)


def _study_bytes(protocol: Protocol, masked: bool) -> int:
    slices, rows, columns = protocol.grid.shape
    share = SMALLEST_JPEG if protocol.syntax == JPEG_LOSSLESS else 1.0
    image = int(2 * rows * columns * share) + HEADER_BYTES
    return slices * (protocol.stacks * image + 2 * rows * columns * masked)
