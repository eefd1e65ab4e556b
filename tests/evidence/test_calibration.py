import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cv
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import best_constants, global_loss
from cspine.competition.submission import CLIP
from cspine.competition.tables import UID_COLUMN, read_submission, wide
from cspine.errors import InputError
from cspine.evidence.calibration import fit_calibration, out_of_fold_values, reliability
from cspine.inference.ensemble import Calibration

SRC = Path(__file__).resolve().parents[2] / "src"
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
    found = fit_calibration(*drawn(6000), CONSTANTS)
    assert [found.level_slope, found.overall_slope] == pytest.approx([1, 1], abs=0.1)
    assert found.biases == pytest.approx([0] * 8, abs=0.15)
    assert found.constants == tuple(CONSTANTS)


def test_a_bent_scale_is_straightened():
    logits, truth = drawn(6000)
    bent = logits.copy()
    bent[:, :7] = (logits[:, :7] - 1) * 2.5
    bent[:, 7] = (logits[:, 7] + 0.8) / 2
    found = fit_calibration(bent, truth, CONSTANTS)
    assert found.level_slope == pytest.approx(0.4, abs=0.1)
    assert found.biases[:7] == pytest.approx([1] * 7, abs=0.25)
    assert [found.overall_slope, found.biases[7]] == pytest.approx(
        [2, -0.8], abs=0.3
    )  # the ridge pulls a little
    before = global_loss(truth, np.clip(sigmoid(bent), CLIP, 1 - CLIP))
    after, best = global_loss(truth, found.apply(bent)), global_loss(truth, sigmoid(logits))
    assert after < before - 0.02 and after == pytest.approx(best, abs=0.003)


def test_a_level_that_is_seldom_broken_gets_a_bias_of_its_own():
    logits, truth = drawn(3000)
    shown = logits.copy()
    shown[:, 2] += 2  # the network overrates C3 alone
    found = fit_calibration(shown, truth, CONSTANTS)
    assert found.biases[2] == pytest.approx(-2, abs=0.3)
    assert [found.biases[n] for n in (0, 1, 3, 4, 5, 6)] == pytest.approx([0] * 6, abs=0.3)


def test_few_studies_bend_the_values_less_than_many():
    logits, truth = drawn(3000)
    shown = logits + 2.0
    few, many = (fit_calibration(shown[:n], truth[:n], CONSTANTS) for n in (8, 3000))
    assert np.abs(few.biases).mean() < 0.7 * np.abs(many.biases).mean()


def test_a_set_without_a_fracture_does_not_push_the_values_to_the_end():
    found = fit_calibration(np.zeros((400, 8)), np.zeros((400, 8)), CONSTANTS)
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
    assert values.min() >= CLIP and values.max() <= 1 - CLIP
    others = fit_calibration(logits[folds != 2], truth[folds != 2], CONSTANTS)
    np.testing.assert_allclose(values[folds == 2], np.clip(others.apply(logits[folds == 2]), CLIP, 1 - CLIP))


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


UIDS = [f"1.2.826.0.1.3680043.{number}" for number in range(1, 14)]


@pytest.fixture
def stage(tmp_path) -> cv.Settings:
    """Thirteen studies, the last one without a column, two folds with logits written by hand."""
    logits, truth = drawn(13, seed=2)
    truth[:, 7] = truth[:, :7].max(axis=1)
    settings = cv.Settings(raw=tmp_path / "raw", cache=tmp_path / "cache", run=tmp_path / "run")
    settings.raw.mkdir()
    settings.cache.mkdir()
    train = pd.DataFrame(truth.astype(int), columns=list(PREDICTION_TYPES))
    train.insert(0, UID_COLUMN, UIDS)
    train[[UID_COLUMN, "patient_overall", *PREDICTION_TYPES[:7]]].to_csv(
        settings.raw / "train.csv", index=False
    )
    folds = pd.DataFrame({UID_COLUMN: UIDS, "fold": np.arange(13) % 2})
    folds.to_csv(settings.cache / "folds.csv", index=False)
    for fold in range(2):
        chosen = [n for n in range(12) if n % 2 == fold]
        frame = pd.DataFrame(logits[chosen], columns=list(PREDICTION_TYPES))
        frame.insert(0, UID_COLUMN, [UIDS[n] for n in chosen])
        path = settings.run / "classifier" / f"fold{fold}" / cv.OOF
        path.parent.mkdir(parents=True)
        frame.to_csv(path, index=False)
    return settings


def test_cv_answers_for_every_training_study(stage, capsys):
    cv.main(stage)
    uids, values = wide(read_submission(stage.run / "oof.csv"))
    assert uids == UIDS
    truth = pd.read_csv(stage.raw / "train.csv")[list(PREDICTION_TYPES)].to_numpy(float)
    constants = np.clip(best_constants(truth.mean(axis=0)), CLIP, 1 - CLIP)
    assert values[12] == pytest.approx(constants)
    assert not np.isclose(values[:12], constants).all(axis=1).any()
    first = pd.read_csv(stage.run / "classifier" / "fold0" / cv.OOF, index_col=UID_COLUMN)
    other = pd.read_csv(stage.run / "classifier" / "fold1" / cv.OOF, index_col=UID_COLUMN)
    places = [UIDS.index(uid) for uid in other.index]
    expected = fit_calibration(other.to_numpy(), truth[places], constants).apply(
        first.loc[UIDS[2]].to_numpy()
    )
    assert values[2] == pytest.approx(np.clip(expected, CLIP, 1 - CLIP))
    assert Calibration.load(stage.run).constants == pytest.approx(tuple(constants))
    printed = capsys.readouterr().out
    assert f"constants for study {UIDS[12]}" in printed and "on constants 1" in printed


def test_cv_names_the_missing_fold(stage):
    shutil.rmtree(stage.run / "classifier" / "fold1")
    flags = ["--raw", stage.raw, "--cache", stage.cache, "--run", stage.run]
    command = [sys.executable, str(SRC / "cv.py"), *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "`make train FOLD=1`" in done.stderr and "Traceback" not in done.stderr
    assert not (stage.run / "oof.csv").exists() and not (stage.run / "calibration.json").exists()


@pytest.mark.parametrize("change", ["other fold", "infinite", "column"])
def test_cv_refuses_logits_that_are_not_the_folds(stage, change):
    path = stage.run / "classifier" / "fold0" / cv.OOF
    frame = pd.read_csv(path, dtype={UID_COLUMN: str})
    if change == "other fold":
        frame.loc[0, UID_COLUMN] = UIDS[1]
    elif change == "infinite":
        frame.loc[0, "C3"] = np.inf
    else:
        frame = frame.rename(columns={"C3": "C8"})
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match="make train FOLD=0") as error:
        cv.main(stage)
    assert str(path) in str(error.value)
    assert json.dumps(sorted(p.name for p in stage.run.iterdir())) == '["classifier"]'
