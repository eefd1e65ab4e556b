"""Study folders to eight logits each: decoding in processes that may die, the networks in this one."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from cspine.dicom.reader import WITHOUT_FAST_DECODER
from cspine.errors import InputError
from cspine.execution.engine import run_tasks
from cspine.execution.worker import Job
from cspine.inference.blends import Models
from cspine.inference.decoded import decode_study, load_small, load_volume
from cspine.inference.ensemble import Answer
from cspine.preprocessing.column import Column


@dataclass(frozen=True)
class Prediction:
    """What became of one study: each fold's logits float64 (folds, 8) and its column, or why there are none."""

    study: str
    fold_logits: np.ndarray | None
    column: Column | None
    reason: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Part ("decode", "locate", "cut", "classify") -> how long it took."""


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
    folders: Mapping[str, Path], models: Models, decoded: Path, limits: Limits
) -> Iterator[Prediction]:
    """Predict study after study; one that fails gives a reason, and the next one follows.

    Parameters
    ----------
    folders : Mapping of str to Path
        Study -> folder with its DICOM files.
    models : Ensemble or Blend
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
    spacing = models.spacing_mm
    here = {study: decoded / f"{number:05d}" for number, study in enumerate(folders)}
    items = [(study, (str(folder), str(here[study]), spacing)) for study, folder in folders.items()]
    waiting = dict(folders)
    again = partial(decode_study, fallback=True)
    job = Job(decode_study, limits.study_s, again, WITHOUT_FAST_DECODER)
    for outcome in run_tasks(job, items, limits.workers):
        waiting.pop(outcome.key)
        answer, reason = None, outcome.error or ""
        if not reason:
            try:
                answer = _answer(here[outcome.key], models)
            except InputError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (one odd study must not cost the others; it is reported)
                reason = f"{error.__class__.__name__}: {error}"
        shutil.rmtree(here[outcome.key], ignore_errors=True)
        seconds = {"decode": outcome.seconds}
        if answer is None:
            yield Prediction(outcome.key, None, None, reason, seconds)
        else:
            yield Prediction(outcome.key, answer.fold_logits, answer.column, "", seconds | answer.seconds)
        if time.monotonic() > limits.until:
            break
    for study in waiting:
        yield Prediction(study, None, None, "the time was up before its turn")


def _answer(folder: Path, models: Models) -> Answer:
    """What the networks say about a study that a worker has decoded."""
    small, affine = load_small(folder)
    return models.answer(load_volume(folder), small, affine)
