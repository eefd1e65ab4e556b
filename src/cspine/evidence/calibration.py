"""Fit the step from out-of-fold logits to submitted values, and judge it on studies it was not fitted on."""

import numpy as np
from scipy import optimize

from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import global_loss
from cspine.competition.submission import CLIP
from cspine.inference.ensemble import Calibration

RIDGE = 1.5
"""Pull towards slope 1 and bias 0, which the training loss aims at, as strong as the evidence of about so many
studies: a small set must not bend the values."""


def fit_calibration(logits: np.ndarray, truth: np.ndarray, constants: np.ndarray) -> Calibration:
    """The slopes and biases that minimise the global metric (see `Calibration` for what they are).

    logits, truth: float (n, 8), C1 to C7 then patient_overall. constants: (8,), stored for studies without a
    prediction.
    """

    def made(parameters: np.ndarray) -> Calibration:
        level, overall, *biases = (float(value) for value in parameters)
        return Calibration(level, overall, tuple(biases), tuple(float(value) for value in constants))

    start = np.array([1.0, 1.0] + [0.0] * len(PREDICTION_TYPES))

    def cost(parameters: np.ndarray) -> float:
        values = np.clip(made(parameters).apply(logits), CLIP, 1 - CLIP)
        return global_loss(truth, values) + RIDGE / len(truth) * float(((parameters - start) ** 2).sum())

    bounds = [(0.0, 5.0)] * 2 + [(-5.0, 5.0)] * len(PREDICTION_TYPES)
    return made(optimize.minimize(cost, start, method="L-BFGS-B", bounds=bounds).x)


def out_of_fold_values(
    logits: np.ndarray, truth: np.ndarray, folds: np.ndarray, constants: np.ndarray
) -> np.ndarray:
    """Values (n, 8) of every study, calibrated on the other folds' studies only; folds: int (n,)."""
    values = np.empty_like(logits, dtype=np.float64)
    for fold in np.unique(folds):
        here = folds == fold
        values[here] = fit_calibration(logits[~here], truth[~here], constants).apply(logits[here])
    return np.clip(values, CLIP, 1 - CLIP)


def reliability(values: np.ndarray, truth: np.ndarray, bins: int = 8) -> np.ndarray:
    """Submitted value against what happened, in bins of equal size.

    values, truth: float (n,). A submitted value s stands for the probability s / (2 - s). Returns float64
    (bins, 3): mean probability, share of positives, number of rows; empty bins are left out.
    """
    probability = values / (2 - values)
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return np.array([(probability[part].mean(), truth[part].mean(), len(part)) for part in parts])
