"""The way from raw logits to submitted values, a step at a time; a step stays only where it helps for certain.

Every step is fitted on some studies and judged on others: random groups over all folds, so that a fold's own
shift is not held against it, and a study never has a part in its own value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from cspine.competition.labels import weights_of
from cspine.competition.metric import global_loss
from cspine.competition.submission import SUBMIT_CLIP
from cspine.evaluation.averaging import Rehearsal, fit_averaging
from cspine.evaluation.calibration import Calibration, stack_features
from cspine.evaluation.intervals import Estimate, draw_studies, resample

GROUPS, GROUP_SEED = 10, 2022
"""Into how many random groups the studies fall, and the seed of the lot."""
STACK_STRENGTH = 0.1
"""scikit-learn's C of the stacked overall value: small, since its nine features say nearly the same."""

Fit = Callable[[np.ndarray, np.ndarray], Calibration]
"""(logits (n, 8), truth (n, 8)) -> a calibration."""


@dataclass(frozen=True)
class Rung:
    """One step, judged on studies that had no part in its fit."""

    name: str
    score: Estimate
    """The global form."""
    difference: Estimate | None
    """To the last step that was kept; None for the first."""
    kept: bool
    """Whether the whole interval of the difference lies below 0."""


@dataclass(frozen=True)
class Ladder:
    """All steps, and what they led to."""

    rungs: tuple[Rung, ...]
    rehearsals: tuple[Rehearsal, ...]
    """What the correction for the mean of several networks was worth."""
    calibration: Calibration
    """The kept steps, fitted on all studies."""
    values: np.ndarray
    """Out-of-fold values of the kept steps, float64 (n, 8), clipped to [SUBMIT_CLIP, 1 - SUBMIT_CLIP]."""


def random_groups(studies: Sequence[str], groups: int = GROUPS, seed: int = GROUP_SEED) -> np.ndarray:
    """Put every study into a group by lot, the same for the same studies whatever their order.

    Parameters
    ----------
    studies : sequence of str
        StudyInstanceUIDs.
    groups : int
        How many groups; there are no more than studies.
    seed : int
        The seed of the lot.

    Returns
    -------
    ndarray of int64, shape (n,)
        Group of every study; sizes differ by at most 1.
    """
    order = np.argsort(np.array(studies), kind="stable")
    drawn = np.random.default_rng(seed).permutation(len(studies)) % max(min(groups, len(studies)), 1)
    found = np.empty(len(studies), np.int64)
    found[order] = drawn
    return found


def cross_fitted(fit: Fit, logits: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Give every study values by a calibration that was fitted on the other groups.

    Parameters
    ----------
    fit : callable
        The fit.
    logits : ndarray of float, shape (n, 8)
        Held-out logits, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels of the same studies, 0 or 1.
    groups : ndarray of int, shape (n,)
        Group of every study, as from `random_groups`.

    Returns
    -------
    ndarray of float64, shape (n, 8)
        The values, clipped to [SUBMIT_CLIP, 1 - SUBMIT_CLIP].
    """
    values = np.empty(logits.shape, dtype=np.float64)
    for group in np.unique(groups):
        here = groups == group
        values[here] = fit(logits[~here], truth[~here]).apply(logits[here])
    return np.clip(values, SUBMIT_CLIP, 1 - SUBMIT_CLIP)


def climb(logits: np.ndarray, truth: np.ndarray, groups: np.ndarray, constants: np.ndarray) -> Ladder:
    """Take the steps in order and keep those whose paired difference lies wholly below 0.

    Parameters
    ----------
    logits : ndarray of float, shape (n, 8)
        Held-out logits, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels of the same studies, 0 or 1.
    groups : ndarray of int, shape (n,)
        Group of every study, as from `random_groups`.
    constants : ndarray, shape (8,)
        As in `Calibration.raw`.

    Returns
    -------
    Ladder
        The steps and the calibration.
    """
    draws = draw_studies(len(logits))

    def raw(_logits: np.ndarray, _truth: np.ndarray) -> Calibration:
        return Calibration.raw(constants)

    def calibrated(logits: np.ndarray, truth: np.ndarray) -> Calibration:
        return Calibration.fit(logits, truth, constants)

    fit: Fit = raw
    values = cross_fitted(fit, logits, truth, groups)
    best = resample(truth, values, draws)
    rungs = [Rung("raw", best.estimate("global"), None, True)]
    steps: dict[str, Callable[[Fit], Fit]] = {
        "calibrated": lambda _: calibrated,
        "overall at least the largest level": _with_floor,
        "noisy-or mixture": _with_noisy_or,
        "stacked overall": _with_stack,
    }
    for name, step in steps.items():
        tried = step(fit)
        tried_values = cross_fitted(tried, logits, truth, groups)
        found = resample(truth, tried_values, draws)
        difference = found.less(best, "global")
        kept = difference.high < 0
        rungs.append(Rung(name, found.estimate("global"), difference, kept))
        if kept:
            fit, values, best = tried, tried_values, found
    curve, rehearsals = fit_averaging(logits, truth, groups)
    calibration = replace(fit(logits, truth), averaging=curve)
    return Ladder(tuple(rungs), tuple(rehearsals), calibration, values)


def _with_floor(fit: Fit) -> Fit:
    """The patient's value is never below the largest level's."""
    return lambda logits, truth: replace(fit(logits, truth), at_least_largest=True)


def _with_noisy_or(fit: Fit) -> Fit:
    """The share of noisy-or in the patient's probability that scores best."""

    def mixed(logits: np.ndarray, truth: np.ndarray) -> Calibration:
        plain = fit(logits, truth)

        def cost(share: float) -> float:
            values = replace(plain, noisy_or=float(share)).apply(logits)
            return global_loss(truth, np.clip(values, SUBMIT_CLIP, 1 - SUBMIT_CLIP))

        share = optimize.minimize_scalar(cost, bounds=(0.0, 1.0), method="bounded").x
        return replace(plain, noisy_or=float(np.clip(share, 0, 1)))

    return mixed


def _with_stack(fit: Fit) -> Fit:
    """The patient's value by logistic regression on all eight logits and noisy-or."""

    def stacked(logits: np.ndarray, truth: np.ndarray) -> Calibration:
        plain = replace(fit(logits, truth), noisy_or=0.0)
        if len(np.unique(truth[:, 7])) < 2:
            return plain
        features = stack_features(plain.straight(logits))
        regression = LogisticRegression(C=STACK_STRENGTH, solver="newton-cholesky")
        regression.fit(
            features, truth[:, 7], sample_weight=weights_of(truth)[:, 7] / weights_of(truth)[:, 7].mean()
        )
        return replace(plain, stack=(*map(float, regression.coef_[0]), float(regression.intercept_[0])))

    return stacked


def describe_ladder(ladder: Ladder) -> str:
    """Lay the steps out as plain text.

    Parameters
    ----------
    ladder : Ladder
        The steps.

    Returns
    -------
    str
        Two small tables: the steps, then the correction for a mean of networks.
    """
    width = max(len(rung.name) for rung in ladder.rungs)
    lines = [f"{'from logits to values':{width}}  out of fold     to the last kept step   95 % interval"]
    for rung in ladder.rungs:
        figures = f"{rung.score.value:.4f}"
        if rung.difference is not None:
            change = rung.difference
            word = "kept" if rung.kept else "not kept"
            figures += f"          {change.value:+.4f}                 {change.low:+.4f} to {change.high:+.4f}, {word}"
        lines.append(f"{rung.name:{width}}  {figures}")
    lines += [
        "",
        "mean of several networks: what its correction is worth where averaging removes a share of the spread",
    ]
    for one in ladder.rehearsals:
        change, word = one.difference, "helps" if one.kept else "not for certain"
        lines.append(
            f"{100 * one.removed:5.0f} %  {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}), {word}"
        )
    kept = ladder.calibration.averaging.kept_from if ladder.calibration.averaging else None
    lines.append("it is not used" if kept is None else f"it is used from {100 * kept:.0f} % on")
    return "\n".join(lines)
