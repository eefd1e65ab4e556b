"""The trained networks of a run as one thing that can be asked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cspine.errors import InputError
from cspine.networks.classifier import Classifier, study_logits
from cspine.networks.fold_models import (
    load_classifier,
    load_locator,
    preset_of,
    read_fold_description,
)
from cspine.networks.locator import Locator, label_map
from cspine.networks.precision import best_device
from cspine.preprocessing.column import Column
from cspine.preprocessing.stacks import study_stacks
from cspine.settings.layout import CLASSIFIER, LOCATOR, MADE_BY, RunLayout
from cspine.settings.presets import Preset


def models_of(run: Path) -> tuple[list[Path], list[Path]]:
    """List the checkpoints of a run's locators and classifiers, by fold.

    Parameters
    ----------
    run : Path
        The run's folder.

    Returns
    -------
    locators : list of Path
        One a fold.
    classifiers : list of Path
        One a fold.

    Raises
    ------
    InputError
        If a fold of the split is missing of either, or if two of them come from different splits.
    """
    layout = RunLayout(run)
    found = {kind: layout.models(kind) for kind in (LOCATOR, CLASSIFIER)}
    first = read_fold_description(found[LOCATOR][0], LOCATOR)
    for kind, paths in found.items():
        for fold in range(first.folds):
            path = layout.model(kind, fold)
            if path not in paths:
                raise InputError(
                    f"{path}: no such checkpoint, but the run has {first.folds} folds; `{MADE_BY[kind]}` makes it"
                )
        for path in paths:
            one = read_fold_description(path, kind)
            if (one.split, one.folds) != (first.split, first.folds):
                raise InputError(
                    f"{path}: trained on another split of the studies than {found[LOCATOR][0]}; use one RUN for one "
                    f"folds.csv, or delete it and run `{MADE_BY[kind]}`"
                )
            if path.parent != layout.fold(kind, one.fold):
                raise InputError(
                    f"{path}: this is fold {one.fold} in another's place; delete it and run `{MADE_BY[kind]}`"
                )
    return found[LOCATOR], found[CLASSIFIER]


@dataclass(frozen=True)
class Ensemble:
    """All folds of a run's locator and classifier."""

    preset: Preset
    locators: list[Locator]
    classifiers: list[Classifier]
    device: torch.device

    @classmethod
    def load(cls, run: Path, device: torch.device | None = None) -> "Ensemble":
        """Read a run's checkpoints.

        Parameters
        ----------
        run : Path
            The run's folder.
        device : torch.device, optional
            Where the networks are put; by default the first GPU, or the CPU.

        Returns
        -------
        Ensemble
            All folds, ready to be asked.

        Raises
        ------
        InputError
            If a checkpoint is missing or of other settings than the rest, and as in `models_of`.
        """
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
            device=device,
        )

    def segment(self, hu: np.ndarray) -> np.ndarray:
        """Label a small volume.

        Parameters
        ----------
        hu : ndarray of int16, shape (z, y, x)
            Hounsfield units at the locator's spacing.

        Returns
        -------
        ndarray of uint8, shape (z, y, x)
            Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.
        """
        return label_map(self.locators, hu, self.device)

    def predict(self, column: Column) -> np.ndarray:
        """Compute mean logits of the folds for a column.

        Parameters
        ----------
        column : Column
            The study's column.

        Returns
        -------
        ndarray of float64, shape (8,)
            C1 to C7 then patient_overall.
        """
        images, masks = study_stacks(column, self.preset.stacks)
        logits = study_logits(
            self.classifiers, torch.from_numpy(images)[None], torch.from_numpy(masks)[None], self.device
        )
        return logits[0].double().numpy()
