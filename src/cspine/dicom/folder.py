"""The files of a study's folder, in the order of their numbers."""

import os
from dataclasses import dataclass
from pathlib import Path

from cspine.errors import InputError

MAX_NAMED = 5
"""How many files are named in a note."""


@dataclass(frozen=True)
class Files:
    """What lies in a folder: the files to look at, by number and name, and notes on what is not looked at."""

    paths: list[Path]
    notes: list[str]


def list_files(folder: Path) -> Files:
    """List a study's files; folders and hidden files are left out, with a note.

    Parameters
    ----------
    folder : Path
        The study's folder.

    Returns
    -------
    Files
        The files by number and name, and the notes.

    Raises
    ------
    InputError
        If there is no such folder, if it can't be opened, or if there is no file in it.
    """
    study = f"study {folder.name}"
    paths: list[Path] = []
    hidden: list[Path] = []
    folders: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = hidden if entry.name.startswith(".") else folders if _is_folder(entry) else paths
                kind.append(folder / entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{study}: found no folder {folder}; expected one with .dcm files; check the path"
        ) from error
    except OSError as error:
        raise InputError(
            f"{study}: folder {folder} can't be opened ({error.strerror}); expected one with .dcm files; "
            "check its permissions"
        ) from error
    if not paths:
        inside = f", but {named('folder', folders)}: name the one with the series" if folders else ""
        raise InputError(
            f"{study}: found no file in {folder}{inside}; expected .dcm files; check the download"
        )
    notes = [
        f"{named(what, some)} left out"
        for what, some in (("hidden file", hidden), ("folder", folders))
        if some
    ]
    return Files(sorted(paths, key=_by_number), notes)


def named(what: str, paths: list[Path]) -> str:
    """How many, and the names of the first few.

    Parameters
    ----------
    what : str
        What they are, in the singular.
    paths : list of Path
        The files or folders.

    Returns
    -------
    str
        Words for a note, with the first `MAX_NAMED` names in the order of the alphabet.
    """
    names = sorted(path.name[:60] for path in paths)
    more = ", ..." if len(names) > MAX_NAMED else ""
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({', '.join(names[:MAX_NAMED])}{more})"


def kind_of(file: Path) -> str:
    """The suffix that tells what a file is, such as `.dcm`.

    Parameters
    ----------
    file : Path
        The file; only its name is looked at.

    Returns
    -------
    str
        The suffix in lower case; empty without one, and where it is part of a UID.
    """
    suffix = file.suffix.lower()
    return suffix if suffix[1:2].isalpha() else ""


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: whoever reads it says so
        return False


def _by_number(file: Path) -> tuple[int, str]:
    stem = file.stem
    return (int(stem) if stem.isdecimal() and len(stem) < 10 else -1), file.name
