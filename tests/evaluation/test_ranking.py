import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from cspine.evaluation.intervals import draw_studies
from cspine.evaluation.ranking import GRID, rank, ranking_panel


def drawn(rows: int = 90, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = (random.random(rows) < 0.3).astype(float)
    values = truth + 1.2 * random.normal(size=rows)
    return (values.round() if ties else values), truth


@pytest.mark.parametrize("ties", [False, True])
def test_figures_are_scikit_learns(ties):
    values, truth = drawn(ties=ties)
    found = rank(values, truth, draw_studies(90, draws=50))
    assert found.auc.value == pytest.approx(roc_auc_score(truth, values))
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, values))
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    assert found.sensitivity.value == pytest.approx(np.interp(0.1, *_highest(false_rate, true_rate)))
    assert 1 - found.specificity.value == pytest.approx(np.interp(0.9, *_lowest(true_rate, false_rate)))
    assert (found.positives, found.rows) == (int(truth.sum()), 90)


def _highest(x, y):
    keep = [max(y[x == one]) for one in np.unique(x)]
    return np.unique(x), keep


def _lowest(x, y):
    keep = [min(y[x == one]) for one in np.unique(x)]
    return np.unique(x), keep


def test_intervals_are_those_of_a_plain_bootstrap():
    values, truth = drawn(60)
    draws = draw_studies(60, draws=200)
    found = rank(values, truth, draws)
    areas, averages = [], []
    for counts in draws.astype(int):
        again = np.repeat(np.arange(60), counts)
        areas.append(roc_auc_score(truth[again], values[again]))
        averages.append(average_precision_score(truth[again], values[again]))
    assert (found.auc.low, found.auc.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))
    expected = tuple(np.quantile(averages, [0.025, 0.975]))
    assert (found.average_precision.low, found.average_precision.high) == pytest.approx(expected)


def test_bands_hold_their_curves_and_end_in_the_corners():
    values, truth = drawn(200)
    found = rank(values, truth, draw_studies(200, draws=200))
    for curve in (found.roc, found.precision):
        assert curve.shape == (3, len(GRID)) and np.isfinite(curve).all()
        assert (curve[1] <= curve[2]).all() and np.mean(
            (curve[1] <= curve[0]) & (curve[0] <= curve[2])
        ) > 0.97
    assert found.roc[0, -1] == 1 and (np.diff(found.roc[0]) >= 0).all()
    assert found.precision[0, -1] >= truth.mean()


def test_a_perfect_ranking_and_none():
    truth = np.repeat([0.0, 1.0], 20)
    best = rank(truth, truth, draw_studies(40, draws=20))
    for figure in (best.auc, best.average_precision, best.sensitivity, best.specificity):
        assert (figure.value, figure.low, figure.high) == (1, 1, 1)
    alike = rank(np.zeros(40), truth, draw_studies(40, draws=20))
    assert alike.auc.value == 0.5 and alike.average_precision.value == 0.5
    assert alike.sensitivity.value == pytest.approx(0.1) and alike.specificity.value == pytest.approx(0.1)


def test_one_class_alone_has_no_ranking():
    found = rank(np.arange(10.0), np.zeros(10), draw_studies(10, draws=20))
    assert np.isnan(found.auc.value) and np.isnan(found.sensitivity.value) and found.positives == 0


def test_the_panel_shows_both_curves_with_their_bands():
    values, truth = drawn()
    figure = ranking_panel("C2", rank(values, truth, draw_studies(90, draws=50)))
    left, right = figure.axes
    assert left.get_title().startswith("C2: AUC 0.") and right.get_title().startswith("average precision 0.")
    assert len(left.collections) == len(right.collections) == 1  # the bands
