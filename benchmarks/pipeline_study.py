"""What the pipeline's picture shows: a study of the private test set, chosen and taken through the pipeline."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import replica_views as views
import torch

from cspine.competition.labels import LEVELS
from cspine.competition.rows import split_row_ids, wide
from cspine.competition.submission import probability_of
from cspine.competition.tables import read_solution, read_submission
from cspine.dicom.reader import read_series
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration
from cspine.inference.ensemble import Ensemble
from cspine.preprocessing.column import Column, cut_column, locate_levels, without_specks
from cspine.preprocessing.resampling import resample, window
from cspine.preprocessing.stacks import study_stacks

SAME = 1e-3  # two values of one study, from the submission and from the run, differ by less


@dataclasses.dataclass(frozen=True)
class ShownStudy:
    """What the pipeline's picture shows of a study; mm count from the centre of the scan's first voxel.

    series: uint8 (z, y), a sagittal plane through the bone window, of series_mm.
    labels: uint8 (z, y), the label map's plane there, of labels_mm from labels_start_mm.
    column: uint8 (z, y), the column's plane there, of column_mm; its first voxel is at column_start_mm.
    slices: uint8 (7, y, x), one of each stack. probability: (8,), C1 to C7 then the patient's.
    broken: the level that is truly broken, 0-6.
    """

    study: str
    series: np.ndarray
    series_mm: tuple[float, float]
    labels: np.ndarray
    labels_mm: tuple[float, float]
    labels_start_mm: tuple[float, float]
    column: np.ndarray
    column_mm: tuple[float, float]
    column_start_mm: tuple[float, float]
    slices: np.ndarray
    probability: np.ndarray
    broken: int


def choose_study(studies: list[str], probability: np.ndarray, truth: np.ndarray) -> tuple[str, int]:
    """Choose the study that shows best what the pipeline does.

    Exactly one of its levels is broken, the models rank that level first, and no other such study has a
    wider margin to its second level.

    Parameters
    ----------
    studies : list of str
        The studies to choose from.
    probability : ndarray of float, shape (n, 8)
        What the models say, C1 to C7 then the patient.
    truth : ndarray of float, shape (n, 8)
        1 where broken, else 0.

    Returns
    -------
    str
        The study.
    int
        Its broken level, 0-6.

    Raises
    ------
    InputError
        If there is no such study.
    """
    levels = np.asarray(probability)[:, : len(LEVELS)]
    order = np.argsort(-levels, axis=1, kind="stable")
    first, second = (np.take_along_axis(levels, order[:, [n]], axis=1)[:, 0] for n in (0, 1))
    one = np.asarray(truth)[:, : len(LEVELS)].sum(axis=1) == 1
    found = one & (np.asarray(truth)[np.arange(len(levels)), order[:, 0]] == 1) & (first > second)
    if not found.any():
        raise InputError(
            f"pipeline.png: of {len(studies)} test studies {one.sum()} have exactly one broken level, and the models "
            "rank it first in none; train a better run, or make a replica with more studies"
        )
    best = int(np.argmax(np.where(found, first - second, -np.inf)))
    return studies[best], int(order[best, 0])


def look_at_study(raw: Path, run: Path, submission: Path) -> ShownStudy:
    """Choose a study of the private test set and take it through the pipeline, as `choose_study` and `_ask` say."""
    solution = read_solution(raw / "solution.csv")
    studies, truth = wide(solution[solution["Usage"] == "Private"], what=raw / "solution.csv")
    predicted = read_submission(submission, advice="`make submission` makes it")
    here = split_row_ids(predicted["row_id"])["StudyInstanceUID"].isin(studies)
    said, values = wide(predicted[here], what=submission)
    truth = pd.DataFrame(truth, index=studies).loc[said].to_numpy()
    study, broken = choose_study(said, probability_of(values), truth)
    shown = _ask(read_series(raw / "competition" / "test_images" / study), run, broken)
    expected = probability_of(values[said.index(study)])
    if np.abs(shown.probability - expected).max() > SAME + 1 / 1000:  # a submission is clipped at 0.001
        raise InputError(
            f"{submission}: its values for study {study} are not those of {run}; `make submission` makes "
            "it anew"
        )
    return dataclasses.replace(shown, study=study)


def _ask(volume: Volume, run: Path, broken: int) -> ShownStudy:
    """Locate, cut, ask: what training and the kernel do with a study as well."""
    ensemble = Ensemble.load(run)
    small = resample(volume, ensemble.preset.locator.spacing_mm)
    located = ensemble.locate(small.hu)
    labels, verdict = located.labels, located.verdict
    column = cut_column(volume, labels, small.affine, ensemble.preset.column, verdict=verdict)
    images, masks = study_stacks(column, ensemble.preset.stacks)
    values = Calibration.load(run).apply(ensemble.predict(column).mean(axis=0), verdict.in_view)
    slices = deciding_slices(images, _slice_logits(ensemble, images, masks))
    return show(volume, labels, small.affine, column, slices, probability_of(values), broken)


def _slice_logits(ensemble: Ensemble, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The folds' mean logit of every slice: (7, slices)."""
    stacks = [torch.from_numpy(array)[None].to(ensemble.device) for array in (images, masks)]
    with torch.inference_mode():
        logits = [classifier(*stacks)[1][0].float() for classifier in ensemble.classifiers]
    return torch.stack(logits).mean(dim=0).cpu().numpy()


def deciding_slices(images: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Take of each stack the slice that looks most like a fracture to the models.

    Parameters
    ----------
    images : ndarray of uint8, shape (7, slices, y, x, neighbours)
        The stacks; the slice itself is the middle one of its neighbours.
    logits : ndarray of float, shape (7, slices)
        Each slice's logit.

    Returns
    -------
    ndarray of uint8, shape (7, y, x)
        One slice a level.
    """
    chosen = np.argmax(logits, axis=1)
    return images[np.arange(len(images)), chosen, :, :, images.shape[-1] // 2]


def show(
    volume: Volume,
    labels: np.ndarray,
    label_affine: np.ndarray,
    column: Column,
    slices: np.ndarray,
    probability: np.ndarray,
    broken: int,
) -> ShownStudy:
    """Cut the same sagittal plane, through the middle of the levels, out of a scan, its label map and its column.

    Parameters
    ----------
    volume : Volume
        The scan.
    labels : ndarray of uint8, shape (z, y, x)
        Its label map: 0 background, 1-7 = C1-C7.
    label_affine : ndarray of float64, shape (4, 4)
        From a (z, y, x) index of the label map to mm of the patient.
    column : Column
        What was cut out of the scan with this label map.
    slices : ndarray of uint8, shape (7, y, x)
        One slice of each stack.
    probability : ndarray of float, shape (8,)
        C1 to C7, then the patient.
    broken : int
        The level that is truly broken, 0-6.

    Returns
    -------
    ShownStudy
        What is drawn.
    """
    spacing = np.array(volume.spacing_mm)
    to_volume = np.linalg.inv(volume.affine) @ label_affine  # label index -> index in the scan
    step, start = np.diag(to_volume)[:3] * spacing, to_volume[:3, 3] * spacing
    labels = without_specks(labels, tuple(step))
    levels, _ = locate_levels(labels, tuple(step), volume.study)
    top = column.extents[0]  # the same level in the column's millimetres and in the label map's
    corner = start + levels[0, [0, 2, 3]] - [top.top_mm, top.centre_y_mm, top.centre_x_mm]
    middle = float(np.median([extent.centre_x_mm for extent in column.extents]))
    at = round((corner[2] + middle) / spacing[2])
    hu = volume.hu[:, :, np.clip(at, 0, volume.hu.shape[2] - 1)]
    label_at = np.clip(round((corner[2] + middle - start[2]) / step[2]), 0, labels.shape[2] - 1)
    column_at = np.clip(round(middle / column.spacing_mm[2]), 0, column.image.shape[2] - 1)
    return ShownStudy(
        study=volume.study,
        series=window(hu, *views.BONE),
        series_mm=(spacing[0], spacing[1]),
        labels=labels[:, :, label_at],
        labels_mm=(step[0], step[1]),
        labels_start_mm=(start[0], start[1]),
        column=column.image[:, :, column_at],
        column_mm=column.spacing_mm[:2],
        column_start_mm=(corner[0], corner[1]),
        slices=slices,
        probability=probability,
        broken=broken,
    )
