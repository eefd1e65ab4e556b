"""The bundle's list of what it holds, by which the kernel knows it and finds damage."""

from pathlib import Path

from cspine import storage
from cspine.errors import InputError

MARKER = "cspine-bundle.json"
"""The file by which the kernel recognises the bundle among its inputs."""


def sums_of(bundle: Path, part: str) -> dict[str, str]:
    """Read the bundle's list of what it holds.

    Parameters
    ----------
    bundle : Path
        The bundle's folder.
    part : str
        A folder in it.

    Returns
    -------
    dict of str to str
        Path in that folder -> SHA-256; empty where there is no list.

    Raises
    ------
    InputError
        If the list can't be read.
    """
    path = bundle / MARKER
    if not path.is_file():
        return {}
    content = storage.read_json(path, made_by="make push")
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise InputError(
            f"{path}: found no list of files with their SHA-256; `make push` makes the bundle anew"
        )
    return {
        name.removeprefix(f"{part}/"): str(total)
        for name, total in files.items()
        if name.startswith(f"{part}/")
    }
