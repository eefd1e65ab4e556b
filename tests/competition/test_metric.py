import numpy as np
import pytest
from sklearn.metrics import log_loss

from cspine.competition import metric
from cspine.competition.labels import PUBLISHED, WEIGHTS, weights_of

SEEDS = range(12)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random studies; some predictions are exactly 0 or 1, right or wrong, some columns empty."""
    rng = np.random.default_rng(seed)
    studies = int(rng.integers(1, 60))
    truth = (rng.random((studies, 8)) < rng.choice([0.0, 0.1, 0.5, 1.0], 8)).astype(int)
    prediction = rng.beta(0.3, 0.3, (studies, 8))
    prediction[rng.random((studies, 8)) < 0.1] = 0
    prediction[rng.random((studies, 8)) < 0.1] = 1
    return truth, prediction


def by_sklearn(truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> float:
    clipped = np.clip(prediction.ravel(), 1e-15, 1 - 1e-15)
    return log_loss(truth.ravel(), clipped, sample_weight=weight.ravel(), labels=[0, 1])


def hand_weights(truth: np.ndarray) -> np.ndarray:
    return np.array([1, 1, 1, 1, 1, 1, 1, 7]) * (1 + truth)


@pytest.mark.parametrize("seed", SEEDS)
def test_global_form_is_sklearns_weighted_log_loss(seed):
    truth, prediction = draw(seed)
    expected = by_sklearn(truth, prediction, hand_weights(truth))
    assert metric.global_loss(truth, prediction) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_row_and_column_forms_are_means_of_sklearns_losses(seed):
    truth, prediction = draw(seed)
    weight = hand_weights(truth)
    rows = [by_sklearn(*row) for row in zip(truth, prediction, weight, strict=True)]
    columns = [by_sklearn(*column) for column in zip(truth.T, prediction.T, weight.T, strict=True)]
    assert metric.row_loss(truth, prediction) == pytest.approx(np.mean(rows), rel=1e-12)
    assert metric.level_losses(truth, prediction) == pytest.approx(columns, rel=1e-12)
    expected = (sum(columns[:7]) + 7 * columns[7]) / 14
    assert metric.column_loss(truth, prediction) == pytest.approx(expected, rel=1e-12)


def test_the_three_forms_on_two_studies_worked_by_hand():
    # study A: nothing broken, 0.1 everywhere; study B: C1 and so the patient, 0.6 there and 0.2 elsewhere
    truth = np.array([[0] * 8, [1, 0, 0, 0, 0, 0, 0, 1]])
    prediction = np.array([[0.1] * 8, [0.6, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.6]])
    a, hit, rest = -np.log(0.9), -np.log(0.6), -np.log(0.8)
    assert metric.global_loss(truth, prediction) == pytest.approx((14 * a + 16 * hit + 6 * rest) / (14 + 22))
    assert metric.row_loss(truth, prediction) == pytest.approx((a + (16 * hit + 6 * rest) / 22) / 2)
    mixed, quiet = (a + 2 * hit) / 3, (a + rest) / 2
    assert metric.column_loss(truth, prediction) == pytest.approx((8 * mixed + 6 * quiet) / 14)


@pytest.mark.parametrize("name", metric.FORMS)
def test_one_half_everywhere_scores_ln_2_in_each_form(name):
    truth, _ = draw(3)
    loss = metric.FORMS[name](truth, np.full(truth.shape, 0.5))
    assert loss == pytest.approx(np.log(2), rel=1e-12)
    assert round(loss, 4) == 0.6931


def test_a_wrong_certainty_costs_the_clip_and_not_infinity():
    truth, prediction = np.zeros((1, 8), int), np.zeros((1, 8))
    prediction[0, 0] = 1
    assert metric.global_loss(truth, prediction) == pytest.approx(-np.log(1e-15) / 14, rel=1e-2)


@pytest.mark.parametrize(("name", "score"), [("train", 0.5668), ("public", 0.5678), ("private", 0.6031)])
def test_published_counts_give_the_known_scores_of_the_training_constants(name, score):
    constants = metric.best_constants(PUBLISHED["train"].rates())
    assert round(metric.global_loss_of_constants(PUBLISHED[name], constants), 4) == score


def with_counts(counts) -> np.ndarray:
    """Studies with the given number of positives a column; which study is positive does not matter here."""
    truth = np.zeros((counts.studies, 8), int)
    for column, positives in enumerate(counts.positives):
        truth[:positives, column] = 1
    return truth


@pytest.mark.parametrize("name", PUBLISHED)
def test_loss_from_counts_is_the_loss_of_arrays_with_these_counts(name):
    truth = with_counts(PUBLISHED[name])
    constants = np.random.default_rng(1).random(8)
    expected = metric.global_loss(truth, np.tile(constants, (len(truth), 1)))
    assert metric.global_loss_of_constants(PUBLISHED[name], constants) == pytest.approx(expected, rel=1e-12)


def test_the_column_form_is_not_the_leaderboards():
    truth = with_counts(PUBLISHED["public"])
    prediction = np.tile(metric.best_constants(PUBLISHED["train"].rates()), (len(truth), 1))
    assert round(metric.column_loss(truth, prediction), 3) == 0.546


def test_best_constants_beat_every_other_on_their_own_set():
    counts = PUBLISHED["train"]
    best = metric.best_constants(counts.rates())
    least = metric.global_loss_of_constants(counts, best)
    for column in range(8):
        for step in (-0.01, 0.01):
            moved = best.copy()
            moved[column] += step
            assert metric.global_loss_of_constants(counts, moved) > least
    assert metric.best_constants(np.array([0, 1 / 3, 1])) == pytest.approx([0, 0.5, 1])


def test_weights_are_doubled_for_fractures_and_sevenfold_for_the_patient():
    assert weights_of(np.array([[0] * 8])).tolist() == [[1] * 7 + [7]]
    assert weights_of(np.array([[1] * 8])).tolist() == [[2] * 7 + [14]]
    with pytest.raises(ValueError, match="read-only"):
        WEIGHTS[0, 0] = 3


def test_published_sets_agree_with_the_totals_of_the_sites_table():
    totals = np.sum([counts.positives for counts in PUBLISHED.values()], axis=0)
    assert totals.tolist() == [241, 421, 138, 197, 285, 435, 574, 1445]
    assert sum(counts.studies for counts in PUBLISHED.values()) == 3112


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((2, 7)), np.zeros((2, 7)), r"truth has shape \(2, 7\)"),
        (np.zeros((0, 8)), np.zeros((0, 8)), r"truth has shape \(0, 8\)"),
        (np.full((1, 8), 0.5), np.zeros((1, 8)), "truth holds values"),
        (np.zeros((2, 8)), np.zeros((1, 8)), r"predictions have shape \(1, 8\)"),
        (np.zeros((1, 8)), np.full((1, 8), np.nan), "NaN"),
        (np.zeros((1, 8)), np.full((1, 8), 1.01), "outside"),
    ],
)
def test_arrays_that_are_not_truth_and_probabilities_are_refused(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        metric.global_loss(truth, prediction)


def test_the_row_form_is_mle_benchs_grader():
    """Re-told: within each study the rows' log losses are averaged with the competition's weights, then the studies."""
    random = np.random.default_rng(3)
    truth = (random.random((50, 8)) < 0.3).astype(int)
    prediction = random.random((50, 8))
    prediction[0, :3] = [0.0, 1.0, 1e-20]
    total = 0.0
    for labels, values in zip(truth, prediction, strict=True):
        loss = weight = 0.0
        for column, (label, value) in enumerate(zip(labels, values, strict=True)):
            importance = (7 if column == 7 else 1) * (2 if label else 1)
            value = min(max(value, 1e-15), 1 - 1e-15)
            loss -= importance * np.log(value if label else 1 - value)
            weight += importance
        total += loss / weight
    assert metric.row_loss(truth, prediction) == pytest.approx(total / 50, rel=1e-12, abs=1e-12)
