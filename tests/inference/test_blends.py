import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.hand_made import column

from cspine.dicom.reader import read_study
from cspine.errors import InputError
from cspine.inference.blends import Blend, BlendWeights, load_models, members_of, read_blend, write_blend
from cspine.inference.ensemble import Ensemble
from cspine.kaggle.bundle import assemble_models
from cspine.networks.classifier import Classifier
from cspine.preprocessing.resampling import resample
from cspine.settings.layout import CALIBRATION, CLASSIFIER, RunLayout

CPU = torch.device("cpu")


@pytest.fixture
def blended(run, make, tmp_path) -> Path:
    """A blend of `run` and another one on the same split, whose classifiers differ."""
    other = make.write_run(tmp_path / "other")
    for fold in range(2):
        torch.manual_seed(90 + fold)
        network = Classifier(make.preset.classifier, make.preset.stacks.channels)
        with torch.no_grad():
            network.slice_alone.weight.mul_(30)
        path = RunLayout(other).model(CLASSIFIER, fold)
        make.save(path, network)
    folder = tmp_path / "blend"
    folder.mkdir()
    (folder / CALIBRATION).write_bytes((run / CALIBRATION).read_bytes())
    runs = tuple(Path(os.path.relpath(one, folder)) for one in (run, other))
    write_blend(folder, BlendWeights(runs, (0.75, 0.25), (0.4, 0.6)))
    return folder


def test_a_single_run_is_no_blend(run):
    assert read_blend(run) is None and members_of(run) == [run]
    assert isinstance(load_models(run, CPU), Ensemble)


def test_logits_are_added_up_with_weights_fold_by_fold(blended):
    models = load_models(blended, CPU)
    assert isinstance(models, Blend) and len(models.members) == 2
    neck = column()
    first, second = (member.predict(neck) for member in models.members)
    found = models.weights.combine([first, second])
    np.testing.assert_allclose(found[:, :7], 0.75 * first[:, :7] + 0.25 * second[:, :7])
    np.testing.assert_allclose(found[:, 7], 0.4 * first[:, 7] + 0.6 * second[:, 7])
    assert (first != second).any()


def test_what_members_share_is_done_once(blended, competition, studies, monkeypatch):
    """Same locators and settings: one label map and one column for both members."""
    models = load_models(blended, CPU)
    volume = read_study(competition / "test_images" / studies[0], fallback=False)
    small = resample(volume, models.spacing_mm)
    calls = []
    locate = Ensemble.locate
    monkeypatch.setattr(Ensemble, "locate", lambda self, hu: calls.append(1) or locate(self, hu))
    answer = models.answer(volume, small.hu, small.affine)
    assert len(calls) == 1 and answer.fold_logits.shape == (2, 8)
    alone = [member.answer(volume, small.hu, small.affine).fold_logits for member in models.members]
    np.testing.assert_allclose(answer.fold_logits, models.weights.combine(alone))
    assert set(answer.seconds) == {"locate", "cut", "classify"}
    apart = replace(models, members=[models.members[0], replace(models.members[1], column_key="other")])
    calls.clear()
    apart.answer(volume, small.hu, small.affine)
    assert len(calls) == 2


def test_a_blend_travels_in_one_bundle(blended, tmp_path):
    bundle = tmp_path / "bundle"
    assemble_models(blended, bundle)
    moved = bundle.rename(tmp_path / "elsewhere")
    here, there = load_models(blended, CPU), load_models(moved / "models", CPU)
    neck = column()
    for one, other in zip(here.members, there.members, strict=True):
        np.testing.assert_array_equal(one.predict(neck), other.predict(neck))
    assert there.weights.level == here.weights.level and (moved / "models" / CALIBRATION).is_file()


WHOLE = {"runs": ["a", "b"], "level": [0.5, 0.5], "overall": [1.0, 0.0]}


@pytest.mark.parametrize(
    "content",
    [
        {"runs": ["a", "b"]},
        {**WHOLE, "level": [0.5]},
        {**WHOLE, "level": [0.7, 0.7]},
        {**WHOLE, "overall": [1.5, -0.5]},
        {**WHOLE, "overall": ["much", 0]},
        {**WHOLE, "runs": ["a", "gone"]},
        ["a", "b"],
        {"runs": [], "level": [], "overall": []},
    ],
)
def test_a_broken_blend_is_refused(tmp_path, content):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    path = RunLayout(tmp_path).blend
    path.write_text(json.dumps(WHOLE))
    assert len(members_of(tmp_path)) == 2
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="make blend") as error:
        read_blend(tmp_path)
    assert str(path) in str(error.value)


def test_runs_of_another_split_are_refused(blended, make, tmp_path):
    third = make.write_run(tmp_path / "third", folds={"1.2.1": 1, "1.2.2": 0})
    weights = read_blend(blended)
    write_blend(blended, replace(weights, runs=(weights.runs[0], third)))
    with pytest.raises(InputError, match="another split") as error:
        load_models(blended, CPU)
    assert str(third) in str(error.value)
