import json

import numpy as np
import pytest

from cspine.competition.metric import global_loss
from cspine.competition.submission import SUBMIT_CLIP
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration, out_of_fold_values, reliability
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


def test_a_fold_has_no_say_in_its_own_values():
    logits, truth = drawn(90)
    logits *= 2
    folds = np.arange(90) % 3
    values = out_of_fold_values(logits, truth, folds, CONSTANTS)
    turned = truth.copy()
    turned[folds == 1] = 1 - turned[folds == 1]
    again = out_of_fold_values(logits, turned, folds, CONSTANTS)
    np.testing.assert_array_equal(again[folds == 1], values[folds == 1])
    assert (again[folds != 1] != values[folds != 1]).mean() > 0.9
    assert values.min() >= SUBMIT_CLIP and values.max() <= 1 - SUBMIT_CLIP
    others = Calibration.fit(logits[folds != 2], truth[folds != 2], CONSTANTS)
    np.testing.assert_allclose(
        values[folds == 2], np.clip(others.apply(logits[folds == 2]), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
    )


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
