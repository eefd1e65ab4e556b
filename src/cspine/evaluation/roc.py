"""ROC curves: how well values tell fractured from whole, whatever the scale they are on."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from cspine.competition.labels import OVERALL, PREDICTION_TYPES
from cspine.evaluation.figures import COLOURS

OVERALL_COLOUR = "black"
LINE_STYLES = (
    (0, (1, 1)),
    (0, (5, 1)),
    (0, (5, 1, 1, 1)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (2, 3)),
    (0, (7, 4)),
    (0, (7, 3, 1, 3)),
    "solid",
)
"""One dash pattern a prediction type, so that the curves can be told apart without their colours."""


@dataclass(frozen=True)
class RocCurve:
    """How one prediction type's values rank its studies.

    false_positive_rate, true_positive_rate: float64 (points,), from (0, 0) to (1, 1), one point for each
    threshold at which the curve turns. auc: area below it, the share of pairs (fractured, whole) in the right
    order, ties half. Where only one class occurs there is no such pair, and all three are NaN.
    positives, studies: how many studies are fractured, and how many there are.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    auc: float
    positives: int
    studies: int


def roc_curves(values: np.ndarray, truth: np.ndarray) -> dict[str, RocCurve]:
    """Give the ROC curve of every level and of patient_overall.

    Parameters
    ----------
    values : ndarray of float, shape (n, 8)
        Submitted values or probabilities, columns as PREDICTION_TYPES; only their order within a column counts.
    truth : ndarray of float, shape (n, 8)
        Labels, 0 or 1.

    Returns
    -------
    dict of str to RocCurve
        By prediction type, in the order of PREDICTION_TYPES.

    Raises
    ------
    ValueError
        If the shapes are others, if there is no study, or if a label is neither 0 nor 1.
    """
    values, truth = np.asarray(values, dtype=np.float64), np.asarray(truth)
    if values.ndim != 2 or values.shape[1] != len(PREDICTION_TYPES) or not len(values):
        raise ValueError(
            f"values have shape {values.shape}; expected (n, {len(PREDICTION_TYPES)}) with n > 0"
        )
    if truth.shape != values.shape:
        raise ValueError(f"truth has shape {truth.shape}; expected {values.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("truth holds values other than 0 and 1")
    return {kind: _curve(values[:, n], truth[:, n]) for n, kind in enumerate(PREDICTION_TYPES)}


def _curve(values: np.ndarray, truth: np.ndarray) -> RocCurve:
    """The curve of one column; values, truth: (n,)."""
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        nothing = np.full(2, np.nan)
        return RocCurve(nothing, nothing, float("nan"), positives, len(truth))
    false_positive, true_positive, _ = roc_curve(truth, values)
    return RocCurve(false_positive, true_positive, float(roc_auc_score(truth, values)), positives, len(truth))


def roc_picture(values: np.ndarray, truth: np.ndarray) -> Figure:
    """Draw the ROC curves of all levels and of patient_overall, with their AUC.

    Parameters
    ----------
    values : ndarray of float, shape (n, 8)
        Submitted values or probabilities, columns as PREDICTION_TYPES.
    truth : ndarray of float, shape (n, 8)
        Labels, 0 or 1.

    Returns
    -------
    Figure
        One curve a prediction type; one of which only one class occurs is in the legend alone.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    parts = zip(roc_curves(values, truth).items(), [*COLOURS, OVERALL_COLOUR], LINE_STYLES, strict=True)
    for (kind, curve), colour, style in parts:
        area = "no AUC, one class only" if np.isnan(curve.auc) else f"AUC {curve.auc:.2f}"
        axes.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=colour,
            linestyle=style,
            linewidth=2.2 if kind == OVERALL else 1.6,
            label=f"{kind}: {area} ({curve.positives} of {curve.studies})",
        )
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("share of whole ones called fractured (1 - specificity)")
    axes.set_ylabel("share of fractured ones found (sensitivity)")
    axes.legend(
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=8,
        handlelength=4,
        title="(fractured of all)",
        title_fontsize=8,
    )
    return figure
