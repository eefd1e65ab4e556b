"""The stores of a cache: volumes, label maps and columns, each with the settings that its content depends on."""

from pathlib import Path

from cspine.execution.store import StudyStore
from cspine.settings import layout
from cspine.settings.layout import CacheLayout
from cspine.settings.presets import Preset


def open_volumes(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/volumes: every scan at the locator's spacing (`make prepare`)."""
    return StudyStore(CacheLayout(cache).volumes, layout.volume_settings(preset))


def open_labels(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/labels: a label map for every scan, by a locator that never saw it (`make locate`)."""
    return StudyStore(CacheLayout(cache).labels, layout.label_settings(preset))


def open_columns(cache: Path, preset: Preset) -> StudyStore:
    """CACHE/columns: the cervical column of every scan (`make columns`)."""
    return StudyStore(CacheLayout(cache).columns, layout.column_settings(preset))
