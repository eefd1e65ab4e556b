"""Weights on disk: one safetensors file that carries its own settings, versions and git hash.

Nothing here can run code on loading: safetensors holds arrays and strings only.
"""

import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

import cspine
from cspine.errors import InputError
from cspine.storage import write_bytes


def git_hash() -> str:
    """Tell the commit of the code.

    Returns
    -------
    str
        Its hash; `unknown` where it is not a git checkout or git is not installed.
    """
    if not shutil.which("git"):
        return "unknown"
    asked = ["git", "rev-parse", "HEAD"]
    found = subprocess.run(
        asked, cwd=Path(cspine.__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def provenance() -> dict[str, str]:
    """Collect versions and the git hash of the code that trains.

    Returns
    -------
    dict of str to str
        cspine, git, python, torch, timm and numpy; git as `git_hash` tells it.
    """
    return {
        "cspine": cspine.__version__,
        "git": git_hash(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
    }


def save_weights(path: Path, weights: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
    """Write weights with their description and `provenance`, atomically.

    Parameters
    ----------
    path : Path
        The safetensors file.
    weights : dict of str to Tensor, each of any shape
        As from `Module.state_dict`.
    description : dict
        Settings and what else a reader needs; stored as JSON.
    """
    metadata = {"description": json.dumps(description), "provenance": json.dumps(provenance())}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_bytes(path, save(tensors, metadata=metadata))


def read_description(path: Path, made_by: str) -> dict[str, Any]:
    """Read the description that `save_weights` stored.

    Parameters
    ----------
    path : Path
        The checkpoint.
    made_by : str
        The command that makes it, for messages.

    Returns
    -------
    dict
        The description.

    Raises
    ------
    InputError
        For a missing or broken file.
    """
    return _metadata(path, "description", made_by)


def read_provenance(path: Path, made_by: str) -> dict[str, str]:
    """Read what `save_weights` stored of versions and code.

    Parameters
    ----------
    path : Path
        The checkpoint.
    made_by : str
        The command that makes it, for messages.

    Returns
    -------
    dict of str to str
        As from `provenance`.

    Raises
    ------
    InputError
        For a missing or broken file.
    """
    return _metadata(path, "provenance", made_by)


def _metadata(path: Path, what: str, made_by: str) -> dict[str, Any]:
    """One of the two things that `save_weights` stored beside the weights."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint; `{made_by}` makes it")
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()[what])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        found = not_safetensors(Path(path)) or str(error)
        raise InputError(
            f"{path}: not a checkpoint of this kit ({found}); delete it and run `{made_by}`, or get it again"
        ) from error


def not_safetensors(path: Path) -> str:
    """Say what a file is that was taken for weights.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        What it is instead, in words; empty if it can be opened as safetensors.

    Raises
    ------
    OSError
        If it can't be read.
    """
    with path.open("rb") as file:
        begin = file.read(200)
    if not begin:
        return "an empty file"
    if begin.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself, which `git lfs pull` fetches"
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a page of the web, not a file of weights"
    if begin.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "a file of pickles, which may run anything that its maker wants"
    try:
        with safe_open(path, framework="pt") as opened:
            opened.keys()
    except SafetensorError as error:
        return f"no file of safetensors, or a part of one: {error}"
    return ""


def load_weights(path: Path, model: nn.Module, made_by: str) -> None:
    """Fill a model.

    Parameters
    ----------
    path : Path
        The checkpoint.
    model : Module
        A network of the same architecture; its weights are overwritten.
    made_by : str
        The command that makes the checkpoint, for messages.

    Raises
    ------
    InputError
        For a missing or broken file, and if the file belongs to another architecture.
    """
    read_description(path, made_by)
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{path}: weights do not fit this network, they come from other settings "
            f"({str(error).splitlines()[-1].strip()[:160]}); delete it or use another RUN, then `{made_by}`"
        ) from error


def check_settings(path: Path, found: dict[str, Any], expected: dict[str, Any], made_by: str) -> None:
    """Refuse a checkpoint whose description differs from the one in use, naming what differs.

    Parameters
    ----------
    path : Path
        The checkpoint, for messages.
    found : dict
        Its description.
    expected : dict
        The description in use; tuples and lists count as the same, as they do in JSON.
    made_by : str
        The command that makes the checkpoint, for messages.

    Raises
    ------
    InputError
        If they differ.
    """
    old, new = _flat(json.loads(json.dumps(found))), _flat(json.loads(json.dumps(expected)))
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differing:
        pairs = ", ".join(f"{key} {old.get(key)!r} instead of {new.get(key)!r}" for key in differing[:6])
        raise InputError(
            f"{path}: checkpoint from other settings: {pairs}; use another RUN, or delete it and run `{made_by}` again"
        )


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[before + key] = value
    return flat
