"""The trained networks of a run as one thing that can be asked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from cspine import storage
from cspine.competition.labels import PREDICTION_TYPES
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
    fold_folder,
    load_classifier,
    load_locator,
    preset_of,
)

CALIBRATION = "calibration.json"


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """From the logits of the ensemble to the values that are submitted.

    value = sigmoid(slope * logit + bias), one slope and bias for the seven levels and one for
    patient_overall; `constants` (8,) are submitted for a study that could not be predicted.
    """

    level_slope: float
    level_bias: float
    overall_slope: float
    overall_bias: float
    constants: tuple[float, ...]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """logits (..., 8) -> values to submit, float64 (..., 8)."""
        logits = np.asarray(logits, dtype=np.float64)
        slope = np.array([self.level_slope] * 7 + [self.overall_slope])
        bias = np.array([self.level_bias] * 7 + [self.overall_bias])
        return 1 / (1 + np.exp(-np.clip(slope * logits + bias, -60, 60)))

    @classmethod
    def load(cls, run: Path) -> "Calibration":
        """Read RUN/calibration.json. Raises InputError if it is missing or broken."""
        path = Path(run) / CALIBRATION
        content = storage.read_json(path, made_by="make cv")
        try:
            found = TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            raise InputError(f"{path}: not a calibration ({error}); `make cv` makes it") from error
        if len(found.constants) != len(PREDICTION_TYPES):
            raise InputError(
                f"{path}: {len(found.constants)} constants, expected {len(PREDICTION_TYPES)}; run `make cv`"
            )
        return found


def models_of(run: Path) -> tuple[list[Path], list[Path]]:
    """Checkpoints of a run's locators and classifiers. Raises InputError if a fold is missing of either."""
    locators, classifiers = checkpoints(run, LOCATOR), checkpoints(run, CLASSIFIER)
    names = {path.parent.name for path in locators + classifiers}
    last = max(int(name[4:]) for name in names)
    for kind, paths in ((LOCATOR, locators), (CLASSIFIER, classifiers)):
        for fold in range(last + 1):
            path = fold_folder(run, kind, fold) / MODEL
            if path not in paths:
                raise InputError(
                    f"{path}: no such checkpoint, but the run goes up to fold {last}; `{MADE_BY[kind]}` makes it"
                )
    return locators, classifiers


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
