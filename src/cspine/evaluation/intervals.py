"""Intervals of scores: the studies are drawn again with replacement, and each score follows from sums per study.

One study is one patient. An interval covers the choice of the studies, not that of the training's seeds: another
training of the same recipe may lie outside of it.
"""

from dataclasses import dataclass

import numpy as np

from cspine.competition.labels import PREDICTION_TYPES, WEIGHTS
from cspine.competition.metric import FORMS, weighted_losses

DRAWS, SEED = 1000, 2022
"""How often the studies are drawn, and the seed of the draws."""
CONFIDENCE = 0.95
SCORES = (*FORMS, *PREDICTION_TYPES)
"""What is scored: the three forms of the metric, then each level and patient_overall."""


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Tell whether a value lies outside of the interval.

        Parameters
        ----------
        value : float
            The value, such as a difference of 0.

        Returns
        -------
        bool
            True if the interval lies wholly above it or wholly below it.
        """
        return self.low > value or self.high < value


@dataclass(frozen=True)
class Resampled:
    """Scores of one prediction on one set of studies, and on sets drawn from it; lower is better."""

    values: np.ndarray
    """Float64 (11,), in the order of SCORES."""
    draws: np.ndarray
    """Float64 (draws, 11)."""

    def estimate(self, score: str) -> Estimate:
        """Give a score with its interval.

        Parameters
        ----------
        score : str
            One of SCORES.

        Returns
        -------
        Estimate
            The score.
        """
        number = SCORES.index(score)
        return estimate(self.values[number], self.draws[:, number])

    def less(self, other: "Resampled", score: str) -> Estimate:
        """Give the paired difference to another prediction on the same studies.

        Parameters
        ----------
        other : Resampled
            The other one, with the same draws.
        score : str
            One of SCORES.

        Returns
        -------
        Estimate
            This score less the other; below 0 this prediction is the better one.
        """
        number = SCORES.index(score)
        return estimate(
            self.values[number] - other.values[number], self.draws[:, number] - other.draws[:, number]
        )

    def gain_percent(self, other: "Resampled", score: str) -> Estimate:
        """Give the paired gain over another prediction on the same studies.

        Parameters
        ----------
        other : Resampled
            What has to be beaten, with the same draws.
        score : str
            One of SCORES.

        Returns
        -------
        Estimate
            100 * (1 - this score / the other).
        """
        number = SCORES.index(score)
        return estimate(
            100 * (1 - self.values[number] / other.values[number]),
            100 * (1 - self.draws[:, number] / other.draws[:, number]),
        )


def draw_studies(studies: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """Draw a set of studies again and again, with replacement.

    Predictions that are to be compared need the same draws: call this once for them all.

    Parameters
    ----------
    studies : int
        How many studies there are.
    draws : int
        How often they are drawn.
    seed : int
        The seed; the same one gives the same draws.

    Returns
    -------
    ndarray of float64, shape (draws, studies)
        How many times each draw holds each study.
    """
    drawn = np.random.default_rng(seed).integers(studies, size=(draws, studies))
    drawn += studies * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * studies).reshape(draws, studies).astype(np.float64)


def resample(truth: np.ndarray, prediction: np.ndarray, draws: np.ndarray) -> Resampled:
    """Score a prediction on all studies and on each draw.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1, columns as PREDICTION_TYPES.
    prediction : ndarray, shape (n, 8)
        Values of the same studies.
    draws : ndarray of float64, shape (draws, n)
        As from `draw_studies`.

    Returns
    -------
    Resampled
        The scores.

    Raises
    ------
    ValueError
        For arrays that the metric refuses.
    """
    loss, weight = weighted_losses(truth, prediction)
    sums = np.column_stack([loss, weight, loss.sum(axis=1) / weight.sum(axis=1)])  # (n, 17)
    return Resampled(_scores(sums.sum(axis=0)[None], len(sums))[0], _scores(draws @ sums, len(sums)))


def _scores(sums: np.ndarray, studies: int) -> np.ndarray:
    """All SCORES (sets, 11) from each set's sums (sets, 17): losses, weights, mean losses of the studies."""
    loss, weight, row = sums[:, :8], sums[:, 8:16], sums[:, 16] / studies
    levels = loss / weight
    of_forms = {
        "global": loss.sum(axis=1) / weight.sum(axis=1),
        "row": row,
        "column": np.average(levels, axis=1, weights=WEIGHTS[0]),
    }
    return np.column_stack([*(of_forms[form] for form in FORMS), levels])


def estimate(value: float, draws: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Put a figure and its draws together: the interval lies between two quantiles of the draws.

    Parameters
    ----------
    value : float
        The figure on all studies.
    draws : ndarray of float, shape (draws,)
        The same figure on each draw; NaN (a draw without a fracture, say) is left out.
    confidence : float
        The share of draws inside of the interval.

    Returns
    -------
    Estimate
        The figure and its interval; NaN where there is no usable draw.
    """
    usable = draws[np.isfinite(draws)]
    if not len(usable):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(low), float(high))


def lower_bound(draws: np.ndarray, confidence: float = CONFIDENCE) -> float:
    """Give the one-sided lower bound of a figure.

    Parameters
    ----------
    draws : ndarray of float, shape (draws,)
        The figure on each draw.
    confidence : float
        The share of draws above it.

    Returns
    -------
    float
        The bound.
    """
    return float(np.quantile(draws, 1 - confidence))
