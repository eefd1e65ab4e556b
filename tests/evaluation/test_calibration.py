import json

import numpy as np
import pytest

from cspine.competition.metric import global_loss
from cspine.competition.submission import SUBMIT_CLIP
from cspine.errors import InputError
from cspine.evaluation.averaging import AveragingCurve, FoldNoise
from cspine.evaluation.calibration import Calibration, anyone, reliability, stack_features
from cspine.settings.layout import RunLayout

CONSTANTS = np.linspace(0.1, 0.6, 8)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def drawn(studies: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose sigmoid is the value to submit, and a truth that has the probabilities they stand for."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 1.5, (studies, 8))
    values = sigmoid(logits)
    return logits, (random.random((studies, 8)) < values / (2 - values)).astype(np.float64)


def test_calibrated_logits_stay_as_they_are():
    found = Calibration.fit(*drawn(6000), CONSTANTS)
    assert [found.level_slope, found.overall_slope] == pytest.approx([1, 1], abs=0.1)
    assert found.biases == pytest.approx([0] * 8, abs=0.15)
    assert found.constants == tuple(CONSTANTS)


def test_a_bent_scale_is_straightened():
    logits, truth = drawn(6000)
    bent = logits.copy()
    bent[:, :7] = (logits[:, :7] - 1) * 2.5
    bent[:, 7] = (logits[:, 7] + 0.8) / 2
    found = Calibration.fit(bent, truth, CONSTANTS)
    assert found.level_slope == pytest.approx(0.4, abs=0.1)
    assert found.biases[:7] == pytest.approx([1] * 7, abs=0.25)
    # the ridge pulls a little
    assert [found.overall_slope, found.biases[7]] == pytest.approx([2, -0.8], abs=0.3)
    before = global_loss(truth, np.clip(sigmoid(bent), SUBMIT_CLIP, 1 - SUBMIT_CLIP))
    after, best = global_loss(truth, found.apply(bent)), global_loss(truth, sigmoid(logits))
    assert after < before - 0.02 and after == pytest.approx(best, abs=0.003)


def test_a_level_that_is_seldom_broken_gets_a_bias_of_its_own():
    logits, truth = drawn(3000)
    shown = logits.copy()
    shown[:, 2] += 2  # the network overrates C3 alone
    found = Calibration.fit(shown, truth, CONSTANTS)
    assert found.biases[2] == pytest.approx(-2, abs=0.3)
    assert [found.biases[n] for n in (0, 1, 3, 4, 5, 6)] == pytest.approx([0] * 6, abs=0.3)


def test_few_studies_bend_the_values_less_than_many():
    logits, truth = drawn(3000)
    shown = logits + 2.0
    few, many = (Calibration.fit(shown[:n], truth[:n], CONSTANTS) for n in (8, 3000))
    assert np.abs(few.biases).mean() < 0.7 * np.abs(many.biases).mean()


def test_a_set_without_a_fracture_does_not_push_the_values_to_the_end():
    found = Calibration.fit(np.zeros((400, 8)), np.zeros((400, 8)), CONSTANTS)
    assert [found.level_slope, found.overall_slope] == pytest.approx([1, 1])
    assert all(-4.9 < bias < -1 for bias in found.biases)


def test_reliability_bins_hold_equal_numbers_in_order():
    values = np.array([0.8, 0.2, 0.5, 0.0, 1.0, 0.4])
    truth = np.array([1.0, 0, 1, 0, 1, 0])
    rows = reliability(values, truth, bins=3)
    expected = [
        [(0 + 0.2 / 1.8) / 2, 0.0, 2],
        [(0.4 / 1.6 + 0.5 / 1.5) / 2, 0.5, 2],
        [(0.8 / 1.2 + 1) / 2, 1.0, 2],
    ]
    np.testing.assert_allclose(rows, expected)
    assert reliability(values[:2], truth[:2], bins=8).shape == (2, 3)  # empty bins are left out


WHOLE = {"level_slope": 1, "overall_slope": 1, "biases": [0.0] * 8, "constants": [0.5] * 8}
"""A calibration as its file has it."""


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        '{"level_slope": 1}',
        json.dumps({**WHOLE, "constants": [0.5]}),
        json.dumps({**WHOLE, "biases": [0.0] * 7}),
        json.dumps({**WHOLE, "level_slope": "steep"}),
        json.dumps({**WHOLE, "stack": [1.0] * 9}),
        json.dumps({**WHOLE, "noisy_or": 1.5}),
        json.dumps({**WHOLE, "averaging": {"removed": [0.0]}}),
        "[1, 2]",
    ],
)
def test_a_broken_calibration_names_its_file(own_run, content):
    path = RunLayout(own_run).calibration
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="make cv") as error:
        Calibration.load(own_run)
    assert str(path) in str(error.value)


def test_calibration_is_its_formula():
    biases = tuple(np.linspace(-1, 1, 8))
    calibration = Calibration(2.0, 0.5, biases, (0.5,) * 8)
    logits = np.linspace(-3, 3, 16).reshape(2, 8)
    values = calibration.apply(logits)
    for study in range(2):
        for level in range(8):
            slope = 2.0 if level < 7 else 0.5
            expected = 1 / (1 + np.exp(-(slope * logits[study, level] + biases[level])))
            assert values[study, level] == pytest.approx(expected, rel=1e-12)
    assert np.isfinite(calibration.apply(np.full(8, 1e30))).all()
    assert np.isfinite(calibration.apply(np.full(8, -1e30))).all()


PLAIN = Calibration(1.0, 1.0, (0.0,) * 8, (0.5,) * 8)


def test_the_patient_is_never_below_the_largest_level_where_asked():
    logits = np.array([[2.0, -3, -3, -3, -3, -3, -3, 0.5], [-2.0, -3, -3, -3, -3, -3, -3, 0.5]])
    values = Calibration(1.0, 1.0, (0.0,) * 8, (0.5,) * 8, at_least_largest=True).apply(logits)
    assert values[0, 7] == values[0, 0] and values[1, 7] == pytest.approx(sigmoid(0.5))
    np.testing.assert_array_equal(values[:, :7], PLAIN.apply(logits)[:, :7])


def test_a_level_that_is_not_in_view_gets_its_constant_before_the_patients_rules():
    constants = tuple(np.linspace(0.1, 0.8, 8))
    calibration = Calibration(1.0, 1.0, (0.0,) * 8, constants, at_least_largest=True)
    logits = np.array([-2.0, -2, -2, -2, -2, -2, 3.0, -2])
    in_view = np.array([True] * 6 + [False])
    values = calibration.apply(logits, in_view)
    assert values[6] == constants[6] and values[7] == constants[6]
    np.testing.assert_array_equal(values[:6], calibration.apply(logits)[:6])
    both = calibration.apply(np.stack([logits, logits]), np.stack([in_view, np.ones(7, bool)]))
    np.testing.assert_array_equal(both, [values, calibration.apply(logits)])


def test_noisy_or_is_mixed_in_as_a_probability():
    logits = np.array([0.4, -1, -2, -3, -2, -1, 0.0, -0.7])
    values = PLAIN.apply(logits)
    probability = values / (2 - values)
    whole = 1.0
    for level in probability[:7]:
        whole *= 1 - level
    expected = 0.75 * probability[7] + 0.25 * (1 - whole)
    found = Calibration(1.0, 1.0, (0.0,) * 8, (0.5,) * 8, noisy_or=0.25).apply(logits)
    assert found[7] / (2 - found[7]) == pytest.approx(expected)
    assert anyone(values[:7]) == pytest.approx(1 - whole)


def test_the_stacked_value_is_a_regression_on_all_logits():
    logits = np.linspace(-2, 1, 16).reshape(2, 8)
    weights = tuple(np.linspace(-0.5, 0.5, 9)) + (0.3,)
    found = Calibration(1.0, 1.0, (0.0,) * 8, (0.5,) * 8, stack=weights).apply(logits)
    for study in range(2):
        any_level = anyone(sigmoid(logits[study, :7]))
        features = [*logits[study], np.log(any_level / (1 - any_level))]
        expected = sum(weight * feature for weight, feature in zip(weights[:9], features, strict=True)) + 0.3
        assert found[study, 7] == pytest.approx(sigmoid(expected))
        np.testing.assert_allclose(stack_features(logits)[study], features)


CURVE = AveragingCurve(
    removed=(0.0, 0.5),
    slopes=((0.8, 0.5), (1.2, 2.0)),
    biases=((0.0,) * 8, (1.0,) * 7 + (-2.0,)),
    variances=(4.0, 2.0),
    kept_from=0.2,
)


def test_a_mean_of_networks_gets_the_curves_slopes_where_enough_noise_is_gone():
    calibration = Calibration(0.9, 0.6, (0.1,) * 8, (0.5,) * 8, averaging=CURVE)
    # two networks: half of the noise is gone; of 4.0 that is a quarter, halfway to 0.5; of 2.0 a twentieth
    found = calibration.for_mean(FoldNoise(level=2.0, overall=0.2, networks=2, studies=100))
    assert found.level_slope == pytest.approx(1.0) and found.biases[:7] == pytest.approx([0.5] * 7)
    assert (found.overall_slope, found.biases[7]) == (0.6, 0.1)  # less than `kept_from`: as it was
    # all of it: bounded by twice the slope of single networks, and by the end of the curve
    much = calibration.for_mean(FoldNoise(level=90.0, overall=90.0, networks=5, studies=100))
    assert (much.level_slope, much.overall_slope) == pytest.approx((1.2, 1.0))
    assert much.biases == pytest.approx(CURVE.biases[1])
    assert PLAIN.for_mean(FoldNoise(9.0, 9.0, 2, 100)) is PLAIN
