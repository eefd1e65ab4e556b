from dataclasses import replace

import numpy as np
import pytest

from cspine.competition.metric import global_loss
from cspine.evaluation.averaging import (
    ENOUGH_STUDIES,
    FoldNoise,
    fit_averaging,
    rehearse,
    within_class_variances,
    without_noise,
)
from cspine.evaluation.calibration import Calibration

HALF = np.full(8, 0.5)


def networks(studies: int, folds: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (studies, folds, 8) of networks that differ by noise, and the truth (studies, 8)."""
    random = np.random.default_rng(seed)
    truth = (random.random((studies, 8)) < 0.25).astype(np.float64)
    signal = 1.6 * truth - 1.2 + 0.8 * random.normal(size=truth.shape)
    return signal[:, None] + noise * random.normal(size=(studies, folds, 8)), truth


def test_noise_is_the_spread_around_the_mean_of_endlessly_many():
    logits, _ = networks(4000, 3, 0.7)
    logits[..., 7] += 0.5 * np.random.default_rng(9).normal(size=(4000, 3))
    found = FoldNoise.measure(logits)
    assert found.level == pytest.approx(0.49, rel=0.05)
    assert found.overall == pytest.approx(0.49 + 0.25, rel=0.08)
    assert (found.networks, found.studies) == (3, 4000)
    assert found.removed() == pytest.approx((found.level * 2 / 3, found.overall * 2 / 3))


def test_a_shift_between_folds_is_noise_too():
    logits, _ = networks(500, 2, 0.0)
    found = FoldNoise.measure(logits + np.array([0.0, 1.0])[None, :, None])
    assert found.level == pytest.approx(0.5)  # the variance of 0 and 1, with one degree of freedom


def test_one_network_or_few_studies_tell_nothing():
    logits, _ = networks(ENOUGH_STUDIES, 2, 0.5)
    assert FoldNoise.measure(logits) is not None
    assert FoldNoise.measure(logits[:-1]) is None
    assert FoldNoise.measure(logits[:, :1]) is None


def test_noise_is_taken_from_within_the_classes_alone():
    logits, truth = networks(800, 1, 0.9)
    quiet = without_noise(logits[:, 0], truth, 0.36)
    for column in range(8):
        for label in (0, 1):
            before, after = (part[truth[:, column] == label, column] for part in (logits[:, 0], quiet))
            assert after.mean() == pytest.approx(before.mean())
            assert after.var() == pytest.approx(0.64 * before.var())
            np.testing.assert_array_equal(np.argsort(after), np.argsort(before))
    before, after = within_class_variances(logits[:, 0], truth), within_class_variances(quiet, truth)
    assert after == pytest.approx([0.64 * one for one in before])


def test_variances_within_classes_are_a_plain_loop():
    logits, truth = networks(90, 1, 0.4, seed=3)
    total, count = 0.0, 0
    for column in range(7):
        for label in (0, 1):
            part = logits[truth[:, column] == label, 0, column]
            total += ((part - part.mean()) ** 2).sum()
            count += len(part) - 1
    overall = [logits[truth[:, 7] == label, 0, 7] for label in (0, 1)]
    last = sum(((part - part.mean()) ** 2).sum() for part in overall) / (90 - 2)
    assert within_class_variances(logits[:, 0], truth) == pytest.approx((total / count, last))


def test_without_noise_copes_with_a_class_of_one_or_none():
    logits, truth = networks(40, 1, 0.5)
    truth[:, 2], truth[:, 3] = 0, 0
    truth[5, 3] = 1
    assert np.isfinite(without_noise(logits[:, 0], truth, 0.5)).all()


@pytest.mark.parametrize("folds", [2, 5])
def test_the_mean_of_networks_is_calibrated_from_single_ones_and_their_differences(folds):
    """Slopes as a refit on the mean would find them, without its labels; the uncorrected ones are too flat."""
    logits, truth = networks(6000, folds, 1.0)
    single = logits[np.arange(6000), np.arange(6000) % folds]
    unseen, labels = networks(6000, folds, 1.0, seed=1)
    curve, _ = fit_averaging(single, truth, np.arange(6000) % 2)
    plain = Calibration.fit(single, truth, HALF)
    noise = FoldNoise.measure(unseen)
    corrected = replace(plain, averaging=replace(curve, kept_from=0.0)).for_mean(noise)
    mean = unseen.mean(axis=1)
    refit = Calibration.fit(mean, labels, HALF)
    for kind in ("level_slope", "overall_slope"):
        assert getattr(corrected, kind) == pytest.approx(getattr(refit, kind), rel=0.08)
        assert getattr(plain, kind) < 0.85 * getattr(refit, kind)
    costs = [global_loss(labels, one.apply(mean)) for one in (plain, corrected, refit)]
    assert costs[1] - costs[2] < 0.1 * (costs[0] - costs[2])


def test_the_correction_is_kept_where_it_was_seen_to_help():
    logits, truth = networks(3000, 1, 1.0)
    curve, rehearsals = fit_averaging(logits[:, 0], truth, np.arange(3000) % 5)
    assert [one.kept for one in rehearsals] == [one.difference.high < 0 for one in rehearsals]
    assert curve.kept_from is not None and rehearsals[-1].kept
    few, _ = fit_averaging(logits[:40, 0], truth[:40], np.arange(40) % 5)
    # forty studies can't tell what three thousand can
    assert few.kept_from is None or few.kept_from > curve.kept_from


def test_a_correction_that_was_not_kept_changes_nothing():
    logits, truth = networks(300, 1, 1.0)
    curve, _ = fit_averaging(logits[:, 0], truth, np.arange(300) % 5)
    noise = FoldNoise(level=9.0, overall=9.0, networks=5, studies=100)
    plain = replace(Calibration.fit(logits[:, 0], truth, HALF), averaging=replace(curve, kept_from=None))
    assert plain.for_mean(noise) == plain
    steeper = replace(plain, averaging=replace(curve, kept_from=0.1)).for_mean(noise)
    assert steeper.level_slope > 1.2 * plain.level_slope


def test_a_rehearsal_is_the_same_every_time_and_never_sees_the_study_it_judges():
    logits, truth = networks(200, 1, 1.0)
    groups = np.arange(200) % 4
    first, again = (rehearse(logits[:, 0], truth, groups, 0.5) for _ in range(2))
    assert first == again
    assert rehearse(logits[:, 0], truth, groups, 0.6) != first
