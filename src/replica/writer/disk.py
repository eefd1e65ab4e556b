"""A disk without room ends a replica with a reason, and never with half a file under a final name."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replica.settings import ReplicaError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
ADVICE = (
    "make room or name another folder with --out, then run again with the same settings: "
    "what is finished stays, the rest is done then"
)


def free_bytes(folder: Path) -> int:
    """Bytes free where a folder lies, or will lie."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def check_room(out: Path, needed: int) -> None:
    """Raise ReplicaError when what is still to be written can't fit."""
    free = free_bytes(out)
    if needed > free:
        raise ReplicaError(
            f"{out}: the studies still to be written need {needed / 1e9:.2f} GB at least, {free / 1e9:.2f} GB "
            f"are free there; {ADVICE}"
        )


@contextmanager
def room_in(out: Path) -> Iterator[None]:
    """Turn the system's errors about a full disk into ReplicaError, which says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ReplicaError(
            f"{out}: can't be written ({error.strerror}; {free_bytes(out) / 1e6:.0f} MB free there); {ADVICE}"
        ) from error
