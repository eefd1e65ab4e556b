"""What the Kaggle kernel does: from the attached inputs to a submission.csv that is valid at any moment."""

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES, PUBLISHED
from cspine.competition.metric import best_constants
from cspine.competition.rows import split_row_ids
from cspine.competition.submission import assemble, write_submission
from cspine.competition.tables import read_sample
from cspine.errors import InputError
from cspine.evaluation.averaging import FoldNoise
from cspine.evaluation.calibration import Calibration
from cspine.inference.blends import in_words, load_models
from cspine.inference.studies import Limits, Prediction, predict_studies
from cspine.settings.layout import FOLD_LOGITS, INFERENCE_REPORT, SUBMISSION

TIME_LIMIT_S = 8.5 * 3600
"""Kaggle stops a kernel after 9 hours; half an hour stays for the rest."""
WRITE_EVERY = 25
"""Studies between two writings of submission.csv."""


@dataclass
class InferenceReport:
    """What the kernel did, as `inference.json` beside the submission."""

    studies: int = 0
    predicted: int = 0
    seconds: float = 0.0
    models: str = ""
    """How many folds of each run answered."""
    problem: str = ""
    """What kept the models from being used at all."""
    fell_back: dict[str, str] = field(default_factory=dict)
    """Study -> why it fell back to the constants."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Study -> what had to be mended to predict it."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """What is thought of the label map ("sure", "doubtful") -> predicted studies."""
    seconds_by_part: dict[str, float] = field(default_factory=dict)
    """Part ("decode", "locate", "cut", "classify") -> seconds over all studies."""
    slopes: dict[str, float] = field(default_factory=dict)
    """The slopes that were used for the folds' mean ("level", "overall"), and the share of the held-out logits'
    spread that averaging removes ("level_removed", "overall_removed")."""


class KernelRun:
    """A submission in the making: constants first, predictions as they come, always a whole file on disk."""

    def __init__(self, competition: Path, working: Path):
        self.competition, self.working = competition, working
        self.sample = read_sample(competition)
        self.studies = list(split_row_ids(self.sample["row_id"])[UID_COLUMN].unique())
        self.constants = best_constants(PUBLISHED["train"].rates())
        self.fold_logits: dict[str, np.ndarray] = {}
        self.in_view: dict[str, np.ndarray] = {}
        self.calibration: Calibration | None = None
        self.report = InferenceReport(studies=len(self.studies))
        self.path = working / SUBMISSION

    def write(self) -> None:
        """Write what is known so far."""
        frame, _ = assemble(self.sample, self.values(), self.constants)
        write_submission(self.path, frame, self.sample)

    def values(self) -> dict[str, np.ndarray]:
        """Turn the logits that are there into values: the folds' mean, calibrated for such a mean.

        Returns
        -------
        dict of str to ndarray of shape (8,)
            Study to values to submit.
        """
        if not self.fold_logits or self.calibration is None:
            return {}
        logits, calibration = np.stack(list(self.fold_logits.values())), self.calibration
        noise = FoldNoise.measure(logits)
        averaging = calibration.averaging
        if noise is not None and averaging is not None:
            calibration, shares = calibration.for_mean(noise), averaging.shares(noise)
            figures = (calibration.level_slope, calibration.overall_slope, *shares)
            names = ("level", "overall", "level_removed", "overall_removed")
            self.report.slopes = dict(zip(names, figures, strict=True))
        in_view = np.stack([self.in_view[study] for study in self.fold_logits])
        return dict(zip(self.fold_logits, calibration.apply(logits.mean(axis=1), in_view), strict=True))

    def take(self, prediction: Prediction) -> None:
        """Note one study's outcome.

        Parameters
        ----------
        prediction : Prediction
            The study's logits, or the reason why there are none.
        """
        for part, took in prediction.seconds.items():
            self.report.seconds_by_part[part] = self.report.seconds_by_part.get(part, 0.0) + took
        if prediction.fold_logits is None or prediction.column is None:
            self.report.fell_back[prediction.study] = prediction.reason
            return
        self.fold_logits[prediction.study] = prediction.fold_logits
        verdict = prediction.column.verdict
        self.in_view[prediction.study] = verdict.in_view
        self.report.verdicts[verdict.kind] = self.report.verdicts.get(verdict.kind, 0) + 1
        if prediction.column.notes:
            self.report.notes[prediction.study] = list(prediction.column.notes)
        if len(self.fold_logits) % WRITE_EVERY == 0:
            self.write()

    def folders(self) -> dict[str, Path]:
        """Find the studies' folders; a study without one is noted.

        Returns
        -------
        dict of str to Path
            Study to folder, for those that are there.
        """
        wanted = {study: self.competition / "test_images" / study for study in self.studies}
        for study, folder in wanted.items():
            if not folder.is_dir():
                self.report.fell_back[study] = f"no folder test_images/{study}"
        return {study: folder for study, folder in wanted.items() if folder.is_dir()}

    def predict(self, models: Path, until: float) -> None:
        """Predict all studies whose folders are there.

        Parameters
        ----------
        models : Path
            A run's checkpoints and calibration.
        until : float
            time.monotonic() after which no further study is begun.

        Raises
        ------
        InputError
            If the models or the calibration can't be used, or if no study at all could be predicted.
        """
        self.calibration = Calibration.load(models)
        self.constants = np.array(self.calibration.constants)
        self.write()
        folders = self.folders()
        if not folders:
            return
        decoded = self.working / "decoded"
        shutil.rmtree(decoded, ignore_errors=True)
        limits = Limits(workers=os.cpu_count() or 2, until=until)
        self.report.models = in_words(models)
        found = predict_studies(folders, load_models(models), decoded, limits)
        try:
            for prediction in cli.progress(found, unit="study", total=len(folders), what="predict"):
                self.take(prediction)
        finally:
            shutil.rmtree(decoded, ignore_errors=True)
        if not self.fold_logits:
            raise InputError(
                f"{self.competition}: none of {len(folders)} studies could be predicted; see the reasons"
            )

    def finish(self, started: float) -> None:
        """Write the final file and say which studies fell back to constants.

        Parameters
        ----------
        started : float
            time.monotonic() when the kernel began.
        """
        self.write()
        for study in self.studies:
            if study not in self.fold_logits:
                reason = self.report.fell_back.setdefault(study, self.report.problem)
                print(f"constants for study {study}: {reason}", flush=True)
        self.report.predicted = len(self.fold_logits)
        self.report.seconds = round(time.monotonic() - started, 1)
        self.report.seconds_by_part = {
            part: round(took, 2) for part, took in self.report.seconds_by_part.items()
        }
        self.write_fold_logits()
        storage.write_json(self.working / INFERENCE_REPORT, vars(self.report))
        cli.log_stage(
            "kernel",
            read=self.competition,
            wrote=self.path,
            models=self.report.models or "none",
            studies=len(self.studies),
            predicted=len(self.fold_logits),
            seconds_a_study=round(self.report.seconds / max(len(self.studies), 1), 2),
        )

    def write_fold_logits(self) -> None:
        """Write what each fold said about each study."""
        rows = [
            (study, fold, *logits)
            for study, folds in self.fold_logits.items()
            for fold, logits in enumerate(folds.tolist())
        ]
        frame = pd.DataFrame(rows, columns=[UID_COLUMN, "fold", *PREDICTION_TYPES])
        storage.write_csv(self.working / FOLD_LOGITS, frame)


def main(competition: Path, models: Path, working: Path) -> int:
    """Predict every study of the sample submission.

    Parameters
    ----------
    competition : Path
        The folder with sample_submission.csv and test_images.
    models : Path
        A run's checkpoints and calibration.
    working : Path
        Where submission.csv and inference.json are written.

    Returns
    -------
    int
        The exit code: 0, or 1 if the models could not be used and this is not the scoring run (which keeps
        its valid submission).
    """
    started = time.monotonic()
    kernel = KernelRun(competition, working)
    kernel.write()  # from here on there is a valid submission, whatever happens
    try:
        kernel.predict(models, started + TIME_LIMIT_S)
    except Exception as error:  # noqa: BLE001 (the submission must survive; the problem is reported)
        kernel.report.problem = f"{error.__class__.__name__}: {error}"
        print(f"PROBLEM: {kernel.report.problem}", file=sys.stderr, flush=True)
    kernel.finish(started)
    scored = bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))
    return 1 if kernel.report.problem and not scored else 0
