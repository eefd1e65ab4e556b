"""Where the stages before training leave their work in a cache folder, and what makes it valid."""

from pathlib import Path
from typing import Any

from cspine.scans.cache import StudyStore
from cspine.training.presets import Preset, what_matters


def open_volumes(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/volumes: every scan at the locator's spacing (`make prepare`)."""
    return StudyStore(Path(cache) / "volumes", {"spacing_mm": preset.locator.spacing_mm})


def open_labels(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/labels: a label map for every scan, by a locator that never saw it (`make locate`)."""
    return StudyStore(Path(cache) / "labels", _located_with(preset))


def open_columns(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/columns: the cervical column of every scan (`make columns`)."""
    settings = {"column": what_matters(preset.column), **_located_with(preset)}
    return StudyStore(Path(cache) / "columns", settings)


def _located_with(preset: Preset) -> dict[str, Any]:
    """What a label map depends on."""
    return {
        "locator": what_matters(preset.locator),
        "fit": what_matters(preset.locator_fit),
        "seed": preset.seed,
    }
