import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cspine import storage
from cspine.errors import InputError
from cspine.inference.blends import BlendWeights, load_models, write_blend
from cspine.inference.sound import sound_models
from cspine.settings.layout import CLASSIFIER, LOCATOR, RunLayout

CPU = torch.device("cpu")


def nan_in(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:] = np.full(1024, np.nan, np.float32).tobytes()
    path.write_bytes(content)


@pytest.fixture
def blended(own_run, make, tmp_path) -> tuple[Path, Path, Path]:
    """A blend and its two members."""
    other = make.write_run(tmp_path / "other")
    folder = tmp_path / "blend"
    folder.mkdir()
    runs = tuple(Path(os.path.relpath(one, folder)) for one in (own_run, other))
    write_blend(folder, BlendWeights(runs, (0.75, 0.25), (0.4, 0.6)))
    return folder, own_run, other


def test_all_of_a_sound_run_is_used(own_run, tmp_path):
    sums = {
        path.relative_to(own_run).as_posix(): storage.sha256_of(path)
        for path in own_run.rglob("*.safetensors")
    }
    assert sound_models(own_run, sums, tmp_path / "sound", CPU) == ([0, 1], {})
    assert len(load_models(tmp_path / "sound", CPU).classifiers) == 2


def test_other_bytes_than_listed_are_found_where_the_answer_is_finite(own_run, tmp_path):
    name = "classifier/fold0/model.safetensors"
    folds, dropped = sound_models(own_run, {name: "0" * 64}, tmp_path / "sound", CPU)
    assert folds == [1] and "SHA-256" in dropped[name]


def test_a_fold_of_a_blend_is_used_where_every_member_has_it(blended, tmp_path):
    folder, _, other = blended
    nan_in(RunLayout(other).model(CLASSIFIER, 0))
    folds, dropped = sound_models(folder, {}, tmp_path / "sound", CPU)
    assert folds == [1] and len(dropped) == 1
    models = load_models(tmp_path / "sound", CPU)
    assert [len(member.classifiers) for member in models.members] == [1, 1]
    assert (models.weights.level, models.weights.overall) == ((0.75, 0.25), (0.4, 0.6))


def test_a_member_without_a_sound_locator_leaves_its_weight_to_the_others(blended, tmp_path):
    folder, own_run, _ = blended
    for fold in (0, 1):
        nan_in(RunLayout(own_run).model(LOCATOR, fold))
    folds, dropped = sound_models(folder, {}, tmp_path / "sound", CPU)
    assert folds == [0, 1] and len(dropped) == 2
    models = load_models(tmp_path / "sound", CPU)
    assert (models.weights.level, models.weights.overall) == ((1.0,), (1.0,))


def test_a_run_without_a_sound_fold_is_refused(own_run, tmp_path):
    for fold in (0, 1):
        nan_in(RunLayout(own_run).model(CLASSIFIER, fold))
    with pytest.raises(InputError, match="no fold can be used: .*not finite"):
        sound_models(own_run, {}, tmp_path / "sound", CPU)
