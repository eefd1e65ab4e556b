"""ROC curves: the area is the share of pairs in the right order, and one class alone has none."""

import io
import warnings

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image

from cspine.competition.labels import PREDICTION_TYPES
from cspine.evaluation import figures
from cspine.evaluation.roc import LINE_STYLES, roc_curves, roc_picture


def drawn(studies: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values with many ties, and a truth that leans on them."""
    random = np.random.default_rng(seed)
    values = random.integers(1, 8, (studies, 8)) / 8
    return values, (random.random((studies, 8)) < values).astype(float)


def ordered_pairs(values: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs (fractured, whole) in which the fractured one has the larger value, ties half."""
    right, pairs = 0.0, 0
    for fractured in range(len(values)):
        for whole in range(len(values)):
            if truth[fractured] == 1 and truth[whole] == 0:
                pairs += 1
                if values[fractured] > values[whole]:
                    right += 1
                elif values[fractured] == values[whole]:
                    right += 0.5
    return right / pairs


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    values, truth = drawn()
    curves = roc_curves(values, truth)
    assert list(curves) == list(PREDICTION_TYPES)
    for number, curve in enumerate(curves.values()):
        expected = ordered_pairs(values[:, number], truth[:, number])
        assert 0.5 < expected < 1
        assert curve.auc == pytest.approx(expected, rel=1e-12)
        below = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
        assert below == pytest.approx(expected, rel=1e-12)
        assert (curve.positives, curve.studies) == (truth[:, number].sum(), 60)


def test_every_point_of_a_curve_is_a_threshold():
    values, truth = drawn()
    for number, curve in enumerate(roc_curves(values, truth).values()):
        fractured, whole = (values[truth[:, number] == kind, number] for kind in (1, 0))
        possible = [(0.0, 0.0)]
        possible += [((whole >= t).mean(), (fractured >= t).mean()) for t in np.unique(values[:, number])]
        points = list(zip(curve.false_positive_rate, curve.true_positive_rate, strict=True))
        assert points[0] == (0, 0) and points[-1] == (1, 1)
        assert all(min(np.abs(np.subtract(possible, point)).sum(axis=1)) < 1e-12 for point in points)


def test_one_class_alone_has_neither_curve_nor_area():
    values, truth = drawn()
    truth[:, 2], truth[:, 5] = 0, 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves = list(roc_curves(values, truth).values())
    for number, positives in ((2, 0), (5, 60)):
        curve = curves[number]
        assert np.isnan(curve.auc) and curve.positives == positives
        assert np.isnan(curve.false_positive_rate).all() and np.isnan(curve.true_positive_rate).all()
    assert not any(np.isnan(curves[number].auc) for number in (0, 1, 3, 4, 6, 7))


@pytest.mark.parametrize(
    ("values", "truth", "message"),
    [
        (np.zeros((3, 7)), np.zeros((3, 7)), "values have shape"),
        (np.zeros((0, 8)), np.zeros((0, 8)), "values have shape"),
        (np.zeros(8), np.zeros(8), "values have shape"),
        (np.zeros((3, 8)), np.zeros((2, 8)), "truth has shape"),
        (np.zeros((3, 8)), np.full((3, 8), 0.5), "other than 0 and 1"),
        (np.zeros((3, 8)), np.full((3, 8), np.nan), "other than 0 and 1"),
    ],
)
def test_other_arrays_are_refused(values, truth, message):
    with pytest.raises(ValueError, match=message):
        roc_curves(values, truth)


def test_the_picture_tells_its_curves_apart_without_colour():
    values, truth = drawn()
    truth[:, 2] = 0
    figure = roc_picture(values, truth)
    assert Image.open(io.BytesIO(figures.png(figure))).format == "PNG"
    lines = figure.axes[0].lines[1:]
    curves = roc_curves(values, truth)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    for line, name, (kind, curve) in zip(lines, names, curves.items(), strict=True):
        assert name == line.get_label()
        np.testing.assert_array_equal(line.get_xdata(), curve.false_positive_rate)
        np.testing.assert_array_equal(line.get_ydata(), curve.true_positive_rate)
        area = "no AUC, one class only" if kind == "C3" else f"AUC {curve.auc:.2f}"
        assert name == f"{kind}: {area} ({curve.positives} of 60)"
    assert len({str(style) for style in LINE_STYLES}) == len(lines) == 8
    assert len({colors.to_hex(line.get_color()) for line in lines}) == 8
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 8
