"""One study drawn: its levels, its probabilities, two levels from above. Grey pictures show the fixed bone window."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy import ndimage

from cspine.competition.labels import LEVELS
from cspine.competition.submission import probability_of
from cspine.evaluation.figures import COLOURS, FRACTURED
from cspine.preprocessing.boxes import BOTTOM, LEFT, LEVEL, RIGHT, TOP, Z
from cspine.preprocessing.column import Column

RING, RING_MM = "#ffd400", 7.0
"""Colour and radius of the ring around what spoke for a fracture."""
NEAR_MM = 1.5
"""A box is drawn on a slice that is no farther away than this, or than a slice distance."""


def study_picture(
    column: Column,
    values: np.ndarray,
    truth: np.ndarray | None = None,
    title: str = "",
    decided_mm: np.ndarray | None = None,
    where_mm: np.ndarray | None = None,
) -> Figure:
    """Draw one study in one picture: where the levels are, what was found, and two levels from above.

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
    decided_mm : ndarray of float, shape (7,), optional
        Column millimetres of the slice that decided in each level; by default an annotated slice, or the middle.
    where_mm : ndarray of float, shape (7, 2), optional
        Column millimetres (y, x) of what spoke for a fracture there; it gets a ring.

    Returns
    -------
    Figure
        The figure.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axes = figure.subplots(1, 5, width_ratios=[1, 1, 0.75, 1, 1])
    for draw, panel in zip(_drawings(column, values, truth, decided_mm, where_mm), axes, strict=True):
        draw(panel)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def study_panels(
    column: Column,
    values: np.ndarray,
    truth: np.ndarray | None = None,
    decided_mm: np.ndarray | None = None,
) -> list[Figure]:
    """Draw the same as `study_picture`, a figure a panel, for a page that may be narrow.

    Parameters
    ----------
    column : Column
        The study's cervical column.
    values : ndarray of float, shape (8,)
        Submitted values.
    truth : ndarray of shape (8,), optional
        Labels.
    decided_mm : ndarray of float, shape (7,), optional
        As in `study_picture`.

    Returns
    -------
    list of Figure
        Sagittal, coronal, probabilities, and two levels from above.
    """
    panels = []
    for draw, width in zip(
        _drawings(column, values, truth, decided_mm), (2.2, 2.2, 2.0, 2.4, 2.4), strict=True
    ):
        figure = Figure(figsize=(width, 2.8), layout="constrained")
        draw(figure.subplots())
        panels.append(figure)
    return panels


def _drawings(
    column: Column,
    values: np.ndarray,
    truth: np.ndarray | None,
    decided_mm: np.ndarray | None,
    where_mm: np.ndarray | None = None,
) -> list[Callable[[Axes], None]]:
    """What draws each of the five panels."""
    probability = probability_of(values)
    middle_x = float(np.median([extent.centre_x_mm for extent in column.extents]))
    # 8 mm in front of the levels' centres the plane goes through the vertebral bodies
    middle_y = float(np.median([extent.centre_y_mm for extent in column.extents])) - 8

    def sagittal(axes: Axes) -> None:
        _plane(axes, column, 2, middle_x)
        axes.set_title("sagittal", fontsize=10)
        for level, extent in enumerate(column.extents):
            height = (extent.top_mm + extent.bottom_mm) / 2
            broken = truth is not None and bool(truth[level])
            name, colour = (f"{LEVELS[level]} ×", FRACTURED) if broken else (LEVELS[level], COLOURS[level])
            axes.text(2, height, name, color=colour, fontsize=9, va="center", fontweight="bold")

    def coronal(axes: Axes) -> None:
        _plane(axes, column, 1, middle_y)
        axes.set_title("coronal", fontsize=10)

    shown = levels_to_show(values, truth)
    return [
        sagittal,
        coronal,
        lambda axes: _bars(axes, probability, truth),
        *(partial(_axial, column=column, level=level, probability=probability[level], truth=truth,
                  decided_mm=None if decided_mm is None else float(decided_mm[level]),
                  where_mm=None if where_mm is None else where_mm[level]) for level in shown),
    ]  # fmt: skip


def levels_to_show(values: np.ndarray, truth: np.ndarray | None) -> list[int]:
    """Choose two levels: truly fractured ones first, the one that was rated lowest leading, then the likeliest.

    Parameters
    ----------
    values : ndarray of float, shape (8,)
        Submitted values.
    truth : ndarray of shape (8,), optional
        Labels.

    Returns
    -------
    list of int
        Two levels, 0-6 for C1-C7.
    """
    likeliest = [int(level) for level in np.argsort(-values[:7], kind="stable")]
    if truth is None:
        return likeliest[:2]
    broken = [level for level in reversed(likeliest) if truth[level] > 0.5]
    return (broken + [level for level in likeliest if level not in broken])[:2]


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
    """The eight probabilities as bars; true fractures are red, hatched and marked with ×."""
    broken = np.zeros(8, bool) if truth is None else truth > 0.5
    colours = [FRACTURED if there else "#7f7f7f" for there in broken]
    bars = axes.barh(np.arange(8), probability, color=colours)
    for bar, there in zip(bars, broken, strict=True):
        bar.set_hatch("//" if there else "")
        bar.set_edgecolor("white" if there else bar.get_facecolor())
    names = [f"{name} ×" if there else name for name, there in zip((*LEVELS, "overall"), broken, strict=True)]
    axes.set_yticks(np.arange(8), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25)  # room for the figure beside the longest bar
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("probability of a fracture", fontsize=8)
    axes.set_title("×: fractured" if truth is not None else "", fontsize=9)
    for row, value in enumerate(probability):
        axes.text(value + 0.03, row, f"{value:.2f}", va="center", fontsize=8)


def _axial(
    axes: Axes,
    column: Column,
    level: int,
    probability: float,
    truth: np.ndarray | None,
    decided_mm: float | None,
    where_mm: np.ndarray | None = None,
) -> None:
    """An axial slice through a level: the one that decided, or through its box, or its middle."""
    boxes = column.boxes[column.boxes[:, LEVEL] == level + 1]
    extent = column.extents[level]
    middle = (extent.top_mm + extent.bottom_mm) / 2
    if decided_mm is None:
        decided_mm, words = (
            (float(boxes[len(boxes) // 2, Z]), "annotated slice") if len(boxes) else (middle, "middle")
        )
    else:
        words = "slice that decided"
    index = int(np.clip(round(decided_mm / column.spacing_mm[0]), 0, len(column.image) - 1))
    height, width = (column.image.shape[axis] * column.spacing_mm[axis] for axis in (1, 2))
    axes.imshow(
        column.image[index],
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, width, height, 0),
        interpolation="bilinear",
    )
    near = boxes[np.abs(boxes[:, Z] - decided_mm) <= max(column.spacing_mm[0], NEAR_MM)]
    if len(near):
        box = near[np.argmin(np.abs(near[:, Z] - decided_mm))]
        top, bottom = np.clip(box[[TOP, BOTTOM]], 0, height)
        left, right = np.clip(box[[LEFT, RIGHT]], 0, width)
        corners = [left, right, right, left, left], [top, top, bottom, bottom, top]
        axes.plot(*corners, color=FRACTURED, linewidth=1.4, linestyle="--")
        words += ", box dashed"
    elif len(boxes):
        words += ", boxes elsewhere"
    if where_mm is not None and np.isfinite(where_mm).all():
        axes.add_patch(Circle((where_mm[1], where_mm[0]), RING_MM, fill=False, color=RING, linewidth=1.4))
        words += ",\nring: what spoke for it"
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    state = "" if truth is None else (", fractured" if truth[level] > 0.5 else ", whole")
    axes.set_title(f"{LEVELS[level]}: {probability:.2f}{state}\n{words}", fontsize=9)
    axes.set_axis_off()
