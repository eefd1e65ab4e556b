"""Where the stages before training leave their work in a cache folder, and what makes it valid."""

from dataclasses import asdict
from pathlib import Path

from cspine.scans.cache import StudyStore
from cspine.training.presets import Preset


def open_volumes(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/volumes: every scan at the locator's spacing (`make prepare`)."""
    return StudyStore(Path(cache) / "volumes", {"spacing_mm": preset.locator.spacing_mm})


def open_labels(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/labels: a label map for every scan, by a locator that never saw it (`make locate`)."""
    settings = {"locator": asdict(preset.locator), "fit": asdict(preset.locator_fit), "seed": preset.seed}
    return StudyStore(Path(cache) / "labels", settings)


def open_columns(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/columns: the cervical column of every scan (`make columns`)."""
    settings = {
        "column": asdict(preset.column),
        "locator": asdict(preset.locator),
        "fit": asdict(preset.locator_fit),
    }
    return StudyStore(Path(cache) / "columns", settings)
