"""Pictures of studies and scores, as PNG bytes. Every grey picture shows the fixed bone window."""

import io

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from cspine.competition.labels import LEVELS, OVERALL, PREDICTION_TYPES
from cspine.competition.submission import probability_of
from cspine.evaluation.calibration import reliability
from cspine.preprocessing.boxes import BOTTOM, LEFT, LEVEL, RIGHT, TOP, Z
from cspine.preprocessing.column import Column

COLOURS = [colormaps["tab10"](number) for number in (0, 1, 2, 4, 5, 6, 8)]
"""One colour a level, C1 to C7; none is the red of a fracture."""
FRACTURED = "#d62728"


def png(figure: Figure) -> bytes:
    """Give a figure as PNG.

    Parameters
    ----------
    figure : Figure
        The figure.

    Returns
    -------
    bytes
        The PNG file's content.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def study_picture(
    column: Column, values: np.ndarray, truth: np.ndarray | None = None, title: str = ""
) -> Figure:
    """Draw one study: where the levels are, what was found, and the two levels most likely broken.

    Parameters
    ----------
    column : Column
        The study's cervical column.
    values : ndarray of float, shape (8,)
        Submitted values v, drawn as probabilities v / (2 - v).
    truth : ndarray of shape (8,), optional
        Labels, marked where given.
    title : str
        The figure's title; "" for none.

    Returns
    -------
    Figure
        The figure.
    """
    probability = probability_of(values)
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    sagittal, coronal, bars, first, second = figure.subplots(1, 5, width_ratios=[1, 1, 0.75, 1, 1])
    middle_x = float(np.median([extent.centre_x_mm for extent in column.extents]))
    # 8 mm in front of the levels' centres the plane goes through the vertebral bodies
    middle_y = float(np.median([extent.centre_y_mm for extent in column.extents])) - 8
    _plane(sagittal, column, 2, middle_x)
    sagittal.set_title("sagittal")
    _plane(coronal, column, 1, middle_y)
    coronal.set_title("coronal")
    for level, extent in enumerate(column.extents):
        height = (extent.top_mm + extent.bottom_mm) / 2
        broken = truth is not None and bool(truth[level])
        name, colour = (f"{LEVELS[level]} ×", FRACTURED) if broken else (LEVELS[level], COLOURS[level])
        sagittal.text(2, height, name, color=colour, fontsize=9, va="center", fontweight="bold")
    _bars(bars, probability, truth)
    for axes, level in zip((first, second), np.argsort(-probability[:7], kind="stable")[:2], strict=True):
        _axial(axes, column, int(level), probability[level], truth)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _plane(axes: Axes, column: Column, axis: int, position_mm: float) -> None:
    """A sagittal (axis 2) or coronal (axis 1) plane with the outlines of the label map."""
    index = int(np.clip(round(position_mm / column.spacing_mm[axis]), 0, column.image.shape[axis] - 1))
    other = 1 if axis == 2 else 2
    extent = (
        0,
        column.image.shape[other] * column.spacing_mm[other],
        column.image.shape[0] * column.spacing_mm[0],
        0,
    )
    axes.imshow(
        column.image.take(index, axis), cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear"
    )
    origin, spacing = column.label_origin_mm, column.label_spacing_mm
    at = int(np.clip(round((position_mm - origin[axis]) / spacing[axis]), 0, column.labels.shape[axis] - 1))
    labels = column.labels.take(at, axis)
    z = origin[0] + np.arange(labels.shape[0]) * spacing[0]
    across = origin[other] + np.arange(labels.shape[1]) * spacing[other]
    for level in range(7):
        here = (labels == level + 1).astype(float)
        if here.any():
            smooth = ndimage.gaussian_filter(here, 0.5)
            axes.contour(across, z, smooth, [0.4], colors=[COLOURS[level]], linewidths=1.2)
    axes.set_axis_off()


def _bars(axes: Axes, probability: np.ndarray, truth: np.ndarray | None) -> None:
    """The eight probabilities as bars, the true fractures in red."""
    broken = np.zeros(8, bool) if truth is None else truth > 0.5
    colours = [FRACTURED if there else "#7f7f7f" for there in broken]
    axes.barh(np.arange(8), probability, color=colours)
    axes.set_yticks(np.arange(8), [*LEVELS, "overall"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25)  # room for the figure beside the longest bar
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("probability of a fracture")
    axes.set_title("red: fractured" if truth is not None else "", fontsize=9)
    for row, value in enumerate(probability):
        axes.text(value + 0.03, row, f"{value:.2f}", va="center", fontsize=8)


def _axial(axes: Axes, column: Column, level: int, probability: float, truth: np.ndarray | None) -> None:
    """An axial slice through a level, through its box if it has one."""
    boxes = column.boxes[column.boxes[:, LEVEL] == level + 1]
    extent = column.extents[level]
    box = boxes[len(boxes) // 2] if len(boxes) else None
    height = (extent.top_mm + extent.bottom_mm) / 2 if box is None else box[Z]
    index = int(np.clip(round(height / column.spacing_mm[0]), 0, len(column.image) - 1))
    size = (0, column.image.shape[2] * column.spacing_mm[2], column.image.shape[1] * column.spacing_mm[1], 0)
    axes.imshow(column.image[index], cmap="gray", vmin=0, vmax=255, extent=size, interpolation="bilinear")
    if box is not None:
        top, left, bottom, right = box[[TOP, LEFT, BOTTOM, RIGHT]]
        axes.plot(
            [left, right, right, left, left], [top, top, bottom, bottom, top], color=FRACTURED, linewidth=1
        )
    state = "" if truth is None else (", fractured" if truth[level] > 0.5 else ", whole")
    axes.set_title(f"{LEVELS[level]}: {probability:.2f}{state}", fontsize=10)
    axes.set_axis_off()


def reliability_picture(values: np.ndarray, truth: np.ndarray) -> Figure:
    """Is a probability what it says?

    Parameters
    ----------
    values : ndarray of float, shape (n, 8)
        Submitted values, out of fold.
    truth : ndarray of float, shape (n, 8)
        Labels of the same studies, 0 or 1.

    Returns
    -------
    Figure
        Predicted probability against the share of fractures, for the levels and for patient_overall.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    parts = {"C1 to C7": slice(0, 7), OVERALL: slice(7, 8)}
    for axes, (name, part) in zip(figure.subplots(1, 2), parts.items(), strict=True):
        rows = reliability(values[:, part].ravel(), truth[:, part].ravel())
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        axes.plot(rows[:, 0], rows[:, 1], "o-", color=COLOURS[0])
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share that is fractured")
        axes.set_title(f"{name}: {len(rows)} bins of about {int(rows[:, 2].mean())} rows", fontsize=10)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    return figure


def gain_picture(table: pd.DataFrame) -> Figure:
    """Draw the gain over the best constants, level by level.

    Parameters
    ----------
    table : DataFrame
        Scores, as from `scoring.score_table`.

    Returns
    -------
    Figure
        Bars for every set of studies.
    """
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    axes = figure.subplots()
    sets = list(dict.fromkeys(table["set"]))
    for number, name in enumerate(sets):
        rows = table[table["set"] == name].set_index("score").loc[list(PREDICTION_TYPES)]
        positions = np.arange(8) + (number - (len(sets) - 1) / 2) * 0.8 / len(sets)
        axes.bar(
            positions,
            rows["gain_percent"],
            0.8 / len(sets),
            label=name,
            color=colormaps["Blues"](0.4 + 0.25 * number),
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(8), [*LEVELS, "overall"])
    axes.set_ylabel("gain over constants, %")
    axes.legend(frameon=False, fontsize=8)
    return figure


def curves_picture(metrics: dict[str, pd.DataFrame]) -> Figure:
    """Draw loss and held-out score of every fold over its epochs.

    Parameters
    ----------
    metrics : dict of str to DataFrame
        A fold's name to its metrics.csv.

    Returns
    -------
    Figure
        The curves, loss on the left and score on the right.
    """
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, rows) in enumerate(metrics.items()):
        colour = COLOURS[number % len(COLOURS)]
        left.plot(rows["epoch"], rows["loss"], "o-", label=name, color=colour, markersize=3)
        right.plot(rows["epoch"], rows["score"], "o-", label=name, color=colour, markersize=3)
    left.set_ylabel("training loss")
    right.set_ylabel("held-out score (lower is better)")
    for axes in (left, right):
        axes.set_xlabel("epoch")
    right.legend(frameon=False, fontsize=8)
    return figure
