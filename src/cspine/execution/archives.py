"""Studies packed without loss into a few zip files, each opened without unpacking the rest."""

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cspine import cli, storage
from cspine.competition.checks import check_study_uid
from cspine.errors import InputError

META = "meta.json"
SUFFIX = ".npy"
FILE = re.compile(r"meta\.json|\w+\.npy")
"""A file of a study."""
LEVEL = 1
"""Of zlib: half the time of its default, for 2 % more."""


class Archives:
    """The packed studies of a store's folder."""

    def __init__(self, folder: Path):
        """Look for zip files and read what they list.

        Parameters
        ----------
        folder : Path
            A store's folder.

        Raises
        ------
        InputError
            If a file is damaged, or lists a study whose name is no UID.
        """
        self.members: dict[str, tuple[Path, list[str]]] = {}
        for path in sorted(folder.glob("*.zip")) if folder.is_dir() else []:
            with _opened(path) as archive:
                for name in archive.namelist():
                    uid, _, rest = name.partition("/")
                    if not FILE.fullmatch(rest):
                        raise InputError(
                            f"{path}: found {name!r}, expected the files of packed studies alone"
                        )
                    self.members.setdefault(check_study_uid(uid), (path, []))[1].append(rest)

    def __contains__(self, uid: str) -> bool:
        """Whether a study is packed, whole."""
        return uid in self.members and META in self.members[uid][1]

    def holds(self, uid: str, name: str) -> bool:
        """Whether a packed study has an array of that name.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.
        name : str
            The array's name.

        Returns
        -------
        bool
            True if it has.
        """
        return uid in self and name + SUFFIX in self.members[uid][1]

    def content(self, uid: str, *names: str) -> dict[str, bytes]:
        """Read files of a packed study.

        Parameters
        ----------
        uid : str
            StudyInstanceUID, one that is packed.
        *names : str
            The files; all of them if none is named.

        Returns
        -------
        dict of str to bytes
            Name -> content, whose checksum was compared.

        Raises
        ------
        InputError
            If the archive is damaged.
        """
        path, members = self.members[uid]
        with _opened(path) as archive:
            return {name: archive.read(f"{uid}/{name}") for name in names or members}

    def meta(self, uid: str) -> dict[str, Any]:
        """Read a packed study's description.

        Parameters
        ----------
        uid : str
            StudyInstanceUID, one that is packed.

        Returns
        -------
        dict of str to Any
            What was written with its arrays.

        Raises
        ------
        InputError
            If the archive is damaged.
        """
        return dict(json.loads(self.content(uid, META)[META]))

    def read(self, uid: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Read a packed study.

        Parameters
        ----------
        uid : str
            StudyInstanceUID, one that is packed.

        Returns
        -------
        arrays : dict of str to ndarray
            Its arrays by name, in memory.
        meta : dict of str to Any
            Its description.

        Raises
        ------
        InputError
            If the archive is damaged.
        """
        content = self.content(uid)
        arrays = {
            name.removesuffix(SUFFIX): np.load(io.BytesIO(part), allow_pickle=False)
            for name, part in sorted(content.items())
            if name.endswith(SUFFIX)
        }
        return arrays, dict(json.loads(content[META]))


def pack(target: Path, uids: Sequence[str], files_of: Callable[[str], dict[str, bytes]]) -> int:
    """Write an archive of studies; it appears all at once or not at all.

    Parameters
    ----------
    target : Path
        The zip file.
    uids : sequence of str
        The studies, in this order.
    files_of : callable
        Study -> name -> content; called for one study after another.

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    DiskFull
        If the disk is full; nothing is left then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = storage.temporary_beside(target)
    try:
        with (
            storage.full_disk_reported(target.parent),
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive,
        ):
            for uid in cli.progress(uids, unit="study", what=f"pack {target.name}"):
                for name, content in files_of(uid).items():
                    # a fixed time: the same studies give the same file
                    archive.writestr(_entry(f"{uid}/{name}"), content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target.stat().st_size


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; its damage is told as the user's error."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(
            f"{path}: expected packed studies, found {error}; make or attach the archive again"
        ) from error
