import io

import numpy as np
import pandas as pd
import pytest
from helpers.hand_made import column
from matplotlib import colors
from PIL import Image

from cspine.competition.labels import LEVELS
from cspine.evaluation import figures
from cspine.evaluation.score_table import score_table

VALUES = np.array([0.1, 0.9, 0.2, 0.1, 0.6, 0.1, 0.1, 0.95])
TRUTH = np.array([0, 1, 0, 0, 0, 0, 0, 1])


def decoded(figure) -> np.ndarray:
    """The pixels of the PNG that a figure becomes."""
    image = Image.open(io.BytesIO(figures.png(figure)))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def test_a_study_picture_shows_the_two_likeliest_levels_and_the_truth():
    figure = figures.study_picture(column((2,)), VALUES, TRUTH, title="a study")
    pixels = decoded(figure)
    assert pixels.shape[0] > 200 and pixels.shape[1] > 600 and pixels.std() > 20
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[3] == f"C2: {0.9 / 1.1:.2f}, fractured"
    assert titles[4] == f"C5: {0.6 / 1.4:.2f}, whole"
    assert figure.get_suptitle() == "a study"
    names = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert set(names) == set(LEVELS) - {"C2"} | {"C2 ×"}
    assert names["C2 ×"] == figures.FRACTURED and figures.FRACTURED not in [
        names[n] for n in names if n != "C2 ×"
    ]
    bars = figure.axes[2].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(VALUES / (2 - VALUES))
    red = colors.to_rgba(figures.FRACTURED)
    assert [bar.get_facecolor() == red for bar in bars] == [bool(there) for there in TRUTH]
    assert len(figure.axes[3].lines) == 1 and len(figure.axes[4].lines) == 0  # the box of C2


def test_a_study_picture_without_truth_claims_none():
    figure = figures.study_picture(column((2,)), VALUES)
    decoded(figure)
    assert not any("fractured" in axes.get_title() or "whole" in axes.get_title() for axes in figure.axes)
    assert {text.get_text() for text in figure.axes[0].texts} == set(LEVELS)


def test_grey_pictures_show_the_fixed_window():
    figure = figures.study_picture(column(), VALUES)
    limits = {image.get_clim() for axes in figure.axes for image in axes.images}
    assert limits == {(0, 255)}


def test_the_reliability_picture_draws_what_happened():
    random = np.random.default_rng(0)
    values = random.uniform(0.05, 0.95, (64, 8))
    figure = figures.reliability_picture(
        values, (random.random((64, 8)) < values / (2 - values)).astype(float)
    )
    decoded(figure)
    for axes, rows in zip(figure.axes, (56, 8), strict=True):
        assert f"8 bins of about {rows} rows" in axes.get_title()
        x, y = axes.lines[1].get_data()
        assert (np.diff(x) > 0).all() and ((y >= 0) & (y <= 1)).all()


def test_the_gain_picture_has_a_bar_for_each_level_and_set():
    truth = np.tile(TRUTH, (4, 1))
    truth[0] = 0
    truth[1] = 1
    better = np.clip(truth * 0.6 + 0.2, 0, 1)
    table = score_table({"one": (truth, better), "two": (truth, better)}, np.full(8, 0.5))
    figure = figures.gain_picture(table)
    decoded(figure)
    assert len(figure.axes[0].patches) == 16
    assert all(bar.get_height() > 0 for bar in figure.axes[0].patches)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["one", "two"]


def test_the_curves_picture_draws_every_fold():
    metrics = {
        f"fold{n}": pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "score": [None, 0.5 + n, 0.4]})
        for n in range(8)
    }
    figure = figures.curves_picture(metrics)
    decoded(figure)
    assert [len(axes.lines) for axes in figure.axes] == [8, 8]
    assert list(figure.axes[0].lines[3].get_ydata()) == [3, 2, 1]
