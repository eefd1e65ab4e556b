"""The trained networks of a run as one thing that can be asked."""

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.networks.classifier import Classifier, study_and_slice_logits, where_in_slices
from cspine.networks.fold_models import (
    load_classifier,
    load_locator,
    preset_of,
    read_fold_description,
)
from cspine.networks.locator import Locator
from cspine.networks.precision import best_device
from cspine.networks.search import Located, locate
from cspine.preprocessing.column import Column, cut_column
from cspine.preprocessing.stacks import Jitter, deciding_mm, middle_mm, study_stacks, vertebra_stack
from cspine.settings.layout import CLASSIFIER, LOCATOR, MADE_BY, RunLayout
from cspine.settings.presets import Preset, reproducible_settings


def models_of(run: Path) -> tuple[list[Path], list[Path]]:
    """List the checkpoints of a run's locators and classifiers, by fold; there may be fewer than the split has folds.

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
        If there is none of either, or if two of them come from different splits.
    """
    layout = RunLayout(run)
    found = {kind: layout.models(kind) for kind in (LOCATOR, CLASSIFIER)}
    first = read_fold_description(found[LOCATOR][0], LOCATOR)
    for kind, paths in found.items():
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


def folds_in_words(run: Path) -> str:
    """Say how many of its folds a run has.

    Parameters
    ----------
    run : Path
        The run's folder.

    Returns
    -------
    str
        As "5 folds", or "1 of 5 folds" where the others are not trained; of the locator too if it differs.

    Raises
    ------
    InputError
        As `models_of`.
    """
    locators, classifiers = models_of(run)
    folds = read_fold_description(classifiers[0], CLASSIFIER).folds

    def words(found: list[Path]) -> str:
        return f"{folds} folds" if len(found) == folds else f"{len(found)} of {folds} folds"

    located = "" if len(locators) == folds else f", {words(locators)} of the locator"
    return words(classifiers) + located


class DeviceLost(RuntimeError):
    """A device that answers nothing more in this process: its memory is full, or an error has stuck to it."""


def device_is_lost(error: Exception) -> bool:
    """Tell whether an error means that a device answers nothing more in this process.

    Parameters
    ----------
    error : Exception
        What a network's call raised.

    Returns
    -------
    bool
        True for a full memory and for CUDA's own errors.
    """
    return isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error)


LEAST_CELLS = 4
"""Cells on a side of the last map, below which it does not tell where in a slice something is."""
FEWEST_IMAGES = 8
"""A device without memory for so many images at once is given up."""


@dataclass(frozen=True)
class Answer:
    """What the networks say about one study."""

    fold_logits: np.ndarray
    """Logits of each fold, float64 (folds, 8), C1 to C7 then patient_overall."""
    column: Column
    seconds: dict[str, float]
    """Part ("locate", "cut", "classify") -> how long it took."""
    deciding_mm: np.ndarray
    """Which slice of each level was rated highest, in column millimetres, float64 (7,)."""
    labels: np.ndarray | None = None
    """The label map uint8 (z, y, x) of the small copy, where it was asked for one."""
    affine: np.ndarray | None = None
    """Its affine, float64 (4, 4)."""


@dataclass(frozen=True)
class Ensemble:
    """All folds of a run's locator and classifier."""

    preset: Preset
    locators: list[Locator]
    classifiers: list[Classifier]
    device: torch.device
    column_key: str = ""
    """Equal for runs that cut the same columns: their locators and settings are the same."""
    split: str = ""
    """The split of the studies on which the folds were trained, as a hash."""

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
        found = [load_locator(path, device) for path in locators]
        return cls(
            preset=preset,
            locators=found,
            classifiers=[load_classifier(path, device) for path in classifiers],
            device=device,
            column_key=_column_key(found, preset),
            split=read_fold_description(classifiers[0], CLASSIFIER).split,
        )

    @property
    def spacing_mm(self) -> float:
        """Voxel size of the small volumes that `answer` takes."""
        return self.preset.locator.spacing_mm

    @property
    def window_name(self) -> str:
        """The window in which columns are cut, for pictures."""
        return self.preset.column.window_name

    def answer(self, volume: Volume, small: np.ndarray, affine: np.ndarray) -> Answer:
        """Find the column of a scan and give each fold's logits of it.

        Parameters
        ----------
        volume : Volume
            The scan.
        small : ndarray of int16, shape (z, y, x)
            The same scan at `spacing_mm`, in Hounsfield units.
        affine : ndarray of float64, shape (4, 4)
            Of the small copy, from (z, y, x) index to patient mm.

        Returns
        -------
        Answer
            Logits, column, and how long each part took.

        Raises
        ------
        InputError
            If no column can be cut.
        """
        seconds = {}
        started = time.perf_counter()
        located = self.locate(small)
        seconds["locate"] = time.perf_counter() - started
        started = time.perf_counter()
        column = cut_column(volume, located.labels, affine, self.preset.column, verdict=located.verdict)
        seconds["cut"] = time.perf_counter() - started
        answer = self.answer_about(column)
        return replace(answer, seconds=seconds | answer.seconds, labels=located.labels, affine=affine)

    def answer_about(self, column: Column) -> Answer:
        """Give each fold's logits of a column that is there already.

        Parameters
        ----------
        column : Column
            The study's column.

        Returns
        -------
        Answer
            Logits, the same column, and how long it took.
        """
        started = time.perf_counter()
        logits, slices = self._ask(column)
        deciding = deciding_mm(column, slices, self.preset.stacks)
        return Answer(logits, column, {"classify": time.perf_counter() - started}, deciding)

    def where_mm(self, answer: Answer) -> np.ndarray:
        """Say where in each level's deciding slice most speaks for a fracture, by all folds together.

        Parameters
        ----------
        answer : Answer
            What these networks said about a study.

        Returns
        -------
        ndarray of float64, shape (7, 2)
            Column millimetres (y, x) of C1 to C7; NaN for encoders that don't tell, or too coarsely.
        """
        column, stacks = answer.column, self.preset.stacks
        pairs = [
            vertebra_stack(column, level, replace(stacks, slices=1), Jitter(z_mm=mm - middle_mm(extent)))
            for level, (extent, mm) in enumerate(zip(column.extents, answer.deciding_mm, strict=True))
        ]
        images, masks = (
            torch.from_numpy(np.concatenate(part)).to(self.device) for part in zip(*pairs, strict=True)
        )
        maps = []
        for classifier in self.classifiers:
            one = where_in_slices(classifier, images, masks)
            if one is None or min(one.shape[1:]) < LEAST_CELLS:
                return np.full((len(pairs), 2), np.nan)
            maps.append(one.double().numpy())
        found = np.mean(maps, axis=0)
        best = np.array([np.unravel_index(one.argmax(), one.shape) for one in found])
        share = (best + 0.5) / found.shape[1:]
        centres = [(extent.centre_y_mm, extent.centre_x_mm) for extent in column.extents]
        return np.array(centres) + (share - 0.5) * stacks.crop_mm

    def locate(self, hu: np.ndarray) -> Located:
        """Name the vertebrae in a small volume.

        Parameters
        ----------
        hu : ndarray of int16, shape (z, y, x)
            Hounsfield units at the locator's spacing.

        Returns
        -------
        Located
            Label map and verdict.
        """
        return locate(self.locators, hu, self.device)

    def predict(self, column: Column) -> np.ndarray:
        """Compute each fold's logits for a column.

        Parameters
        ----------
        column : Column
            The study's column.

        Returns
        -------
        ndarray of float64, shape (folds, 8)
            C1 to C7 then patient_overall.
        """
        return self._ask(column)[0]

    def _ask(self, column: Column) -> tuple[np.ndarray, np.ndarray]:
        """Each fold's logits of a column (folds, 8), and the folds' mean logits of its slices (7, slices)."""
        images, masks = study_stacks(column, self.preset.stacks)
        batch = torch.from_numpy(images)[None], torch.from_numpy(masks)[None]
        while True:
            try:
                logits, slices = self._logits(*batch, precise=False)
                if not logits.isfinite().all():  # float16 ends at 65,504
                    logits, slices = self._logits(*batch, precise=True)
                break
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                at_once = min(
                    one.images_at_once or masks.shape[0] * masks.shape[1] for one in self.classifiers
                )
                if at_once <= FEWEST_IMAGES:
                    raise DeviceLost(f"out of memory with {at_once} images at once: {error}") from error
                for classifier in self.classifiers:
                    classifier.images_at_once = at_once // 2
                print(f"out of GPU memory: {at_once // 2} images at once from here on", flush=True)
            except RuntimeError as error:
                if not device_is_lost(error):
                    raise
                raise DeviceLost(str(error).partition("\n")[0]) from error
        bad = [str(fold) for fold, one in enumerate(logits) if not one.isfinite().all()]
        if bad:
            raise InputError(f"the answer of classifier number {', '.join(bad)} is not finite")
        return logits.numpy(), slices.numpy()

    def _logits(
        self, images: torch.Tensor, masks: torch.Tensor, precise: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Every classifier's logits of a study, float64 (folds, 8), and their mean of slices (7, slices)."""
        mirrored = self.preset.mirrored_too
        answers = [
            study_and_slice_logits(one, images, masks, self.device, mirrored, precise)
            for one in self.classifiers
        ]
        slices = torch.cat([each for _, each in answers]).double().mean(dim=0)
        return torch.cat([study for study, _ in answers]).double(), slices

    def lighter(self) -> "tuple[Ensemble, str] | None":
        """Give the same with less work: first without the mirrored view, then without the last fold.

        Returns
        -------
        models : Ensemble
            The lighter one.
        words : str
            What it does without; None instead of both where nothing is left to go without.
        """
        if self.preset.mirrored_too:
            return replace(self, preset=replace(self.preset, mirrored_too=False)), "without the mirrored view"
        if len(self.classifiers) > 1:
            fewer = self.classifiers[:-1]
            return replace(self, classifiers=fewer), f"with the first {len(fewer)} folds"
        return None


def _column_key(locators: list[Locator], preset: Preset) -> str:
    """SHA-256 of all that shapes a column: the locators' weights and the column's settings."""
    digest = hashlib.sha256(json.dumps(reproducible_settings(preset.column), sort_keys=True).encode())
    for locator in locators:
        for name, part in sorted(locator.state_dict().items()):
            digest.update(name.encode())
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()
