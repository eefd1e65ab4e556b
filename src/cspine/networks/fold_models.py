"""The trained networks of a fold: what their checkpoints say of themselves, and how they are loaded."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cspine.errors import InputError
from cspine.networks.checkpoints import load_weights, read_description
from cspine.networks.classifier import Classifier
from cspine.networks.locator import Locator
from cspine.settings.layout import CLASSIFIER, LOCATOR, MADE_BY, NetworkKind
from cspine.settings.presets import Preset, reproducible_settings
from cspine.settings.strict import STRICT


def describe_fold(kind: NetworkKind, fold: int, preset: Preset, folds: dict[str, int]) -> dict[str, Any]:
    """Describe a fold for its checkpoint: its settings (for a locator those that shape it) and the split.

    Parameters
    ----------
    kind : {"locator", "encoder", "classifier"}
        Which network it is.
    fold : int
        Its fold.
    preset : Preset
        The settings; those of the machine are left out.
    folds : dict of str to int
        Study -> fold, the whole split, of which the checkpoint keeps the number of folds and a hash.

    Returns
    -------
    dict
        `kind`, `fold`, `folds`, `split` and `preset`, ready for JSON.
    """
    settings = reproducible_settings(preset)
    if kind == LOCATOR:
        settings = {key: settings[key] for key in ("seed", "locator", "locator_training", "locator_augment")}
    split = hashlib.sha256(repr(sorted(folds.items())).encode()).hexdigest()[:16]
    return {"kind": kind, "fold": fold, "folds": max(folds.values()) + 1, "split": split, "preset": settings}


@dataclass(frozen=True, config=STRICT)
class FoldDescription:
    """What `describe_fold` stored in a checkpoint, read back."""

    kind: NetworkKind
    fold: int
    folds: int
    """How many folds the split has."""
    split: str
    """A hash of the split."""
    preset: Preset


def read_fold_description(path: Path, kind: NetworkKind) -> FoldDescription:
    """Read what a checkpoint says of itself.

    Parameters
    ----------
    path : Path
        The checkpoint.
    kind : {"locator", "encoder", "classifier"}
        The network that is expected.

    Returns
    -------
    FoldDescription
        What `describe_fold` stored.

    Raises
    ------
    InputError
        If the file is missing, broken, not of this version or not of this kind.
    """
    try:
        found = TypeAdapter(FoldDescription).validate_python(read_description(path, MADE_BY[kind]))
    except ValidationError as error:
        raise InputError(
            f"{path}: its settings are not of this version ({error}); train again with `{MADE_BY[kind]}`"
        ) from error
    if found.kind != kind:
        raise InputError(f"{path}: a {found.kind}, expected a {kind}; `{MADE_BY[kind]}` makes one")
    return found


def preset_of(path: Path, kind: NetworkKind) -> Preset:
    """Read the preset inside a checkpoint.

    Parameters
    ----------
    path : Path
        The checkpoint.
    kind : {"locator", "encoder", "classifier"}
        The network that is expected.

    Returns
    -------
    Preset
        For a locator only `seed`, `locator` and `locator_training` were stored; the others are defaults.

    Raises
    ------
    InputError
        As in `read_fold_description`.
    """
    return read_fold_description(path, kind).preset


def load_locator(path: Path, device: torch.device) -> Locator:
    """Load a trained locator, ready to be asked.

    Parameters
    ----------
    path : Path
        The checkpoint.
    device : torch.device
        Where it is put.

    Returns
    -------
    Locator
        In evaluation mode.

    Raises
    ------
    InputError
        As in `read_fold_description`, and if the weights do not fit.
    """
    locator = Locator(preset_of(path, LOCATOR).locator)
    load_weights(path, locator, MADE_BY[LOCATOR])
    return locator.to(device).eval()


def load_classifier(path: Path, device: torch.device) -> Classifier:
    """Load a trained classifier, ready to be asked; it needs no pretrained weights any more.

    Parameters
    ----------
    path : Path
        The checkpoint.
    device : torch.device
        Where it is put.

    Returns
    -------
    Classifier
        In evaluation mode.

    Raises
    ------
    InputError
        As in `read_fold_description`, and if the weights do not fit.
    """
    preset = preset_of(path, CLASSIFIER)
    classifier = Classifier(replace(preset.classifier, pretrained=False), preset.stacks.channels)
    load_weights(path, classifier, MADE_BY[CLASSIFIER])
    return classifier.to(device).eval()
