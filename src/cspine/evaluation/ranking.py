"""How well values rank fractured before whole ones: ROC, precision and recall, operating points, with intervals."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import auc

from cspine.evaluation.figures import COLOURS
from cspine.evaluation.intervals import Estimate, estimate

GRID = np.linspace(0, 1, 101)
"""Where curves are compared: false positive rates, and recalls."""
OPERATING = 0.9
"""Specificity at which sensitivity is told, and the reverse."""


@dataclass(frozen=True)
class Ranking:
    """What a column's values are worth as a ranking; every figure NaN where one class only occurs."""

    auc: Estimate
    """Area under the ROC curve; ties count half."""
    average_precision: Estimate
    sensitivity: Estimate
    """At a specificity of OPERATING, between the points of the curve."""
    specificity: Estimate
    """At a sensitivity of OPERATING."""
    roc: np.ndarray
    """True positive rate on GRID, and the ends of its 95 % band, float64 (3, 101)."""
    precision: np.ndarray
    """Precision at recalls of GRID, and the ends of its band, float64 (3, 101)."""
    positives: int
    rows: int


def rank(values: np.ndarray, truth: np.ndarray, draws: np.ndarray) -> Ranking:
    """Judge one column.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Anything that rises with the risk; only the order counts.
    truth : ndarray, shape (n,)
        Labels, 0 or 1.
    draws : ndarray of float64, shape (draws, n)
        How often each draw holds each row (rows of one study always together).

    Returns
    -------
    Ranking
        Curves and figures with their 95 % intervals; draws without both classes are left out.
    """
    truth = np.asarray(truth) > 0.5
    counts = np.vstack([np.ones(len(truth)), draws])
    order = np.argsort(-values, kind="stable")
    sorted_values = values[order]
    last_of_tie = np.append(sorted_values[1:] != sorted_values[:-1], True)
    hits = np.cumsum(counts[:, order] * truth[order], axis=1)[:, last_of_tie]
    alarms = np.cumsum(counts[:, order] * ~truth[order], axis=1)[:, last_of_tie]
    usable = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
    figures = np.full((len(counts), 4 + 2 * len(GRID)), np.nan)
    for number in np.flatnonzero(usable):
        figures[number] = _figures_of(hits[number], alarms[number])
    estimates = [estimate(figures[0, column], figures[1:, column]) for column in range(4)]
    curves = []
    for part in (slice(4, 4 + len(GRID)), slice(4 + len(GRID), None)):
        drawn = figures[1:, part][usable[1:]]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if len(drawn) else (figures[0, part],) * 2
        curves.append(np.stack([figures[0, part], low, high]))
    area, average, sensitivity, specificity = estimates
    roc, precision = curves
    return Ranking(area, average, sensitivity, specificity, roc, precision, int(truth.sum()), len(truth))


def _figures_of(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """AUC, average precision, the two operating points, then both curves on GRID; (206,)."""
    recall = np.concatenate([[0.0], hits / hits[-1]])
    false_rate = np.concatenate([[0.0], alarms / alarms[-1]])
    precision = hits / np.maximum(hits + alarms, 1e-12)
    area = float(auc(false_rate, recall))
    average = float((np.diff(recall) * precision).sum())
    sensitivity = np.interp(1 - OPERATING, *_upper(false_rate, recall))
    specificity = 1 - np.interp(OPERATING, *_lower(recall, false_rate))
    return np.concatenate(
        [
            [area, average, sensitivity, specificity],
            np.interp(GRID, *_upper(false_rate, recall)),
            # a recall is first reached at the threshold that reaches it
            precision[np.minimum(np.searchsorted(recall[1:], GRID - 1e-12), len(precision) - 1)],
        ]
    )


def _upper(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A rising curve with the highest y of each x; a curve of steps has many."""
    last = np.append(x[1:] != x[:-1], True)
    return x[last], y[last]


def _lower(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A rising curve with the lowest y of each x."""
    first = np.insert(x[1:] != x[:-1], 0, True)
    return x[first], y[first]


def ranking_panel(name: str, found: Ranking, colour: int = 0) -> Figure:
    """Draw one column's ROC curve, and its precision over recall, each with its 95 % band.

    Parameters
    ----------
    name : str
        The column's name.
    found : Ranking
        What `rank` gave.
    colour : int
        Number of the colour in `figures.COLOURS`; it carries no meaning.

    Returns
    -------
    Figure
        Two small plots side by side.
    """
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    line = COLOURS[colour % len(COLOURS)]
    for axes, curve in ((left, found.roc), (right, found.precision)):
        axes.fill_between(GRID, curve[1], curve[2], color=line, alpha=0.25, linewidth=0)
        axes.plot(GRID, curve[0], color=line)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.tick_params(labelsize=7)
    left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    right.axhline(found.positives / max(found.rows, 1), color="#999999", linewidth=0.8, linestyle=":")
    left.set_title(f"{name}: AUC {found.auc.value:.2f}", fontsize=9)
    right.set_title(f"average precision {found.average_precision.value:.2f}", fontsize=9)
    left.set_xlabel("1 - specificity", fontsize=8)
    left.set_ylabel("sensitivity", fontsize=8)
    right.set_xlabel("recall", fontsize=8)
    right.set_ylabel("precision", fontsize=8)
    return figure
