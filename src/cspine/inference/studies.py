"""Study folders to eight logits each: decoding in processes that may die, the networks in this one."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cspine.dicom.reader import WITHOUT_FAST_DECODER
from cspine.errors import InputError
from cspine.execution.engine import run_tasks
from cspine.execution.worker import Job
from cspine.inference.decoded import decode_study, load_small, load_volume
from cspine.inference.ensemble import Ensemble
from cspine.preprocessing.column import Column, cut_column


@dataclass(frozen=True)
class Prediction:
    """What became of one study: logits float64 (8,) and its column, or the reason why there are none."""

    study: str
    logits: np.ndarray | None
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
    folders: Mapping[str, Path], ensemble: Ensemble, decoded: Path, limits: Limits
) -> Iterator[Prediction]:
    """Predict study after study; one that fails gives a reason, and the next one follows.

    Parameters
    ----------
    folders : Mapping of str to Path
        Study -> folder with its DICOM files.
    ensemble : Ensemble
        The networks.
    decoded : Path
        An empty folder for decoded volumes; each is removed once it was used.
    limits : Limits
        What may be used.

    Yields
    ------
    Prediction
        Each study once. Those that the deadline leaves out come last, with that reason.
    """
    spacing = ensemble.preset.locator.spacing_mm
    here = {study: decoded / f"{number:05d}" for number, study in enumerate(folders)}
    items = [(study, (str(folder), str(here[study]), spacing)) for study, folder in folders.items()]
    waiting = dict(folders)
    again = partial(decode_study, fallback=True)
    job = Job(decode_study, limits.study_s, again, WITHOUT_FAST_DECODER)
    for outcome in run_tasks(job, items, limits.workers):
        started = time.perf_counter()
        waiting.pop(outcome.key)
        logits, column, reason = None, None, outcome.error or ""
        if not reason:
            try:
                logits, column = _predict_decoded(here[outcome.key], ensemble)
            except InputError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (one odd study must not cost the others; it is reported)
                reason = f"{error.__class__.__name__}: {error}"
        shutil.rmtree(here[outcome.key], ignore_errors=True)
        yield Prediction(outcome.key, logits, column, reason, outcome.seconds + time.perf_counter() - started)
        if time.monotonic() > limits.until:
            break
    for study in waiting:
        yield Prediction(study, None, None, "the time was up before its turn", 0.0)


def _predict_decoded(folder: Path, ensemble: Ensemble) -> tuple[np.ndarray, Column]:
    """Logits and column of a study that a worker has decoded."""
    small, affine = load_small(folder)
    column = cut_column(load_volume(folder), ensemble.segment(small), affine, ensemble.preset.column)
    return ensemble.predict(column), column
