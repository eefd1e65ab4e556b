"""The README's picture of one study on its way through the pipeline: five panels with arrows between them."""

from typing import Any

import numpy as np
import replica_views as views
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pipeline_study import ShownStudy
from pixel_figures import GREY, INK, SMALL_PX, TEXT_PX, axes_at, blank_figure, write_text
from scipy import ndimage

from cspine.competition.labels import LEVELS
from cspine.evaluation.figures import COLOURS, FRACTURED

PIPELINE_PX, PIPELINE_BYTES = (1600, 624), 600_000
PANELS = {  # title: what it shows, left edge and width in pixels
    "series": ("a sagittal slice", 12, 322),
    "label map": ("C1 to C7 at {:.0f} mm, their box", 380, 322),
    "column": ("the box, cut out", 748, 270),
    "stacks": ("deciding slices", 1064, 238),
    "eight values": ("probability of a fracture", 1348, 240),
}
TOP_PX, PANEL_PX = 88, 480
TITLE_PX = 32
TILE_PX, GAP_PX, TILES_A_ROW = 117, 4, 2
VIEW_MM, ROUND_BOX_MM = 230.0, 16.0  # height shown of a scan, but at least as much around the box
VIEW_AT = 0.54  # the box's middle in the view, 0 the front
FINER = 4  # so many steps a voxel, for outlines without corners
BAR, LIGHT_RED = "#7f7f7f", "#ff6b61"


def draw_pipeline(shown: ShownStudy) -> Figure:
    """Draw a study's way through the pipeline: five panels with arrows between them.

    Parameters
    ----------
    shown : ShownStudy
        What is drawn.

    Returns
    -------
    Figure
        Of PIPELINE_PX pixels.
    """
    figure = blank_figure(PIPELINE_PX)
    panels = {}
    for title, (words, left, width) in PANELS.items():
        write_text(figure, left + width / 2, 32, title, TITLE_PX, ha="center", weight="bold")
        words = words.format(shown.labels_mm[0])  # the label map is coarser than the scan it lies on
        write_text(figure, left + width / 2, 68, words, TEXT_PX, ha="center", color=GREY)
        panels[title] = (left, TOP_PX, width, PANEL_PX)
    edges = list(PANELS.values())
    for (_, left, width), (_, after, _) in zip(edges, edges[1:], strict=False):
        write_text(
            figure, (left + width + after) / 2, TOP_PX + PANEL_PX / 2, "→", 48, ha="center", color=GREY
        )
    _draw_series(axes_at(figure, panels["series"]), shown)
    labelled = axes_at(figure, panels["label map"])
    _draw_series(labelled, shown)
    _draw_labels(labelled, shown)
    _draw_column(axes_at(figure, panels["column"]), shown)
    _draw_slices(figure, panels["stacks"], shown)
    _draw_values(figure, panels["eight values"], shown)
    write_text(
        figure, PIPELINE_PX[0] / 2, PIPELINE_PX[1] - 26, _footer(shown), SMALL_PX, ha="center", color=GREY
    )
    return figure


def _footer(shown: ShownStudy) -> str:
    name, (level, width) = shown.study.rpartition(".")[2], views.BONE
    return (
        f"Synthetic study …{name} of the private test set, chosen because its fracture was found; bone window "
        f"L{level} W{width}; red × = the level that is broken ({LEVELS[shown.broken]})"
    )


def _draw_series(axes: Axes, shown: ShownStudy) -> None:
    """The scan's sagittal plane, as much of it around the column as the panel holds."""
    height, depth = (n * mm for n, mm in zip(shown.series.shape, shown.series_mm, strict=True))
    dz, dy = shown.series_mm
    axes.imshow(
        shown.series, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", aspect="equal",
        extent=(-dy / 2, depth - dy / 2, height - dz / 2, -dz / 2),
    )  # fmt: skip
    box = [n * mm for n, mm in zip(shown.column.shape, shown.column_mm, strict=True)]
    middle_z, middle_y = (start + mm / 2 for start, mm in zip(shown.column_start_mm, box, strict=True))
    wide = PANELS["series"][2] / PANEL_PX
    seen = max(min(height, VIEW_MM), (box[1] + ROUND_BOX_MM) / wide)
    top = _within(middle_z - seen / 2, seen, height) - dz / 2
    left = _within(middle_y - VIEW_AT * seen * wide, seen * wide, depth) - dy / 2
    axes.set_xlim(left, left + seen * wide)
    axes.set_ylim(top + seen, top)


def _within(start: float, size: float, whole: float) -> float:
    """Where a view begins that stays within the whole, or has it in its middle if that is smaller."""
    return (whole - size) / 2 if size > whole else min(max(start, 0.0), whole - size)


def _draw_labels(axes: Axes, shown: ShownStudy) -> None:
    """The levels outlined and named, and the box that is cut out of the scan."""
    z, y = (
        start + np.arange(n) * mm
        for start, n, mm in zip(shown.labels_start_mm, shown.labels.shape, shown.labels_mm, strict=True)
    )
    finer = [np.linspace(axis[0], axis[-1], len(axis) * FINER) for axis in (y, z)]
    for level, name in enumerate(LEVELS):
        here = (shown.labels == level + 1).astype(float)
        if not here.any():
            continue
        smooth = ndimage.zoom(ndimage.gaussian_filter(here, 0.5), FINER, order=1)
        axes.contourf(*finer, smooth, [0.4, 2.0], colors=[COLOURS[level]], alpha=0.3)
        axes.contour(*finer, smooth, [0.4], colors=[_light(level)], linewidths=2.2)
        rows, columns = np.nonzero(here)
        place = (y[columns.min()] - 5, z[round(rows.mean())])
        _label(axes, place, name, _light(level), ha="right", va="center")
    top, left = shown.column_start_mm
    height, width = (n * mm for n, mm in zip(shown.column.shape, shown.column_mm, strict=True))
    box = Rectangle((left, top), width, height, fill=False, edgecolor="white", linestyle="--", linewidth=2)
    axes.add_patch(box)


def _draw_column(axes: Axes, shown: ShownStudy) -> None:
    """The column's sagittal plane, as large as the panel allows."""
    rows, columns = shown.column.shape
    dz, dy = shown.column_mm
    axes.set_facecolor("white")
    axes.imshow(
        shown.column, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", aspect="equal",
        extent=(0, columns * dy, rows * dz, 0),
    )  # fmt: skip


def _draw_slices(figure: Figure, panel: tuple[int, int, int, int], shown: ShownStudy) -> None:
    """One axial slice a level; the broken one framed, with a sign beside its name."""
    left, top = panel[:2]
    for level, name in enumerate(LEVELS):
        row, column = divmod(level, TILES_A_ROW)
        at = (left + column * (TILE_PX + GAP_PX), top + row * (TILE_PX + GAP_PX), TILE_PX, TILE_PX)
        axes = axes_at(figure, at)
        axes.imshow(shown.slices[level], cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        broken = level == shown.broken
        words, colour = (f"{name} ×", LIGHT_RED) if broken else (name, _light(level))
        _label(axes, (0.06, 0.92), words, colour, transform=axes.transAxes, ha="left", va="top")
        if broken:
            frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=FRACTURED, lw=8)
            axes.add_patch(frame)


def _light(level: int) -> tuple[float, ...]:
    """A level's colour on a dark picture."""
    return tuple(0.6 * share + 0.4 for share in COLOURS[level][:3])


def _label(axes: Axes, place: tuple[float, float], text: str, colour: Any, **options: Any) -> None:
    """A bold name with a dark edge, which can be read on bone and on air."""
    drawn = axes.text(*place, text, color=colour, fontsize=TEXT_PX, weight="bold", **options)
    drawn.set_path_effects([patheffects.withStroke(linewidth=3, foreground="black")])


def _draw_values(figure: Figure, panel: tuple[int, int, int, int], shown: ShownStudy) -> None:
    """Eight bars with their figures; the broken level in red, with a sign beside its name."""
    names = 84
    left, top, width, height = panel
    axes = axes_at(figure, (left + names, top, width - names, height))
    axes.set_facecolor("white")
    places = [*range(len(LEVELS)), len(LEVELS) + 0.4]  # the patient stands apart
    colours = [FRACTURED if level == shown.broken else BAR for level in range(len(places))]
    axes.barh(places, shown.probability, 0.62, color=colours)
    axes.plot([0, 0], [-0.5, places[-1] + 0.5], color=INK, linewidth=1.5)
    words = [*LEVELS, "overall"]
    words[shown.broken] += " ×"
    for name, place, value, colour in zip(words, places, shown.probability, colours, strict=True):
        dark, weight = (FRACTURED, "bold") if colour == FRACTURED else (INK, "normal")
        axes.text(-0.05, place, name, ha="right", va="center", fontsize=TEXT_PX, color=dark, weight=weight)
        axes.text(
            value + 0.04, place, f"{value:.2f}", va="center", fontsize=TEXT_PX, color=dark, weight=weight
        )
    axes.set_xlim(0, 1.42)  # room for the figure beside the longest bar
    axes.set_ylim(places[-1] + 0.6, -0.6)
