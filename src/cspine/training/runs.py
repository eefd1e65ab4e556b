"""What stands where in a run's folder, and how a checkpoint says what it is."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

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
    """What a checkpoint says of itself: its settings (for a locator those that shape it) and the split."""
    settings = what_matters(preset)
    if kind == LOCATOR:
        settings = {key: settings[key] for key in ("seed", "locator", "locator_fit")}
    split = hashlib.sha256(repr(sorted(folds.items())).encode()).hexdigest()[:16]
    return {"kind": kind, "fold": fold, "split": split, "preset": settings}


def checkpoints(run: Path, kind: str) -> list[Path]:
    """The finished checkpoints of a kind, by fold. Raises InputError if there is none."""
    found = sorted(Path(run).glob(f"{kind}/fold*/{MODEL}"), key=lambda path: int(path.parent.name[4:]))
    if not found:
        raise InputError(
            f"{run}: no finished {kind} (expected {kind}/fold<k>/{MODEL}); `{MADE_BY[kind]}` makes them"
        )
    return found


def preset_of(path: Path, kind: str) -> Preset:
    """The preset inside a checkpoint. Raises InputError if the file is not of this kind."""
    description = read_description(path, MADE_BY[kind])
    try:
        if description["kind"] != kind:
            raise InputError(f"{path}: a {description['kind']}, expected a {kind}")
        return TypeAdapter(Preset).validate_python(description["preset"])
    except (KeyError, ValidationError) as error:
        raise InputError(
            f"{path}: its settings are not of this version ({error}); train again with `{MADE_BY[kind]}`"
        ) from error


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
