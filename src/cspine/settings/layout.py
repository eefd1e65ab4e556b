"""Where everything lies in the competition's folder, a cache and a run, and what a cache depends on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cspine.errors import InputError
from cspine.settings.presets import DEFAULT_PRESET, Preset, reproducible_settings

NetworkKind = Literal["locator", "encoder", "classifier"]
LOCATOR: NetworkKind = "locator"
ENCODER: NetworkKind = "encoder"
CLASSIFIER: NetworkKind = "classifier"
MADE_BY: dict[NetworkKind, str] = {LOCATOR: "make locate", ENCODER: "make train", CLASSIFIER: "make train"}
"""The target that trains a network, for messages."""

MODEL, BEST, STATE, METRICS = "model.safetensors", "best.safetensors", "state.pt", "metrics.csv"
"""Of a fold: the finished weights; while it trains, its best ones so far and the state it goes on from; its
learning curve."""
LOGITS = "logits.csv"
"""StudyInstanceUID and eight logits (columns C1 ... patient_overall) of a fold's held-out studies."""
SLICE_LOGITS = "slice_logits.npy"
"""Beside them, float32 (studies, 7, slices): a logit for each slice of each vertebra, studies in the same order."""
LEARNT_FROM, PREDICTED_FROM = "learnt_from.json", "predicted_from.json"
"""Study -> hash of what its part of the cache was made from when the fold was trained, and when it was predicted."""
CALIBRATION = "calibration.json"
SUBMISSION, INFERENCE_REPORT, FALLBACKS = "submission.csv", "inference.json", "fallbacks.csv"
"""What the inference kernel leaves: the submission, and what it noted while it made it."""
FOLD_LOGITS = "fold_logits.csv"
"""Beside them: StudyInstanceUID, fold and eight logits, a row for each study and fold."""

DEFAULT_RAW = Path("data/raw/rsna-2022-cervical-spine-fracture-detection")
DEFAULT_CACHE = Path("data/cache") / DEFAULT_PRESET
DEFAULT_RUN = Path("data/runs") / DEFAULT_PRESET
DEFAULT_WHEELS = Path("data/wheels")
DEFAULT_OUT = Path("data/submissions") / DEFAULT_PRESET
DEFAULT_FOLDS, DEFAULT_SEED = 5, 2022
"""Of the split."""


@dataclass(frozen=True)
class CacheLayout:
    """What the stages before training leave in a cache folder."""

    root: Path

    @property
    def description(self) -> Path:
        """What `make describe` counted."""
        return self.root / "describe.json"

    @property
    def folds(self) -> Path:
        """The split: StudyInstanceUID, fold."""
        return self.root / "folds.csv"

    @property
    def split(self) -> Path:
        """How the split was made, and from which data."""
        return self.root / "split.json"

    @property
    def traits(self) -> Path:
        """What the headers tell about every scan: size, direction, step, spacing, transfer syntax."""
        return self.root / "traits.csv"

    @property
    def duplicates(self) -> Path:
        """Pairs of scans that are nearly the same."""
        return self.root / "duplicates.csv"

    @property
    def volumes(self) -> Path:
        """Every scan at the locator's spacing (`make prepare`)."""
        return self.root / "volumes"

    @property
    def labels(self) -> Path:
        """A label map of every scan, by a locator that never saw it (`make locate`)."""
        return self.root / "labels"

    @property
    def columns(self) -> Path:
        """The cervical column of every scan (`make columns`)."""
        return self.root / "columns"


@dataclass(frozen=True)
class RunLayout:
    """What training and the stages after it leave in a run's folder."""

    root: Path

    def fold(self, kind: NetworkKind, fold: int) -> Path:
        """Give the folder in which one fold of a network is trained: RUN/<kind>/fold<k>.

        Parameters
        ----------
        kind : {"locator", "encoder", "classifier"}
            The network.
        fold : int
            The fold's number, from 0.

        Returns
        -------
        Path
            The folder, which need not exist.
        """
        return self.root / kind / f"fold{fold}"

    def model(self, kind: NetworkKind, fold: int) -> Path:
        """Give the file of a fold's finished weights.

        Parameters
        ----------
        kind : {"locator", "encoder", "classifier"}
            The network.
        fold : int
            The fold's number, from 0.

        Returns
        -------
        Path
            The file, which need not exist.
        """
        return self.fold(kind, fold) / MODEL

    def logits(self, fold: int) -> Path:
        """Give the file of a classifier fold's logits of the studies it never saw.

        Parameters
        ----------
        fold : int
            The fold's number, from 0.

        Returns
        -------
        Path
            The file, which need not exist.
        """
        return self.fold(CLASSIFIER, fold) / LOGITS

    def slice_logits(self, fold: int) -> Path:
        """Give the file of a classifier fold's slice logits of the studies it never saw.

        Parameters
        ----------
        fold : int
            The fold's number, from 0.

        Returns
        -------
        Path
            The file, which need not exist.
        """
        return self.fold(CLASSIFIER, fold) / SLICE_LOGITS

    def models(self, kind: NetworkKind) -> list[Path]:
        """Find the finished weights of a kind, by fold.

        Parameters
        ----------
        kind : {"locator", "encoder", "classifier"}
            The network.

        Returns
        -------
        list of Path
            The files that are there, in the order of the folds.

        Raises
        ------
        InputError
            If there is none.
        """
        found = sorted(self.root.glob(f"{kind}/fold*/{MODEL}"), key=lambda path: int(path.parent.name[4:]))
        if not found:
            raise InputError(
                f"{self.root}: no finished {kind} (expected {kind}/fold<k>/{MODEL}); `{MADE_BY[kind]}` makes them"
            )
        return found

    @property
    def oof(self) -> Path:
        """Out-of-fold predictions, calibrated: row_id, fractured."""
        return self.root / "oof.csv"

    @property
    def oof_logits(self) -> Path:
        """Held-out logits of all folds, not calibrated: StudyInstanceUID, fold, eight logits."""
        return self.root / "oof_logits.csv"

    @property
    def blend(self) -> Path:
        """The members and weights of a blend; a single run has no such file."""
        return self.root / "blend.json"

    @property
    def calibration(self) -> Path:
        """From logits to submitted values, and the constants."""
        return self.root / CALIBRATION

    @property
    def scores(self) -> Path:
        """The score tables."""
        return self.root / "scores.json"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"


def volume_settings(preset: Preset) -> dict[str, Any]:
    """Tell what a prepared volume depends on.

    Parameters
    ----------
    preset : Preset
        The settings of a run.

    Returns
    -------
    dict
        Those settings that shape a volume, ready for JSON.
    """
    return {"spacing_mm": preset.locator.spacing_mm}


def label_settings(preset: Preset) -> dict[str, Any]:
    """Tell what a label map depends on.

    Parameters
    ----------
    preset : Preset
        The settings of a run.

    Returns
    -------
    dict
        Those settings that shape a label map, ready for JSON.
    """
    return {
        "locator": reproducible_settings(preset.locator),
        "locator_training": reproducible_settings(preset.locator_training),
        "locator_augment": reproducible_settings(preset.locator_augment),
        "seed": preset.seed,
    }


def column_settings(preset: Preset) -> dict[str, Any]:
    """Tell what a cached column depends on.

    Parameters
    ----------
    preset : Preset
        The settings of a run.

    Returns
    -------
    dict
        Those settings that shape a column, ready for JSON.
    """
    return {"column": reproducible_settings(preset.column), **label_settings(preset)}
