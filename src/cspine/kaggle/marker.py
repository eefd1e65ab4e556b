"""The lists of what a bundle's two halves hold, by which the kernels know them and find damage."""

from pathlib import Path

from cspine import storage
from cspine.errors import InputError

CODE, MODELS = "cspine-code.json", "cspine-models.json"
"""The files by which a kernel recognises the code and the models among its inputs, wherever they are mounted."""
HALVES = {"code": CODE, "models": MODELS}
"""Half of the bundle, each a dataset -> its list."""


def folder_with(inputs: Path, marker: str, depth: int = 7) -> Path | None:
    """Find the input folder that holds a file, the one nearest to the top; image folders are not searched.

    Parameters
    ----------
    inputs : Path
        The folder of a kernel's inputs.
    marker : str
        The file's name.
    depth : int
        How deep it may lie.

    Returns
    -------
    Path or None
        The folder; None if there is none.
    """
    level = [inputs] if inputs.is_dir() else []
    for _ in range(depth + 1):
        for folder in level:
            if (folder / marker).is_file():
                return folder
        inner = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
        level = [folder for folder in inner if not folder.name.endswith("_images")]
    return None


def write_marker(path: Path, **facts: str) -> list[Path]:
    """Write the list of the files in a folder, with their SHA-256.

    Parameters
    ----------
    path : Path
        The list, `CODE` or `MODELS` in the folder.
    **facts : str
        What else it says, such as the version.

    Returns
    -------
    list of Path
        The files listed, relative to the folder.
    """
    folder = path.parent
    files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and file != path)
    sums = {file.as_posix(): storage.sha256_of(folder / file) for file in files}
    storage.write_json(path, {**facts, "files": sums})
    return files


def read_marker(path: Path) -> dict[str, str]:
    """Read the list of what a folder holds.

    Parameters
    ----------
    path : Path
        The list.

    Returns
    -------
    dict of str to str
        Path in the folder -> SHA-256; empty where there is no list.

    Raises
    ------
    InputError
        If the list can't be read.
    """
    if not path.is_file():
        return {}
    content = storage.read_json(path, made_by="make bundle")
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise InputError(
            f"{path}: found no list of files with their SHA-256; `make bundle` makes the bundle anew"
        )
    return {name: str(total) for name, total in files.items()}


def sizes_of(path: Path) -> dict[str, int]:
    """Measure the files that a list names, and the list.

    Parameters
    ----------
    path : Path
        The list.

    Returns
    -------
    dict of str to int
        Path in the list's folder -> bytes.

    Raises
    ------
    InputError
        If the list can't be read, or a file is missing.
    """
    names = [path.name, *read_marker(path)]
    gone = [name for name in names if not (path.parent / name).is_file()]
    if gone:
        raise InputError(f"{path.parent}: {', '.join(gone[:3])} missing; `make bundle` makes the bundle anew")
    return {name: (path.parent / name).stat().st_size for name in names}


def sums_of(models: Path) -> dict[str, str]:
    """Read the list of a folder of models.

    Parameters
    ----------
    models : Path
        The folder `models` beside its list.

    Returns
    -------
    dict of str to str
        Path in that folder -> SHA-256; empty where there is no list.

    Raises
    ------
    InputError
        If the list can't be read.
    """
    start = f"{models.name}/"
    listed = read_marker(models.parent / MODELS)
    return {name.removeprefix(start): total for name, total in listed.items() if name.startswith(start)}
