"""Flags that several scripts share; a script's own class inherits those that it needs."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine.settings.layout import DEFAULT_CACHE, DEFAULT_RAW, DEFAULT_RUN
from cspine.settings.presets import DEFAULT_PRESET, PresetName
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class RawFlag:
    """Where the competition's files are."""

    raw: Path = DEFAULT_RAW
    """The competition folder as downloaded (train.csv, train_images, ...); never written to."""


@dataclass(frozen=True, config=STRICT)
class CacheFlag:
    """Where the stages before training put their work."""

    cache: Path = DEFAULT_CACHE
    """The cache: folds.csv, volumes, label maps, columns."""


@dataclass(frozen=True, config=STRICT)
class RunFlag:
    """Where a run's models are."""

    run: Path = DEFAULT_RUN
    """The run: checkpoints, out-of-fold predictions, calibration, scores."""


@dataclass(frozen=True, config=STRICT)
class PresetFlag:
    """Which settings shape the cache and the run."""

    preset: PresetName = DEFAULT_PRESET
    """Settings by name."""
