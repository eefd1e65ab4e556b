"""A folder of finished studies: each is whole or absent, and all were made with the same settings."""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition.checks import check_study_uid
from cspine.errors import InputError
from cspine.execution.archives import META, Archives, pack

FORMAT_VERSION = 5
"""To be raised with every change that gives other arrays or another meta.json for the same files."""
SETTINGS, INDEX = "settings.json", "index.csv"
INDEX_START, INDEX_END = ("StudyInstanceUID", "status", "reason", "notes"), ("seconds",)
"""The first and the last columns of every index; between them stands what a stage tells of its studies."""


class StudyStore:
    """Arrays and a JSON description for each study, in a folder of its own or packed in an archive.

    folder: where; created with the first write. settings: JSON-able; what the content depends on. Raises
    InputError if the folder was made with other settings or by another version of the format, or if it
    does not say with which.
    """

    def __init__(self, folder: Path | str, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.archives = Archives(self.folder)
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))
        if (self.folder / SETTINGS).exists() or self.uids():
            self._check_settings()

    @classmethod
    def of(cls, folder: Path | str) -> "StudyStore":
        """Open a store with the settings that it was made with, whatever they are.

        Parameters
        ----------
        folder : Path or str
            A store's folder.

        Returns
        -------
        StudyStore
            The store.

        Raises
        ------
        InputError
            If there is none, or if it is of another version of the format.
        """
        content = storage.read_json(Path(folder) / SETTINGS)
        return cls(folder, content.get("settings", {}) if isinstance(content, dict) else {})

    def has(self, uid: str) -> bool:
        """Whether a study is there, whole.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.

        Returns
        -------
        bool
            True if it is.

        Raises
        ------
        InputError
            If the UID is none.
        """
        return (self._of(uid) / META).is_file() or uid in self.archives

    def holds(self, uid: str, name: str) -> bool:
        """Whether a study is there and has an array of that name.

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

        Raises
        ------
        InputError
            If the UID is none.
        """
        if self._is_loose(uid):
            return (self._of(uid) / f"{name}.npy").is_file()
        return self.archives.holds(uid, name)

    def uids(self) -> list[str]:
        """All studies that are there, sorted."""
        packed = {uid for uid in self.archives.members if uid in self.archives}
        return sorted(packed | set(self._loose()))

    def meta(self, uid: str) -> dict[str, Any]:
        """A study's description alone.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.

        Returns
        -------
        dict of str to Any
            What was written with its arrays.

        Raises
        ------
        InputError
            If it is not there.
        """
        if uid in self.archives and not self._is_loose(uid):
            return self.archives.meta(uid)
        return storage.read_json(self._of(uid) / META)

    def read(self, uid: str, mmap: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Read a study.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.
        mmap : bool
            Map the arrays from disk, read-only, instead of loading them; packed ones are always loaded.

        Returns
        -------
        arrays : dict of str to ndarray
            Its arrays by name, of the shapes and types that were written.
        meta : dict of str to Any
            Its description.

        Raises
        ------
        InputError
            If the study is not there or damaged.
        """
        folder = self._of(uid)
        if uid in self.archives and not self._is_loose(uid):
            return self.archives.read(uid)
        meta = self.meta(uid)
        arrays: dict[str, np.ndarray] = {}
        for path in sorted(folder.glob("*.npy")):
            try:
                arrays[path.stem] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                raise InputError(
                    f"{path}: expected an array, found {error}; delete {folder} and run the stage again"
                ) from error
        return arrays, meta

    def write(self, uid: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Write a study; it replaces an older one, and appears all at once or not at all.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.
        arrays : mapping of str to ndarray
            Arrays by name, of any shape; objects are refused (they would need pickle).
        meta : mapping of str to Any
            The description, ready for JSON.

        Raises
        ------
        InputError
            If the UID is none, or if the folder was made with other settings meanwhile.
        DiskFull
            If the disk is full; nothing of the study is left then.
        """
        target = self._of(uid)
        self._write_settings()
        temporary = storage.temporary_beside(target)
        try:
            with storage.full_disk_reported(self.folder):
                temporary.mkdir()
                for name, array in arrays.items():
                    storage.write_npy(temporary / f"{name}.npy", array)
                storage.write_json(temporary / META, dict(meta))
                self._put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # nothing is left of it if all went well
        _sync_folder(self.folder)

    def discard(self, uid: str) -> None:
        """Take a study out that is no longer right; one in an archive stays until it is written anew.

        Parameters
        ----------
        uid : str
            StudyInstanceUID.
        """
        if self._is_loose(uid):
            older = storage.temporary_beside(self._of(uid))
            os.rename(self._of(uid), older)
            shutil.rmtree(older)

    def clean_temporaries(self) -> int:
        """Delete what interrupted writes left behind, as far as that is allowed.

        Returns
        -------
        int
            How many files and folders there were.
        """
        left = list(self.folder.glob(".*.tmp"))
        for path in left:
            # A worker of a run that was killed may live and write for another half second: what it leaves
            # behind then is for the next run.
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
        return len(left)

    def write_index(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
        """Write index.csv, one row a study.

        Parameters
        ----------
        rows : iterable of mapping
            Column -> value of each study.
        columns : sequence of str
            The stage's own columns, between the first and the last ones.

        Raises
        ------
        DiskFull
            If the disk is full; the older index stays then.
        """
        frame = pd.DataFrame(list(rows), dtype=object)  # whole numbers stay whole beside blanks
        known = [*INDEX_START, *columns, *INDEX_END]
        further = [column for column in frame.columns if column not in known]
        frame = frame.reindex(columns=[*known, *further])
        storage.write_csv(self.folder / INDEX, frame.sort_values("StudyInstanceUID", kind="stable"))

    def read_index(self) -> pd.DataFrame:
        """The index as text.

        Returns
        -------
        DataFrame
            One row a study, empty strings for what is missing; no rows if there is none yet.

        Raises
        ------
        InputError
            If the file is no table, or lacks columns.
        """
        path = self.folder / INDEX
        if not path.is_file():
            return pd.DataFrame(columns=[*INDEX_START, *INDEX_END], dtype=str)
        try:
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: expected a table, found {error}; delete it and run again") from error
        if not {"StudyInstanceUID", "status", "reason"} <= set(frame.columns):
            found = ", ".join(frame.columns)
            raise InputError(
                f"{path}: found columns {found}; expected {INDEX_START}; delete it and run again"
            )
        return frame

    def pack_into(self, folder: Path, groups: Mapping[str, Sequence[str]]) -> None:
        """Write the studies, with the settings and the index, as a store of one archive a group.

        An archive that holds just these studies already is copied as it is.

        Parameters
        ----------
        folder : Path
            The folder of the packed store.
        groups : mapping of str to sequence of str
            Name of an archive -> its studies, of which those are taken that are there.

        Raises
        ------
        InputError
            If a study is damaged.
        DiskFull
            If the disk is full.
        """
        for name, group in groups.items():
            uids = [uid for uid in group if self.has(uid)]
            packed = {self.archives.members[uid][0] for uid in uids if not self._is_loose(uid)}
            whole = len(packed) == 1 and not any(self._is_loose(uid) for uid in uids)
            if whole and len(uids) == sum(path in packed for path, _ in self.archives.members.values()):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(packed.pop(), folder / f"{name}.zip")
            elif uids:
                pack(folder / f"{name}.zip", uids, self._files)
        for name in (SETTINGS, INDEX):
            if (self.folder / name).is_file():
                storage.write_bytes(folder / name, (self.folder / name).read_bytes())

    def unpack(self) -> None:
        """Give every packed study a folder of its own, and let go of the archives.

        Raises
        ------
        InputError
            If an archive is damaged.
        DiskFull
            If the disk is full; what was unpacked stays.
        """
        packed = [uid for uid in self.uids() if not self._is_loose(uid)]
        for uid in cli.progress(packed, unit="study", what="unpack"):
            temporary = storage.temporary_beside(self._of(uid))
            try:
                with storage.full_disk_reported(self.folder):
                    temporary.mkdir()
                    for name, content in self.archives.content(uid).items():
                        (temporary / name).write_bytes(content)
                    self._put(temporary, self._of(uid))
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        for path in self.folder.glob("*.zip"):
            path.unlink()
        self.archives = Archives(self.folder)

    def _files(self, uid: str) -> dict[str, bytes]:
        """Name -> content of a study's files."""
        if not self._is_loose(uid):
            return self.archives.content(uid)
        paths = sorted(path for path in self._of(uid).iterdir() if path.name == META or path.suffix == ".npy")
        return {path.name: path.read_bytes() for path in paths}

    def _is_loose(self, uid: str) -> bool:
        """Whether a study has a folder of its own, which counts before a packed one."""
        return (self._of(uid) / META).is_file()

    def _loose(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        folders = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        return [path.name for path in folders if (path / META).is_file()]

    def _of(self, uid: str) -> Path:
        return self.folder / check_study_uid(uid)

    def _put(self, temporary: Path, target: Path) -> None:
        """Move a finished study to its folder; an older one gives way, also one that came a moment ago."""
        while True:
            try:
                os.rename(temporary, target)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            older = storage.temporary_beside(target)
            try:
                os.rename(target, older)
            except FileNotFoundError:
                continue  # another process moved it, or is about to put its own there
            shutil.rmtree(older)

    def _stamp(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, "settings": self.settings}

    def _check_settings(self) -> None:
        path = self.folder / SETTINGS
        advice = "name another CACHE, or delete this folder to make it anew"
        if not path.is_file():
            raise InputError(f"{path}: found studies beside it, but not the file itself; {advice}")
        found = storage.read_json(path)
        if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
            other = found.get("format_version") if isinstance(found, dict) else "none"
            raise InputError(f"{path}: found format version {other}, expected {FORMAT_VERSION}; {advice}")
        there, asked = found.get("settings", {}), self.settings
        keys = [key for key in sorted(there.keys() | asked.keys()) if there.get(key) != asked.get(key)]
        if keys:
            was, wanted = ("; ".join(f"{key} = {of.get(key)}" for key in keys) for of in (there, asked))
            raise InputError(f"{path}: found {was}; expected {wanted}; {advice}")

    def _write_settings(self) -> None:
        if (self.folder / SETTINGS).exists():
            self._check_settings()
        else:
            storage.write_json(self.folder / SETTINGS, self._stamp())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
