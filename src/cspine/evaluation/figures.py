"""Pictures of scores, and the colours and marks that all pictures share."""

import io

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.text import Text

from cspine.competition.labels import LEVELS, OVERALL, PREDICTION_TYPES
from cspine.evaluation.calibration import reliability

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
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a $ in the name of a file is no formula
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


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
        Scores, as from `score_table.score_table`.

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
            hatch=("", "//", "..")[number % 3],
            edgecolor="white",
        )
        below = rows["gain_percent"] - rows["gain_low"]
        above = rows["gain_high"] - rows["gain_percent"]
        axes.errorbar(
            positions, rows["gain_percent"], [below, above], fmt="none", ecolor="#444", elinewidth=0.8
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylim(-110, 110)
    axes.set_xticks(np.arange(8), [*LEVELS, "overall"])
    axes.set_ylabel("gain over constants, %")
    axes.legend(frameon=False, fontsize=8)
    return figure


def curves_picture(metrics: dict[str, pd.DataFrame]) -> Figure:
    """Draw the loss of every epoch and every evaluation of every fold.

    Parameters
    ----------
    metrics : dict of str to DataFrame
        A fold's name to its metrics.csv; score is empty in epochs that were not evaluated.

    Returns
    -------
    Figure
        Training loss on the left; held-out scores on the right, with their values where there are few.
    """
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, rows) in enumerate(metrics.items()):
        colour, style = COLOURS[number % len(COLOURS)], ("-", "--", ":", "-.")[number % 4]
        left.plot(rows["epoch"], rows["loss"], linestyle=style, label=name, color=colour)
        judged = rows.dropna(subset="score")
        marker = "osD^vP*"[number % 7]
        right.plot(judged["epoch"], judged["score"], linestyle=style, marker=marker, label=name, color=colour)
        if len(judged) <= 2:
            for row in judged.itertuples():
                right.annotate(
                    f"{row.score:.3f}", (row.epoch, row.score), (6, 4), textcoords="offset points", fontsize=8
                )
    left.set_ylabel("training loss")
    right.set_ylabel("held-out score (lower is better)")
    last = max((rows["epoch"].max() for rows in metrics.values()), default=1)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.set_xlim(0, last * 1.08 + 0.5)
    right.legend(frameon=False, fontsize=8)
    return figure
