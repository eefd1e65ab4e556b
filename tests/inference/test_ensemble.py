import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hand_made import column

from cspine.errors import InputError
from cspine.inference.ensemble import CALIBRATION, Calibration, Ensemble
from cspine.networks.checkpoints import MODEL, read_description, save_weights
from cspine.training.runs import CLASSIFIER, LOCATOR, fold_folder

CPU = torch.device("cpu")
WHOLE = {"level_slope": 1, "overall_slope": 1, "biases": [0.0] * 8, "constants": [0.5] * 8}
"""A calibration as its file has it."""


def test_all_folds_are_loaded_and_asked(run, make):
    ensemble = Ensemble.load(run, CPU)
    assert (len(ensemble.locators), len(ensemble.classifiers)) == (2, 2)
    assert ensemble.preset.stacks == make.preset.stacks
    assert ensemble.calibration == make.calibration
    neck = column()
    both = ensemble.values(neck)
    alone = [
        replace(ensemble, classifiers=[one]).values(neck)[0] for one in ensemble.classifiers
    ]  # folds differ, so the mean is neither
    assert alone[0] != alone[1]
    logit = [(np.log(v / (1 - v)) + 0.5) / 1.25 for v in alone]
    assert both[0] == pytest.approx(1 / (1 + np.exp(-(1.25 * np.mean(logit) - 0.5))), abs=1e-6)
    assert both.shape == (8,) and ((both > 0) & (both < 1)).all()


def test_the_locators_label_bone_by_height(run):
    hu = np.full((32, 12, 12), -1000, np.int16)
    hu[:, 4:8, 4:8] = 600
    labels = Ensemble.load(run, CPU).label(hu)
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 5, 6, 7, 8}
    assert (np.diff(labels[:, 5, 5].astype(int)) >= 0).all()
    assert (labels[:, 0, 0] == 0).all()


@pytest.mark.parametrize(
    ("kind", "fold", "part"),
    [
        (CLASSIFIER, 1, {"seed": 9}),
        (CLASSIFIER, 1, {"stacks": {"slices": 4}}),
        (LOCATOR, 0, {"locator": {"spacing_mm": 5.0}}),
    ],
    ids=["another seed", "other stacks", "another spacing"],
)
def test_a_network_of_other_settings_is_refused(own_run, make, tmp_path, kind, fold, part):
    changes = {
        name: replace(getattr(make.preset, name), **value) if isinstance(value, dict) else value
        for name, value in part.items()
    }
    other = make.write_run(tmp_path / "other", preset=replace(make.preset, **changes))
    name = fold_folder(own_run, kind, fold) / MODEL
    shutil.copy(fold_folder(other, kind, fold) / MODEL, name)
    with pytest.raises(InputError, match="other settings") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


@pytest.mark.parametrize("kind", [LOCATOR, CLASSIFIER])
@pytest.mark.parametrize("fold", [0, 1])
def test_a_missing_fold_is_refused(own_run, kind, fold):
    name = fold_folder(own_run, kind, fold) / MODEL
    name.unlink()
    with pytest.raises(InputError) as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value) and "make " in str(error.value)


def test_the_same_last_fold_missing_from_both_networks_is_noticed(own_run):
    for kind in (LOCATOR, CLASSIFIER):
        (fold_folder(own_run, kind, 1) / MODEL).unlink()
    with pytest.raises(InputError, match="the run has 2 folds; `make locate`"):
        Ensemble.load(own_run, CPU)


@pytest.mark.parametrize("kind", [LOCATOR, CLASSIFIER])
def test_a_fold_of_another_split_is_refused(own_run, make, tmp_path, kind):
    other = make.write_run(tmp_path / "other", folds={"1.2.1": 1, "1.2.2": 0})
    name = fold_folder(own_run, kind, 1) / MODEL
    shutil.copy(fold_folder(other, kind, 1) / MODEL, name)
    with pytest.raises(InputError, match="another split") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


@pytest.mark.parametrize("kind", [LOCATOR, CLASSIFIER])
def test_a_fold_in_another_ones_place_is_refused(own_run, kind):
    name = fold_folder(own_run, kind, 1) / MODEL
    shutil.copy(fold_folder(own_run, kind, 0) / MODEL, name)
    with pytest.raises(InputError, match="this is fold 0") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


def test_a_run_without_any_model_says_what_makes_them(tmp_path):
    with pytest.raises(InputError, match="make locate"):
        Ensemble.load(tmp_path, CPU)


def test_a_file_that_is_no_checkpoint_is_refused(own_run):
    name = fold_folder(own_run, LOCATOR, 1) / MODEL
    name.write_bytes(name.read_bytes()[:100])
    with pytest.raises(InputError) as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


def test_a_classifier_in_a_locators_place_is_refused(own_run):
    name = fold_folder(own_run, LOCATOR, 1) / MODEL
    shutil.copy(fold_folder(own_run, CLASSIFIER, 1) / MODEL, name)
    with pytest.raises(InputError, match="a classifier, expected a locator"):
        Ensemble.load(own_run, CPU)


def test_weights_of_another_shape_are_refused(own_run, make):
    name = fold_folder(own_run, LOCATOR, 0) / MODEL
    save_weights(name, {"a": torch.zeros(3)}, read_description(name, "make locate"))
    with pytest.raises(InputError, match="do not fit") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


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
    path = own_run / CALIBRATION
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="make cv") as error:
        Ensemble.load(own_run, CPU)
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
