"""What is known of each study while the kernel runs, and for the process that follows one that was killed."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.evaluation.averaging import FoldNoise
from cspine.evaluation.calibration import Calibration
from cspine.kaggle.inference_report import InferenceReport

ANSWERS = ".answers.jsonl"
"""The file beside the submission, a line a study."""


class Answers:
    """Each study's logits as they come, in memory and in a file.

    path: the file. report: hears what became of each study.
    """

    def __init__(self, path: Path, report: InferenceReport) -> None:
        self.path, self.report = path, report
        self.fold_logits: dict[str, np.ndarray] = {}
        self.in_view: dict[str, np.ndarray] = {}
        self.only_rehearsed: Collection[str] = ()
        """Studies that are tried and not submitted."""

    def remember(self, line: str) -> None:
        """Add a line to what is known.

        Parameters
        ----------
        line : str
            A study's words as JSON.
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def known(self) -> list[dict[str, Any]]:
        """Read what a process before this one, which was killed, has found out.

        Returns
        -------
        list of dict
            Words as from `device_answers.as_words`; a line that was cut off is left out.
        """
        if not self.path.is_file():
            return []
        *whole, _ = self.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in whole]

    def note(self, words: dict[str, Any]) -> None:
        """Note one study's outcome.

        Parameters
        ----------
        words : dict
            As from `device_answers.as_words`.
        """
        study = words["study"]
        for part, took in words["seconds"].items():
            self.report.seconds_by_part[part] = self.report.seconds_by_part.get(part, 0.0) + took
        logits = np.array(words.get("logits", []), dtype=np.float64)
        if not logits.size or not np.isfinite(logits).all():
            self.report.fell_back[study] = words.get("reason") or "an answer that is not finite"
            return
        if study in self.only_rehearsed:
            return
        self.fold_logits[study], self.in_view[study] = logits, np.array(words["in_view"], dtype=bool)
        kind = words["verdict"]
        self.report.verdicts[kind] = self.report.verdicts.get(kind, 0) + 1
        if not self.in_view[study].all():
            hidden = np.flatnonzero(~self.in_view[study]).tolist()
            self.report.not_in_view[study] = [LEVELS[level] for level in hidden]
        if words["notes"]:
            self.report.notes[study] = words["notes"]

    def values(self, calibration: Calibration | None) -> dict[str, np.ndarray]:
        """Turn the logits that are there into values: the folds' mean, calibrated for such a mean.

        A study that fewer folds answered, since time ran short, is calibrated as the mean of these.

        Parameters
        ----------
        calibration : Calibration, optional
            The run's; without it there are no values.

        Returns
        -------
        dict of str to ndarray of shape (8,)
            Study to values to submit.
        """
        if calibration is None:
            return {}
        values: dict[str, np.ndarray] = {}
        for count in sorted({len(logits) for logits in self.fold_logits.values()}):
            fitted = calibration
            known = [logits[:count] for logits in self.fold_logits.values() if len(logits) >= count]
            noise, averaging = FoldNoise.measure(np.stack(known)), fitted.averaging
            if noise is not None and averaging is not None:
                fitted, shares = fitted.for_mean(noise), averaging.shares(noise)
                figures = (fitted.level_slope, fitted.overall_slope, *shares)
                names = ("level", "overall", "level_removed", "overall_removed")
                self.report.slopes = dict(zip(names, figures, strict=True))
            these = [study for study, logits in self.fold_logits.items() if len(logits) == count]
            logits = np.stack([self.fold_logits[study] for study in these]).mean(axis=1)
            in_view = np.stack([self.in_view[study] for study in these])
            values |= dict(zip(these, fitted.apply(logits, in_view), strict=True))
        return {study: one for study, one in values.items() if np.isfinite(one).all()}

    def table(self) -> pd.DataFrame:
        """Give what each fold said about each study.

        Returns
        -------
        DataFrame
            StudyInstanceUID, fold, eight logits; a row for each study and fold.
        """
        rows = [
            (study, fold, *logits)
            for study, folds in self.fold_logits.items()
            for fold, logits in zip(self.report.folds or range(len(folds)), folds.tolist(), strict=False)
        ]
        return pd.DataFrame(rows, columns=[UID_COLUMN, "fold", *PREDICTION_TYPES])
