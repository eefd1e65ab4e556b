import numpy as np
import pytest
from scipy import stats

from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import FORMS, level_losses
from cspine.evaluation.intervals import (
    SCORES,
    Estimate,
    draw_studies,
    estimate,
    lower_bound,
    resample,
)


def drawn(studies: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A truth and two predictions of it, the second better."""
    random = np.random.default_rng(seed)
    truth = (random.random((studies, 8)) < 0.3).astype(int)
    poor = np.clip(random.random((studies, 8)), 0.01, 0.99)
    return truth, poor, np.clip(0.4 * truth + 0.6 * poor, 0.01, 0.99)


def test_draws_hold_as_many_studies_as_there_are_and_follow_the_seed():
    draws = draw_studies(37, draws=200)
    assert draws.shape == (200, 37) and (draws.sum(axis=1) == 37).all()
    # each study is in a draw once on average, as a Poisson number would be
    assert draws.mean() == 1 and draws.var() == pytest.approx(36 / 37, rel=0.03)
    np.testing.assert_array_equal(draws, draw_studies(37, draws=200))
    assert (draws != draw_studies(37, draws=200, seed=1)).any()


def test_scores_from_sums_are_the_metrics_own_on_every_draw():
    truth, prediction, _ = drawn()
    draws = draw_studies(60, draws=20)
    found = resample(truth, prediction, draws)
    for row, counts in zip([found.values, *found.draws], [np.ones(60, int), *draws.astype(int)], strict=True):
        again = np.repeat(np.arange(60), counts)
        expected = [loss(truth[again], prediction[again]) for loss in FORMS.values()]
        expected += list(level_losses(truth[again], prediction[again]))
        np.testing.assert_allclose(row, expected, rtol=1e-12)
    assert (*FORMS, *PREDICTION_TYPES) == SCORES


@pytest.mark.parametrize("form", FORMS)
def test_intervals_are_scipys(form):
    truth, poor, better = drawn(80)
    draws = draw_studies(80, draws=4000)
    one, other = resample(truth, poor, draws), resample(truth, better, draws)

    def difference(numbers: np.ndarray) -> float:
        loss = FORMS[form]
        return loss(truth[numbers], better[numbers]) - loss(truth[numbers], poor[numbers])

    theirs = stats.bootstrap(
        (np.arange(80),), difference, vectorized=False, n_resamples=4000, method="percentile", random_state=0
    ).confidence_interval
    ours = other.less(one, form)
    assert ours.value == pytest.approx(difference(np.arange(80)))
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


def test_pairing_makes_a_difference_certain_that_two_intervals_do_not_show():
    truth, poor, _ = drawn(200)
    slightly = np.clip(0.02 * truth + 0.98 * poor, 0.01, 0.99)
    draws = draw_studies(200)
    one, other = resample(truth, poor, draws), resample(truth, slightly, draws)
    assert other.estimate("global").high > one.estimate("global").low
    assert other.less(one, "global").high < 0 and other.less(one, "global").excludes(0)
    gain = other.gain_percent(one, "global")
    assert gain.value == pytest.approx(100 * (1 - other.values[0] / one.values[0])) and gain.low > 0
    assert one.less(one, "row") == Estimate(0.0, 0.0, 0.0)


def test_an_estimate_leaves_out_draws_without_a_figure():
    assert estimate(2.0, np.array([1.0, np.nan, 3.0])) == estimate(2.0, np.array([1.0, 3.0]))
    nothing = estimate(2.0, np.array([np.nan]))
    assert nothing.value == 2.0 and np.isnan([nothing.low, nothing.high]).all()
    assert not nothing.excludes(0)


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(-1, 1, False), (0.1, 1, True), (-1, -0.1, True), (0, 1, False)]
)
def test_an_interval_that_touches_a_value_does_not_exclude_it(low, high, excludes):
    assert Estimate(0.5, low, high).excludes(0) is excludes


def test_the_lower_bound_is_one_sided():
    assert lower_bound(np.arange(101.0)) == pytest.approx(5)
