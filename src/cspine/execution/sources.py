"""What a study in a store was made from, so that a file that changes afterwards is noticed.

Names, sizes and times of change are looked at on every run. Where only times differ, as in a folder that was copied,
a few of the slices and all other files are read to decide it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MADE_FROM = "made_from"
"""Where a study's description keeps it."""
SAMPLED = 8
"""Slices of a series that are looked into, spread evenly."""
BLOCK = 4096
"""Bytes of such a slice that are read at its beginning, middle and end."""


@dataclass(frozen=True)
class Sources:
    """What a study is made from: slices, further files that are small or few, and values, ready for JSON."""

    slices: Sequence[Path]
    files: Sequence[Path] = ()
    values: Any = None

    def describe(self) -> dict[str, str]:
        """Describe them, to be kept with what is made from them.

        Returns
        -------
        dict of str to str
            `names` (with sizes), `times`, `content` and `values`, a hash each.

        Raises
        ------
        OSError
            If one of the files is gone or can't be read.
        """
        names, times = self._outside()
        return {"names": names, "times": times, "content": self._content(), "values": _hash([self.values])}

    def differ_from(self, described: Mapping[str, str] | None) -> bool:
        """Say whether something changed since then.

        Parameters
        ----------
        described : mapping of str to str, optional
            What `describe` gave.

        Returns
        -------
        bool
            True if it did; False also where the files are gone, so that what was made from them is kept.
        """
        if not self.slices:
            return False
        if described is None or described["values"] != _hash([self.values]):
            return True
        try:
            names, times = self._outside()
            if names != described["names"]:
                return True
            return times != described["times"] and self._content() != described["content"]
        except OSError:
            return False

    def _outside(self) -> tuple[str, str]:
        """Hashes of names with sizes, and of times."""
        states = [(file.name, file.stat()) for file in (*self.slices, *self.files)]
        names = _hash([name, state.st_size] for name, state in states)
        return names, _hash([state.st_mtime_ns] for _, state in states)

    def _content(self) -> str:
        count = min(SAMPLED, len(self.slices))
        chosen = [self.slices[number * len(self.slices) // count] for number in range(count)]
        digest = hashlib.sha256()
        for file in chosen:
            size = file.stat().st_size
            with file.open("rb") as opened:
                for start in (0, max(size // 2 - BLOCK // 2, 0), max(size - BLOCK, 0)):
                    opened.seek(start)
                    digest.update(opened.read(BLOCK))
        for file in self.files:
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()[:16]


def of_folder(folder: Path) -> list[Path]:
    """List the files of a series.

    Parameters
    ----------
    folder : Path
        Its folder.

    Returns
    -------
    list of Path
        Its files by name; none where it can't be opened.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def digest_of(meta: Mapping[str, Any]) -> str:
    """Say in one word what a study was made from, whatever the times of its files.

    Parameters
    ----------
    meta : mapping of str to Any
        The study's description in a store.

    Returns
    -------
    str
        A hash, the same wherever the same files lie.
    """
    made_from = {key: value for key, value in meta.get(MADE_FROM, {}).items() if key != "times"}
    return _hash([made_from])


def _hash(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True).encode())
    return digest.hexdigest()[:16]
