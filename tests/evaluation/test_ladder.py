import numpy as np
import pytest

from cspine.competition.metric import best_constants, global_loss
from cspine.competition.submission import SUBMIT_CLIP
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.ladder import climb, cross_fitted, describe_ladder, random_groups

HALF = np.full(8, 0.5)


def fit(logits: np.ndarray, truth: np.ndarray) -> Calibration:
    return Calibration.fit(logits, truth, HALF)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def drawn(studies: int, seed: int = 0, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that need `slope`, and a truth in which the patient is the OR of the levels."""
    random = np.random.default_rng(seed)
    straight = random.normal(-2.0, 1.5, (studies, 8))
    values = sigmoid(straight)
    truth = (random.random((studies, 8)) < values / (2 - values)).astype(np.float64)
    truth[:, 7] = truth[:, :7].max(axis=1)
    straight[:, 7] = 2.5 * truth[:, 7] - 1 + random.normal(size=studies)
    return straight / slope, truth


def test_groups_are_even_random_and_follow_the_study():
    studies = [f"1.2.{number}" for number in range(57)]
    groups = random_groups(studies)
    assert sorted(np.bincount(groups)) == [5, 5, 5, 6, 6, 6, 6, 6, 6, 6]
    turned = random_groups(studies[::-1])
    np.testing.assert_array_equal(turned[::-1], groups)
    assert not (np.diff(groups) == 0).all() and len(set(groups[:10])) > 3
    assert (random_groups(studies, seed=1) != groups).any()
    assert sorted(random_groups(studies[:3])) == [0, 1, 2]


def test_a_study_has_no_say_in_its_own_value():
    logits, truth = drawn(90)
    groups = random_groups([str(number) for number in range(90)])
    values = cross_fitted(fit, logits, truth, groups)
    turned = truth.copy()
    turned[groups == 3] = 1 - turned[groups == 3]
    again = cross_fitted(fit, logits, turned, groups)
    np.testing.assert_array_equal(again[groups == 3], values[groups == 3])
    assert (again[groups != 3] != values[groups != 3]).mean() > 0.9
    others = fit(logits[groups != 3], truth[groups != 3]).apply(logits[groups == 3])
    np.testing.assert_allclose(values[groups == 3], np.clip(others, SUBMIT_CLIP, 1 - SUBMIT_CLIP))


def test_every_step_of_the_ladder_is_free_of_the_study_it_judges():
    """The kept steps may depend on all labels; a step's own values must not."""
    logits, truth = drawn(120, seed=4)
    groups = random_groups([str(number) for number in range(120)])
    scores = [rung.score.value for rung in climb(logits, truth, groups, HALF).rungs]
    turned = truth.copy()
    turned[groups == 0] = 1 - turned[groups == 0]
    again = climb(logits, turned, groups, HALF)
    assert scores != [rung.score.value for rung in again.rungs]
    here = groups == 0
    first = climb(logits, truth, groups, HALF)
    if [rung.kept for rung in first.rungs] == [rung.kept for rung in again.rungs]:
        np.testing.assert_array_equal(first.values[here], again.values[here])


class Memory:
    """A calibration that knows by heart what it was fitted on, and nothing else."""

    def __init__(self, logits: np.ndarray, truth: np.ndarray):
        self.labels = {row.tobytes(): labels for row, labels in zip(logits, truth, strict=True)}

    def apply(self, logits: np.ndarray) -> np.ndarray:
        return np.stack([self.labels.get(row.tobytes(), HALF) for row in logits])


def test_what_is_known_by_heart_gains_nothing_out_of_fold():
    """The labels are planted in noise: whoever saw a study is sure about it, whoever did not knows nothing."""
    random = np.random.default_rng(0)
    truth = (random.random((60, 8)) < 0.3).astype(np.float64)
    logits = random.normal(size=(60, 8))
    groups = random_groups([str(number) for number in range(60)])
    values = cross_fitted(Memory, logits, truth, groups)
    np.testing.assert_array_equal(values, 0.5)
    assert global_loss(truth, Memory(logits, truth).apply(logits)) < 1e-9  # a leak would look like this


def test_noise_beats_no_constants_out_of_fold():
    for seed in range(6):
        random = np.random.default_rng(seed)
        truth = (random.random((60, 8)) < 0.3).astype(np.float64)
        truth[:, 7] = truth[:, :7].max(axis=1)
        best = np.tile(np.clip(best_constants(truth.mean(axis=0)), SUBMIT_CLIP, 1 - SUBMIT_CLIP), (60, 1))
        groups = random_groups([str(number) for number in range(60)])
        ladder = climb(random.normal(size=(60, 8)), truth, groups, HALF)
        for score in (rung.score.value for rung in ladder.rungs):
            assert score > global_loss(truth, best)


def test_a_folds_own_shift_is_not_held_against_it():
    """Two folds, one shifted: a fit on the other fold alone misses both; random groups meet them halfway."""
    logits, truth = drawn(400)
    folds = np.arange(400) % 2
    shifted = logits + np.where(folds == 0, 1.0, -1.0)[:, None]
    groups = random_groups([str(number) for number in range(400)])
    by_groups = global_loss(truth, cross_fitted(fit, shifted, truth, groups))
    by_folds = global_loss(truth, cross_fitted(fit, shifted, truth, folds))
    raw = global_loss(truth, np.clip(sigmoid(shifted), SUBMIT_CLIP, 1 - SUBMIT_CLIP))
    assert by_groups < raw < by_folds - 0.01


def test_good_logits_are_left_alone():
    logits, truth = drawn(150, seed=2)
    logits[:, 7] = np.where(truth[:, 7] > 0, 3.0, -3.0) + np.random.default_rng(0).normal(size=150)
    ladder = climb(logits, truth, random_groups([str(number) for number in range(150)]), HALF)
    assert ladder.rungs[0].name == "raw" and ladder.rungs[0].kept
    for rung in ladder.rungs[1:]:
        assert rung.kept == (rung.difference.high < 0)
    if not any(rung.kept for rung in ladder.rungs[1:]):
        np.testing.assert_allclose(ladder.values, np.clip(sigmoid(logits), SUBMIT_CLIP, 1 - SUBMIT_CLIP))
        assert ladder.calibration.level_slope == 1.0


def test_a_bent_scale_is_worth_a_calibration():
    logits, truth = drawn(600, slope=0.3)
    ladder = climb(logits, truth, random_groups([str(number) for number in range(600)]), HALF)
    by_name = {rung.name: rung for rung in ladder.rungs}
    assert by_name["calibrated"].kept and by_name["calibrated"].difference.high < 0
    assert ladder.calibration.level_slope == pytest.approx(0.3, abs=0.06)
    assert ladder.calibration.averaging is not None
    best = min(rung.score.value for rung in ladder.rungs if rung.kept)
    assert global_loss(truth, ladder.values) == pytest.approx(best)


def test_an_overall_that_ignores_the_levels_is_mended():
    """The patient's logit says nothing, the levels' say all: one of the later steps has to be kept."""
    logits, truth = drawn(600, seed=5)
    logits[:, :7] = np.where(truth[:, :7] > 0, 3.0, -4.0) + np.random.default_rng(0).normal(size=(600, 7))
    logits[:, 7] = 0.0
    ladder = climb(logits, truth, random_groups([str(number) for number in range(600)]), HALF)
    later = [rung.name for rung in ladder.rungs[2:] if rung.kept]
    assert later, describe_ladder(ladder)
    assert ladder.calibration.at_least_largest or ladder.calibration.noisy_or or ladder.calibration.stack
    assert global_loss(truth, ladder.values) < ladder.rungs[1].score.value - 0.05


def test_the_ladder_in_words_names_every_step_and_share():
    logits, truth = drawn(80)
    ladder = climb(logits, truth, random_groups([str(number) for number in range(80)]), HALF)
    text = describe_ladder(ladder)
    for rung in ladder.rungs:
        assert f"{rung.name} " in text and f"{rung.score.value:.4f}" in text
    assert text.count(" %  ") == len(ladder.rehearsals) and "not kept" in text
