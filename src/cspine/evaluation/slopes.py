"""The fit below every calibration and blend: slopes and biases that minimise the leaderboard's form."""

import numpy as np
from scipy import optimize
from scipy.special import expit

from cspine.competition.labels import LEVELS, PREDICTION_TYPES, weights_of

RIDGE = 1.5
"""Pull towards slope 1 and bias 0, which the training loss aims at, as strong as the evidence of about so
many studies: a small set must not bend the values."""
STEEPEST, LARGEST_BIAS = 5.0, 5.0
"""Bounds of a fit: slopes from 0 to STEEPEST, biases up to LARGEST_BIAS either way."""
KINDS = (slice(0, len(LEVELS)), slice(len(LEVELS), len(PREDICTION_TYPES)))
"""The columns that share a slope: C1 to C7, and patient_overall."""


def fit_slopes(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the global metric over a slope for each run and kind of column, and a bias for each column.

    What is submitted is sigmoid(sum over runs of slope * logit + bias). No slope is below 0; a ridge pulls
    their sum towards 1, shared evenly, and the biases towards 0. The problem is convex.

    Parameters
    ----------
    logits : ndarray of float, shape (runs, n, 8)
        Logits of one or more runs, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels, 0 or 1.

    Returns
    -------
    slopes : ndarray of float64, shape (2, runs)
        For C1 to C7, and for patient_overall.
    biases : ndarray of float64, shape (8,)
        One a column.
    """
    weight = weights_of(truth)
    weight, runs = weight / weight.sum(), len(logits)
    slopes, biases = np.empty((len(KINDS), runs)), np.empty(len(PREDICTION_TYPES))
    for number, kind in enumerate(KINDS):
        found = _fit_kind(logits[:, :, kind], truth[:, kind], weight[:, kind])
        slopes[number], biases[kind] = found[:runs], found[runs:]
    return slopes, biases


def _fit_kind(logits: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Slopes of all runs, then the biases, for columns that share them; logits (runs, n, columns)."""
    runs, studies, columns = logits.shape
    start = np.concatenate([np.full(runs, 1 / runs), np.zeros(columns)])
    ridge = RIDGE / studies

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        straight = np.tensordot(parameters[:runs], logits, axes=1) + parameters[runs:]
        loss = weight * (np.logaddexp(0, straight) - truth * straight)
        residual = weight * (expit(straight) - truth)
        gradient = np.concatenate([(logits * residual).sum(axis=(1, 2)), residual.sum(axis=0)])
        away = parameters - start
        return float(loss.sum() + ridge * (away**2).sum()), gradient + 2 * ridge * away

    bounds = [(0.0, STEEPEST)] * runs + [(-LARGEST_BIAS, LARGEST_BIAS)] * columns
    tight = {"ftol": 1e-13, "gtol": 1e-9}
    return optimize.minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=tight).x
