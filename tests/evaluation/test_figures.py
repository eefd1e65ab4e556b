import io

import numpy as np
import pandas as pd
from PIL import Image

from cspine.evaluation import figures
from cspine.evaluation.score_table import score_table

VALUES = np.array([0.1, 0.9, 0.2, 0.1, 0.6, 0.1, 0.1, 0.95])
TRUTH = np.array([0, 1, 0, 0, 0, 0, 0, 1])


def decoded(figure) -> np.ndarray:
    """The pixels of the PNG that a figure becomes."""
    image = Image.open(io.BytesIO(figures.png(figure)))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


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
    assert len({bar.get_hatch() for bar in figure.axes[0].patches}) == 2
    assert all(bar.get_height() > 0 for bar in figure.axes[0].patches)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["one", "two"]


def test_the_curves_picture_draws_every_epoch_and_every_evaluation():
    metrics = {
        f"fold{n}": pd.DataFrame(
            {"epoch": [1, 2, 3, 4], "loss": [3.0, 2, 1, 0.5], "score": [None, 0.5 + n, None, 0.4]}
        )
        for n in range(8)
    }
    figure = figures.curves_picture(metrics)
    decoded(figure)
    left, right = figure.axes
    assert [len(axes.lines) for axes in (left, right)] == [8, 8]
    assert list(left.lines[3].get_ydata()) == [3, 2, 1, 0.5]
    assert list(right.lines[3].get_xdata()) == [2, 4] and list(right.lines[3].get_ydata()) == [3.5, 0.4]
    assert "3.500" in {text.get_text() for text in right.texts}  # few evaluations are told in figures
    ways = {(line.get_color(), line.get_linestyle()) for line in left.lines}
    assert len(ways) == 8  # never told apart by colour alone
