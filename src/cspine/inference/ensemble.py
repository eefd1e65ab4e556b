"""The trained networks of a run as one thing that can be asked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked
from scipy.special import expit

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.errors import InputError
from cspine.networks.checkpoints import MODEL
from cspine.networks.classifier import Classifier, study_logits
from cspine.networks.locator import Locator, label_map
from cspine.networks.precision import best_device, fast_precision
from cspine.scans.column import Column
from cspine.scans.stacks import study_stacks
from cspine.training.presets import Preset
from cspine.training.runs import (
    CLASSIFIER,
    LOCATOR,
    MADE_BY,
    checkpoints,
    described,
    fold_folder,
    load_classifier,
    load_locator,
    preset_of,
)

CALIBRATION = "calibration.json"


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """From the logits of the ensemble to the values that are submitted.

    value = sigmoid(slope * logit + bias). C1 to C7 share one slope, patient_overall has its own; each of the
    eight has its own bias, since they differ in how often they are broken. `constants` (8,) are submitted for
    a study that could not be predicted.
    """

    level_slope: float
    overall_slope: float
    biases: tuple[float, ...]
    constants: tuple[float, ...]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """logits (..., 8) -> values to submit, float64 (..., 8)."""
        logits = np.asarray(logits, dtype=np.float64)
        slopes = np.array([self.level_slope] * len(LEVELS) + [self.overall_slope])
        return expit(slopes * logits + np.array(self.biases))

    @classmethod
    def load(cls, run: Path) -> "Calibration":
        """Read RUN/calibration.json. Raises InputError if it is missing or broken."""
        path = Path(run) / CALIBRATION
        content = storage.read_json(path, made_by="make cv")
        try:
            found = TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            raise InputError(f"{path}: not a calibration ({error}); `make cv` makes it") from error
        for name, numbers in (("biases", found.biases), ("constants", found.constants)):
            if len(numbers) != len(PREDICTION_TYPES):
                raise InputError(
                    f"{path}: {len(numbers)} {name}, expected {len(PREDICTION_TYPES)}; `make cv` makes it anew"
                )
        return found


def models_of(run: Path) -> tuple[list[Path], list[Path]]:
    """Checkpoints of a run's locators and classifiers, by fold.

    Raises InputError if a fold of the split is missing of either, or if two of them come from different splits.
    """
    found = {kind: checkpoints(run, kind) for kind in (LOCATOR, CLASSIFIER)}
    first = described(found[LOCATOR][0], LOCATOR)
    for kind, paths in found.items():
        for fold in range(first.folds):
            path = fold_folder(run, kind, fold) / MODEL
            if path not in paths:
                raise InputError(
                    f"{path}: no such checkpoint, but the run has {first.folds} folds; `{MADE_BY[kind]}` makes it"
                )
        for path in paths:
            one = described(path, kind)
            if (one.split, one.folds) != (first.split, first.folds):
                raise InputError(
                    f"{path}: trained on another split of the studies than {found[LOCATOR][0]}; use one RUN for one "
                    f"folds.csv, or delete it and run `{MADE_BY[kind]}`"
                )
            if path.parent != fold_folder(run, kind, one.fold):
                raise InputError(
                    f"{path}: this is fold {one.fold} in another's place; delete it and run `{MADE_BY[kind]}`"
                )
    return found[LOCATOR], found[CLASSIFIER]


@dataclass(frozen=True)
class Ensemble:
    """All folds of a run's locator and classifier, with their calibration."""

    preset: Preset
    locators: list[Locator]
    classifiers: list[Classifier]
    calibration: Calibration
    device: torch.device

    @classmethod
    def load(cls, run: Path, device: torch.device | None = None) -> "Ensemble":
        """Read a run's checkpoints. Raises InputError if one is missing or of other settings than the rest."""
        device = device or best_device()
        locators, classifiers = models_of(run)
        preset = preset_of(classifiers[0], CLASSIFIER)
        mixed = [path for path in classifiers if preset_of(path, CLASSIFIER) != preset]
        mixed += [path for path in locators if preset_of(path, LOCATOR).locator != preset.locator]
        if mixed:
            raise InputError(
                f"{mixed[0]}: trained with other settings than {classifiers[0]}; use one RUN for one preset"
            )
        return cls(
            preset=preset,
            locators=[load_locator(path, device) for path in locators],
            classifiers=[load_classifier(path, device) for path in classifiers],
            calibration=Calibration.load(run),
            device=device,
        )

    def label(self, hu: np.ndarray) -> np.ndarray:
        """Label map uint8 (z, y, x) of a small volume, int16 (z, y, x) at the locator's spacing."""
        return label_map(self.locators, hu, self.device, fast_precision(self.device))

    def values(self, column: Column) -> np.ndarray:
        """The eight values to submit for a column: float64 (8,), C1 to C7 then patient_overall."""
        images, masks = study_stacks(column, self.preset.stacks)
        logits = study_logits(
            self.classifiers,
            torch.from_numpy(images)[None],
            torch.from_numpy(masks)[None],
            self.device,
            fast_precision(self.device),
        )
        return self.calibration.apply(logits[0].numpy())
