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
    """What a checkpoint says of itself: its settings (for a locator those that shape it) and the split.

    folds: study -> fold, the whole split, of which the checkpoint keeps the number of folds and a hash.
    """
    settings = reproducible_settings(preset)
    if kind == LOCATOR:
        settings = {key: settings[key] for key in ("seed", "locator", "locator_training")}
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
    """What a checkpoint says of itself. Raises InputError if the file is not of this kind."""
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
    """The preset inside a checkpoint. Raises InputError if the file is not of this kind."""
    return read_fold_description(path, kind).preset


def load_locator(path: Path, device: torch.device) -> Locator:
    """A trained locator, ready to be asked."""
    locator = Locator(preset_of(path, LOCATOR).locator)
    load_weights(path, locator, MADE_BY[LOCATOR])
    return locator.to(device).eval()


def load_classifier(path: Path, device: torch.device) -> Classifier:
    """A trained classifier, ready to be asked; it needs no pretrained weights any more."""
    preset = preset_of(path, CLASSIFIER)
    classifier = Classifier(replace(preset.classifier, pretrained=False), preset.stacks.channels)
    load_weights(path, classifier, MADE_BY[CLASSIFIER])
    return classifier.to(device).eval()
