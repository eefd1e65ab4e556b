"""From logits to submitted values: the calibration, its fit out of fold, and how far it can be believed."""

from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from scipy import optimize
from scipy.special import expit

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.metric import global_loss
from cspine.competition.submission import SUBMIT_CLIP, probability_of
from cspine.errors import InputError
from cspine.settings.layout import RunLayout
from cspine.settings.strict import STRICT

RIDGE = 1.5
"""Pull towards slope 1 and bias 0, which the training loss aims at, as strong as the evidence of about so
many studies: a small set must not bend the values."""


@dataclass(frozen=True, config=STRICT)
class Calibration:
    """From the logits of the ensemble to the values that are submitted.

    value = sigmoid(slope * logit + bias). C1 to C7 share one slope, patient_overall has its own; each of the
    eight has its own bias, since they differ in how often they are broken. `constants` (8,) are submitted for
    a study that could not be predicted.
    """

    level_slope: float
    overall_slope: float
    biases: tuple[float, ...]
    constants: tuple[float, ...]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits into values to submit.

        Parameters
        ----------
        logits : ndarray, shape (..., 8)
            Logits, columns as PREDICTION_TYPES.

        Returns
        -------
        ndarray of float64, shape (..., 8)
            The values.
        """
        logits = np.asarray(logits, dtype=np.float64)
        slopes = np.array([self.level_slope] * len(LEVELS) + [self.overall_slope])
        return expit(slopes * logits + np.array(self.biases))

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
            What `fit` found for this run.

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
        for name, numbers in (("biases", found.biases), ("constants", found.constants)):
            if len(numbers) != len(PREDICTION_TYPES):
                raise InputError(
                    f"{path}: {len(numbers)} {name}, expected {len(PREDICTION_TYPES)}; `make cv` makes it anew"
                )
        return found

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

        def made(parameters: np.ndarray) -> "Calibration":
            level, overall, *biases = (float(value) for value in parameters)
            return cls(level, overall, tuple(biases), tuple(float(value) for value in constants))

        start = np.array([1.0, 1.0] + [0.0] * len(PREDICTION_TYPES))

        def cost(parameters: np.ndarray) -> float:
            values = np.clip(made(parameters).apply(logits), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
            return global_loss(truth, values) + RIDGE / len(truth) * float(((parameters - start) ** 2).sum())

        bounds = [(0.0, 5.0)] * 2 + [(-5.0, 5.0)] * len(PREDICTION_TYPES)
        return made(optimize.minimize(cost, start, method="L-BFGS-B", bounds=bounds).x)


def out_of_fold_values(
    logits: np.ndarray, truth: np.ndarray, folds: np.ndarray, constants: np.ndarray
) -> np.ndarray:
    """Give values of every study, calibrated on the other folds' studies only.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Held-out logits, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels of the same studies, 0 or 1.
    folds : ndarray of int, shape (n,)
        Their folds.
    constants : ndarray, shape (8,)
        As in `Calibration.fit`.

    Returns
    -------
    ndarray of float64, shape (n, 8)
        The values, clipped to [SUBMIT_CLIP, 1 - SUBMIT_CLIP].
    """
    values = np.empty_like(logits, dtype=np.float64)
    for fold in np.unique(folds):
        here = folds == fold
        values[here] = Calibration.fit(logits[~here], truth[~here], constants).apply(logits[here])
    return np.clip(values, SUBMIT_CLIP, 1 - SUBMIT_CLIP)


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
