"""From logits to submitted values: slopes, biases and the patient's rule, and how far they can be believed."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from scipy.special import expit, logit

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.submission import SUBMIT_CLIP, probability_of
from cspine.errors import InputError
from cspine.evaluation.averaging import AveragingCurve, FoldNoise
from cspine.evaluation.slopes import fit_slopes
from cspine.settings.layout import RunLayout
from cspine.settings.strict import STRICT

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class Calibration:
    """From the logits of a network, or the mean of several, to the values that are submitted.

    value = sigmoid(slope * logit + bias). C1 to C7 share one slope, patient_overall has its own; each of the
    eight has its own bias, since they differ in how often they are broken. `constants` (8,) are submitted for
    a study that could not be predicted. The patient's value may then follow from those of the levels too.
    """

    level_slope: float
    overall_slope: float
    biases: tuple[float, ...]
    constants: tuple[float, ...]
    stack: tuple[float, ...] = ()
    """Logistic regression of patient_overall on `stack_features`: coefficients, then the intercept; () for none."""
    noisy_or: Share = 0.0
    """Share of 1 - (1 - p1) ... (1 - p7) in the patient's probability."""
    at_least_largest: bool = False
    """Whether the patient's value is never below the largest level's."""
    averaging: AveragingCurve | None = None
    """How slopes and biases change for a mean of several networks; None where that was not fitted."""
    synthetic: bool = False
    """Whether it was fitted on a replica, so that the run's values mean nothing for a patient."""

    def apply(self, logits: np.ndarray, in_view: np.ndarray | None = None) -> np.ndarray:
        """Turn logits into values to submit; a level that the scan does not show gets its constant.

        Parameters
        ----------
        logits : ndarray, shape (..., 8)
            Logits, columns as PREDICTION_TYPES.
        in_view : ndarray of bool, shape (..., 7), optional
            Which of C1 to C7 were found in the scan; by default all.

        Returns
        -------
        ndarray of float64, shape (..., 8)
            The values.
        """
        straight = self.straight(logits)
        values = expit(straight)
        levels, overall = values[..., :7], values[..., 7]
        if in_view is not None:
            levels = np.where(in_view, levels, np.array(self.constants[:7]))
        if self.stack:
            overall = expit(stack_features(straight) @ np.array(self.stack[:-1]) + self.stack[-1])
        if self.noisy_or:
            share = (1 - self.noisy_or) * probability_of(overall) + self.noisy_or * anyone(levels)
            overall = 2 * share / (1 + share)
        if self.at_least_largest:
            overall = np.maximum(overall, levels.max(axis=-1))
        return np.concatenate([levels, overall[..., None]], axis=-1)

    def straight(self, logits: np.ndarray) -> np.ndarray:
        """Give logits after slopes and biases.

        Parameters
        ----------
        logits : ndarray, shape (..., 8)
            Logits, columns as PREDICTION_TYPES.

        Returns
        -------
        ndarray of float64, same shape
            slope * logit + bias.
        """
        slopes = np.array([self.level_slope] * len(LEVELS) + [self.overall_slope])
        return slopes * np.asarray(logits, dtype=np.float64) + np.array(self.biases)

    def for_mean(self, noise: FoldNoise) -> "Calibration":
        """Give the calibration for the mean logits of several networks.

        Parameters
        ----------
        noise : FoldNoise
            How much the networks differ on studies that none of them saw.

        Returns
        -------
        Calibration
            With steeper slopes, since averaging removes noise; this one where the correction was not kept.
        """
        if self.averaging is None:
            return self
        slopes, biases = self.averaging.correct(noise, (self.level_slope, self.overall_slope), self.biases)
        return replace(self, level_slope=slopes[0], overall_slope=slopes[1], biases=biases)

    @classmethod
    def load(cls, run: Path) -> "Calibration":
        """Read RUN/calibration.json.

        Parameters
        ----------
        run : Path
            The run's folder.

        Returns
        -------
        Calibration
            What `make cv` fitted for this run.

        Raises
        ------
        InputError
            If the file is missing or broken.
        """
        path = RunLayout(Path(run)).calibration
        content = storage.read_json(path, made_by="make cv")
        try:
            found = TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            raise InputError(f"{path}: not a calibration ({error}); `make cv` makes it") from error
        lengths = {
            "biases": (len(found.biases), len(PREDICTION_TYPES)),
            "constants": (len(found.constants), len(PREDICTION_TYPES)),
            "stack": (len(found.stack), STACK_SIZE if found.stack else 0),
        }
        for name, (length, expected) in lengths.items():
            if length != expected:
                raise InputError(f"{path}: {length} {name}, expected {expected}; `make cv` makes it anew")
        return found

    @classmethod
    def raw(cls, constants: np.ndarray) -> "Calibration":
        """Give the calibration that changes nothing: the training loss aims at value = sigmoid(logit).

        Parameters
        ----------
        constants : ndarray, shape (8,)
            Values for studies without a prediction.

        Returns
        -------
        Calibration
            Slopes 1, biases 0.
        """
        return cls(1.0, 1.0, (0.0,) * len(PREDICTION_TYPES), tuple(float(value) for value in constants))

    @classmethod
    def fit(cls, logits: np.ndarray, truth: np.ndarray, constants: np.ndarray) -> "Calibration":
        """Find the slopes and biases that minimise the global metric (see `Calibration` for what they are).

        Parameters
        ----------
        logits : ndarray of float, shape (n, 8)
            Held-out logits, C1 to C7 then patient_overall.
        truth : ndarray of float, shape (n, 8)
            Labels of the same studies, 0 or 1.
        constants : ndarray, shape (8,)
            Values that are stored for studies without a prediction.

        Returns
        -------
        Calibration
            The calibration.
        """
        slopes, biases = fit_slopes(np.asarray(logits)[None], truth)
        level, overall = slopes[:, 0].tolist()
        raw = cls.raw(constants)
        return replace(raw, level_slope=level, overall_slope=overall, biases=tuple(biases.tolist()))


STACK_SIZE = len(PREDICTION_TYPES) + 2
"""Features of the stacked overall value and its intercept."""


def stack_features(straight: np.ndarray) -> np.ndarray:
    """Give what the stacked overall value is made from.

    Parameters
    ----------
    straight : ndarray of float64, shape (..., 8)
        Logits after slopes and biases.

    Returns
    -------
    ndarray of float64, shape (..., 9)
        These logits, then that of "any level", clipped as values are.
    """
    levels = np.clip(expit(straight[..., :7]), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
    any_level = np.clip(anyone(levels), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
    return np.concatenate([straight, logit(any_level)[..., None]], axis=-1)


def anyone(levels: np.ndarray) -> np.ndarray:
    """Give the probability that any level is fractured, as if levels broke independently (noisy-or).

    Parameters
    ----------
    levels : ndarray of float, shape (..., 7)
        Submitted values v of C1 to C7; their probabilities are v / (2 - v).

    Returns
    -------
    ndarray of float64, shape (...)
        1 - (1 - p1) ... (1 - p7).
    """
    return 1 - np.prod(1 - probability_of(levels), axis=-1)


def reliability(values: np.ndarray, truth: np.ndarray, bins: int = 8) -> np.ndarray:
    """Hold submitted values against what happened, in bins of equal size.

    A submitted value s stands for the probability s / (2 - s).

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Submitted values.
    truth : ndarray of float, shape (n,)
        Labels, 0 or 1.
    bins : int
        How many bins.

    Returns
    -------
    ndarray of float64, shape (bins, 3)
        Mean probability, share of positives, number of rows; empty bins are left out.
    """
    probability = probability_of(values)
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return np.array([(probability[part].mean(), truth[part].mean(), len(part)) for part in parts])


def expected_calibration_error(probability: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Give the mean distance between predicted probability and what happened, over bins of equal size.

    Parameters
    ----------
    probability : ndarray of float, shape (n,)
        Probabilities.
    truth : ndarray of float, shape (n,)
        Labels, 0 or 1.
    bins : int
        How many bins.

    Returns
    -------
    float
        The error, from 0 to 1.
    """
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), bins) if len(part)]
    gaps = [abs(probability[part].mean() - truth[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(probability))
