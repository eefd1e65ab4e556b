"""Study folders to eight values each: decoding in processes that may die, the networks in this one."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cspine.errors import InputError
from cspine.inference.ensemble import Ensemble
from cspine.scans.column import Column, cut_column
from cspine.scans.engine import Job, run_tasks
from cspine.scans.scratch import decode_to_scratch, load_volume


@dataclass(frozen=True)
class Prediction:
    """What became of one study: values float64 (8,) and its column, or the reason why there are none."""

    study: str
    values: np.ndarray | None
    column: Column | None
    reason: str
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What a run over many studies may use."""

    workers: int = 2
    """Processes that decode."""
    study_s: float = 180.0
    """A study that takes longer to decode is given up."""
    until: float = float("inf")
    """time.monotonic() after which no further study is begun."""


def predict_studies(
    folders: Mapping[str, Path], ensemble: Ensemble, scratch: Path, limits: Limits
) -> Iterator[Prediction]:
    """Predict study after study; one that fails gives a reason, and the next one follows.

    folders: study -> folder with its DICOM files. scratch: an empty folder for decoded volumes; each is
    removed once it was used. Studies that the deadline leaves out are yielded last, with that reason.
    """
    spacing = ensemble.preset.locator.spacing_mm
    here = {study: scratch / f"{number:05d}" for number, study in enumerate(folders)}
    items = [(study, (str(folder), str(here[study]), spacing)) for study, folder in folders.items()]
    waiting = dict(folders)
    job = Job(decode_to_scratch, limits.study_s, again=partial(decode_to_scratch, careful=True))
    for outcome in run_tasks(job, items, limits.workers):
        started = time.perf_counter()
        waiting.pop(outcome.key)
        values, column, reason = None, None, outcome.error or ""
        if not reason:
            try:
                values, column = _predict_scratch(here[outcome.key], ensemble)
            except InputError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (one odd study must not cost the others; it is reported)
                reason = f"{error.__class__.__name__}: {error}"
        shutil.rmtree(here[outcome.key], ignore_errors=True)
        yield Prediction(outcome.key, values, column, reason, outcome.seconds + time.perf_counter() - started)
        if time.monotonic() > limits.until:
            break
    for study in waiting:
        yield Prediction(study, None, None, "the time was up before its turn", 0.0)


def _predict_scratch(folder: Path, ensemble: Ensemble) -> tuple[np.ndarray, Column]:
    """Values and column of a study that a worker has decoded."""
    labels = ensemble.label(np.load(folder / "small.npy", allow_pickle=False))
    affine = np.load(folder / "small_affine.npy", allow_pickle=False)
    column = cut_column(load_volume(folder), labels, affine, ensemble.preset.column)
    return ensemble.values(column), column
