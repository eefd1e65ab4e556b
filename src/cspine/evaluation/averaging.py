"""From single networks to their mean: averaging removes noise, so a mean's logits need steeper slopes.

Held-out logits come from one network each, submitted ones are the mean of several. How much noise the mean is
rid of shows in how much the networks differ on studies that none of them saw; no labels are needed for that.
The held-out logits are then moved as if that noise were gone (moment reconstruction: Freedman et al., A New
Method for Dealing with Measurement Error in Explanatory Variables of Regression Models, Biometrics 2004;60:172),
and the calibration is fitted on what they become.
"""

from collections.abc import Sequence

import numpy as np
from pydantic.dataclasses import dataclass
from scipy.special import expit

from cspine.competition.labels import LEVELS
from cspine.competition.submission import SUBMIT_CLIP
from cspine.evaluation.intervals import Estimate, draw_studies, estimate, resample
from cspine.evaluation.slopes import KINDS, fit_slopes
from cspine.settings.strict import STRICT

REMOVED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Shares of the spread within a class for which the fit is made; in between it is interpolated."""
STEEPEST = 2.0
"""A slope is at most multiplied by this."""
ENOUGH_STUDIES = 50
"""Unseen studies from which the networks' differences are taken at all."""
REHEARSALS = 4
"""How often noise is drawn for each share."""


@dataclass(frozen=True, config=STRICT)
class FoldNoise:
    """How much single networks differ from their mean on studies that none of them saw."""

    level: float
    """Variance of a network's logit around the mean of endlessly many, mean of C1 to C7."""
    overall: float
    """The same of patient_overall."""
    networks: int
    studies: int

    @classmethod
    def measure(cls, fold_logits: np.ndarray) -> "FoldNoise | None":
        """Measure it.

        Parameters
        ----------
        fold_logits : ndarray of float, shape (studies, networks, 8)
            Each network's logits, columns as PREDICTION_TYPES.

        Returns
        -------
        FoldNoise or None
            None for a single network, and for fewer studies than ENOUGH_STUDIES.
        """
        studies, networks, _ = fold_logits.shape
        if networks < 2 or studies < ENOUGH_STUDIES:
            return None
        variance = fold_logits.var(axis=1, ddof=1).mean(axis=0)
        level, overall = (float(variance[kind].mean()) for kind in KINDS)
        return cls(level, overall, networks, studies)

    def removed(self) -> tuple[float, float]:
        """Tell what the mean of the networks is rid of.

        Returns
        -------
        tuple of float
            Variance of the levels' logits and of patient_overall's.
        """
        share = 1 - 1 / self.networks
        return self.level * share, self.overall * share


@dataclass(frozen=True, config=STRICT)
class AveragingCurve:
    """Slopes and biases as they would be if a share of the held-out logits' spread were gone."""

    removed: tuple[float, ...]
    """Shares of the variance within a class, from 0 upwards."""
    slopes: tuple[tuple[float, float], ...]
    """The levels' slope and patient_overall's, for each share."""
    biases: tuple[tuple[float, ...], ...]
    """Eight biases, for each share."""
    variances: tuple[float, float]
    """Of held-out logits within a class: levels', patient_overall's."""
    kept_from: float | None
    """The least share from which the correction was seen to help on held-out studies; None: it never was."""

    def correct(
        self, noise: FoldNoise, slopes: tuple[float, float], biases: tuple[float, ...]
    ) -> tuple[tuple[float, float], tuple[float, ...]]:
        """Give the slopes and biases for a mean of networks.

        Parameters
        ----------
        noise : FoldNoise
            How much the networks differ.
        slopes : tuple of float
            For single networks: the levels' slope and patient_overall's.
        biases : tuple of float
            For single networks: eight biases.

        Returns
        -------
        slopes : tuple of float
            Those of the curve where the correction is kept, from the curve's own at 0 to STEEPEST times that.
        biases : tuple of float
            With them.
        """
        by_share, curve = np.array(self.slopes), np.array(self.biases)
        new_slopes, new_biases = list(slopes), list(biases)
        for number, (kind, share) in enumerate(zip(KINDS, self.shares(noise), strict=True)):
            if self.kept_from is None or share < self.kept_from:
                continue
            single = by_share[0, number]
            steeper = np.interp(share, self.removed, by_share[:, number])
            new_slopes[number] = float(np.clip(steeper, single, STEEPEST * single))
            for column in range(kind.start, kind.stop):
                new_biases[column] = float(np.interp(share, self.removed, curve[:, column]))
        return (new_slopes[0], new_slopes[1]), tuple(new_biases)

    def shares(self, noise: FoldNoise) -> tuple[float, float]:
        """Tell which share of the held-out logits' spread within a class a mean is rid of.

        Parameters
        ----------
        noise : FoldNoise
            How much the networks differ.

        Returns
        -------
        tuple of float
            Levels' share and patient_overall's, at most the largest of `removed`.
        """
        pairs = zip(noise.removed(), self.variances, strict=True)
        level, overall = (min(gone / max(spread, 1e-12), self.removed[-1]) for gone, spread in pairs)
        return level, overall


@dataclass(frozen=True)
class Rehearsal:
    """What the correction was worth when held-out logits were made noisier by a known amount."""

    removed: float
    """The share of the spread that the correction had to take back."""
    difference: Estimate
    """Global form with the correction less without it."""
    kept: bool
    """Whether it helps beyond its interval."""


def within_class_variances(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Give the spread of logits around the mean of their column and class.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Logits, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels, 0 or 1.

    Returns
    -------
    tuple of float
        Variance of the levels, pooled, and of patient_overall; ddof is the number of means.
    """
    residual = logits - class_means(logits, truth)
    classes = [sum(len(np.unique(truth[:, c])) for c in range(kind.start, kind.stop)) for kind in KINDS]
    level, overall = (
        float((residual[:, kind] ** 2).sum() / max(residual[:, kind].size - count, 1))
        for kind, count in zip(KINDS, classes, strict=True)
    )
    return level, overall


def class_means(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Give each logit the mean of its column and class.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Logits, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels, 0 or 1.

    Returns
    -------
    ndarray of float64, shape (n, 8)
        The means.
    """
    means = np.zeros(logits.shape)
    for label in (0, 1):
        here = truth == label
        total = np.where(here, logits, 0.0).sum(axis=0) / np.maximum(here.sum(axis=0), 1)
        means += here * total
    return means


def without_noise(logits: np.ndarray, truth: np.ndarray, removed: float) -> np.ndarray:
    """Move held-out logits towards their class's mean as if a share of their variance were gone.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Logits of single networks, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels, 0 or 1.
    removed : float
        The share of the variance within a class, in [0, 1).

    Returns
    -------
    ndarray of float64, shape (n, 8)
        Logits with the same means and the remaining variance.
    """
    means = class_means(logits, truth)
    return means + np.sqrt(1 - removed) * (logits - means)


def fit_averaging(
    logits: np.ndarray, truth: np.ndarray, groups: np.ndarray
) -> tuple[AveragingCurve, list[Rehearsal]]:
    """Fit slopes and biases for every share, and rehearse which shares are worth a correction.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Held-out logits of single networks, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels of the same studies, 0 or 1.
    groups : ndarray of int, shape (n,)
        Group of every study; a study is judged by fits on the other groups.

    Returns
    -------
    curve : AveragingCurve
        The fits, and from which share on they are used.
    rehearsals : list of Rehearsal
        One for each share above 0.
    """
    fits = [fit_slopes(without_noise(logits, truth, share)[None], truth) for share in REMOVED]
    rehearsals = [rehearse(logits, truth, groups, share) for share in REMOVED[1:]]
    curve = AveragingCurve(
        removed=REMOVED,
        slopes=tuple((float(slopes[0, 0]), float(slopes[1, 0])) for slopes, _ in fits),
        biases=tuple(tuple(biases.tolist()) for _, biases in fits),
        variances=within_class_variances(logits, truth),
        kept_from=_kept_from(rehearsals),
    )
    return curve, rehearsals


def _kept_from(rehearsals: Sequence[Rehearsal]) -> float | None:
    """The least share from which all larger ones are kept too."""
    least = None
    for one in reversed(rehearsals):
        if not one.kept:
            break
        least = one.removed
    return least


def rehearse(logits: np.ndarray, truth: np.ndarray, groups: np.ndarray, removed: float) -> Rehearsal:
    """Play the correction through where the truth is known: held-out logits stand for the mean of many.

    Noise is added to them, so that they are to what they become as a mean is to a single network. The
    calibration is fitted on the noisy ones, with and without the correction, and judged on the quiet ones of
    studies that had no part in the fit.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Held-out logits, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels of the same studies, 0 or 1.
    groups : ndarray of int, shape (n,)
        Group of every study.
    removed : float
        The share of the noisy logits' variance within a class that is noise.

    Returns
    -------
    Rehearsal
        The paired difference and its interval.
    """
    spread = within_class_variances(logits, truth)
    deviation = np.sqrt(np.repeat(spread, [len(LEVELS), 1]) * removed / (1 - removed))
    draws = draw_studies(len(logits))
    differences = []
    for number in range(REHEARSALS):
        random = np.random.default_rng((number, round(100 * removed)))
        noisy = logits + deviation * random.normal(size=logits.shape)
        plain, corrected = np.empty(logits.shape), np.empty(logits.shape)
        for group in np.unique(groups):
            here = groups == group
            known, labels = noisy[~here], truth[~here]
            quiet = without_noise(known, labels, removed)
            plain[here] = _values(fit_slopes(known[None], labels), logits[here])
            corrected[here] = _values(fit_slopes(quiet[None], labels), logits[here])
        pair = [resample(truth, values, draws) for values in (corrected, plain)]
        differences.append((pair[0].values[0] - pair[1].values[0], pair[0].draws[:, 0] - pair[1].draws[:, 0]))
    value, drawn = (np.mean([one[part] for one in differences], axis=0) for part in (0, 1))
    found = estimate(float(value), drawn)
    return Rehearsal(removed, found, found.high < 0)


def _values(fit: tuple[np.ndarray, np.ndarray], logits: np.ndarray) -> np.ndarray:
    """Values (n, 8) to submit, from the slopes and biases of one run."""
    slopes, biases = fit
    by_column = np.repeat(slopes[:, 0], [len(LEVELS), 1])
    return np.clip(expit(by_column * logits + biases), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
