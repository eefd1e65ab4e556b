"""What stands where in a run's folder, and how a checkpoint says what it is."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from cspine.errors import InputError
from cspine.networks.checkpoints import MODEL, load_weights, read_description
from cspine.networks.classifier import Classifier
from cspine.networks.locator import Locator
from cspine.training.presets import Preset, what_matters

LOCATOR, ENCODER, CLASSIFIER = "locator", "encoder", "classifier"
MADE_BY = {LOCATOR: "make locate", ENCODER: "make train", CLASSIFIER: "make train"}


def fold_folder(run: Path, kind: str, fold: int) -> Path:
    """Where one fold of a network is trained: RUN/<kind>/fold<k>/."""
    return Path(run) / kind / f"fold{fold}"


def describe(kind: str, fold: int, preset: Preset, folds: dict[str, int]) -> dict[str, Any]:
    """What a checkpoint says of itself: its settings (for a locator those that shape it) and the split.

    folds: study -> fold, the whole split, of which the checkpoint keeps the number of folds and a hash.
    """
    settings = what_matters(preset)
    if kind == LOCATOR:
        settings = {key: settings[key] for key in ("seed", "locator", "locator_fit")}
    split = hashlib.sha256(repr(sorted(folds.items())).encode()).hexdigest()[:16]
    return {"kind": kind, "fold": fold, "folds": max(folds.values()) + 1, "split": split, "preset": settings}


def checkpoints(run: Path, kind: str) -> list[Path]:
    """The finished checkpoints of a kind, by fold. Raises InputError if there is none."""
    found = sorted(Path(run).glob(f"{kind}/fold*/{MODEL}"), key=lambda path: int(path.parent.name[4:]))
    if not found:
        raise InputError(
            f"{run}: no finished {kind} (expected {kind}/fold<k>/{MODEL}); `{MADE_BY[kind]}` makes them"
        )
    return found


@checked(frozen=True)
class Described:
    """What `describe` stored in a checkpoint, read back."""

    kind: str
    fold: int
    folds: int
    """How many folds the split has."""
    split: str
    """A hash of the split."""
    preset: Preset


def described(path: Path, kind: str) -> Described:
    """What a checkpoint says of itself. Raises InputError if the file is not of this kind."""
    try:
        found = TypeAdapter(Described).validate_python(read_description(path, MADE_BY[kind]))
    except ValidationError as error:
        raise InputError(
            f"{path}: its settings are not of this version ({error}); train again with `{MADE_BY[kind]}`"
        ) from error
    if found.kind != kind:
        raise InputError(f"{path}: a {found.kind}, expected a {kind}; `{MADE_BY[kind]}` makes one")
    return found


def preset_of(path: Path, kind: str) -> Preset:
    """The preset inside a checkpoint. Raises InputError if the file is not of this kind."""
    return described(path, kind).preset


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
