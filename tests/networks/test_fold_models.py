"""What a fold's checkpoint says of itself, and which checkpoints are refused for it."""

import json
from dataclasses import replace

import pytest
import torch

from cspine.errors import InputError
from cspine.networks.checkpoints import read_description, save_weights
from cspine.networks.classifier import Classifier
from cspine.networks.fold_models import (
    describe_fold,
    load_classifier,
    load_locator,
    preset_of,
    read_fold_description,
)
from cspine.networks.locator import Locator
from cspine.settings.layout import CLASSIFIER, ENCODER, LOCATOR
from cspine.settings.networks import ClassifierSettings, LocatorSettings
from cspine.settings.preprocessing import StackSettings
from cspine.settings.presets import PRESETS

FOLDS = {"1.2.1": 0, "1.2.2": 1, "1.2.3": 2, "1.2.4": 0}
PRESET = replace(
    PRESETS["smoke"],
    seed=7,
    locator=LocatorSettings(spacing_mm=4.0, channels=(2, 2), window_vox=(16, 16, 16), pretrained=False),
    stacks=StackSettings(slices=3, neighbours=1, image_px=32),
    classifier=ClassifierSettings(encoder="test_resnet", pretrained=False, hidden=8, context_layers=1),
)
CPU = torch.device("cpu")


def save(path, kind, changes=None):
    """A checkpoint without weights that matter."""
    save_weights(path, {"a": torch.zeros(1)}, {**describe_fold(kind, 2, PRESET, FOLDS), **(changes or {})})
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fold2" / "model.safetensors"


@pytest.mark.parametrize("kind", [ENCODER, CLASSIFIER])
def test_a_description_comes_back_from_its_checkpoint(path, kind):
    found = read_fold_description(save(path, kind), kind)
    assert (found.kind, found.fold, found.folds) == (kind, 2, 3)
    assert found.split == describe_fold(kind, 2, PRESET, FOLDS)["split"]
    assert found.preset == PRESET == preset_of(path, kind)


def test_a_locator_keeps_what_shapes_it_and_nothing_else(path):
    found = read_fold_description(save(path, LOCATOR), LOCATOR).preset
    assert (found.seed, found.locator) == (PRESET.seed, PRESET.locator)
    assert found.locator_training == PRESET.locator_training
    other = replace(PRESET, classifier=replace(PRESET.classifier, hidden=16), slice_loss=0.9)
    assert describe_fold(LOCATOR, 2, other, FOLDS) == describe_fold(LOCATOR, 2, PRESET, FOLDS)
    assert describe_fold(CLASSIFIER, 2, other, FOLDS) != describe_fold(CLASSIFIER, 2, PRESET, FOLDS)


@pytest.mark.parametrize("kind", [LOCATOR, ENCODER, CLASSIFIER])
def test_another_kind_is_refused(path, kind):
    for other in {LOCATOR, ENCODER, CLASSIFIER} - {kind}:
        save(path, other)
        with pytest.raises(InputError, match=f"a {other}, expected a {kind}") as error:
            read_fold_description(path, kind)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [{"preset": {"sead": 1}}, {"preset": {"seed": -1}}, {"fold": "second"}, {"more": 1}, {"kind": "judge"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_description_of_another_version_is_refused(path, changes):
    save(path, CLASSIFIER, changes)
    with pytest.raises(InputError, match="(?s)not of this version.*`make train`") as error:
        read_fold_description(path, CLASSIFIER)
    assert str(path) in str(error.value)


def test_the_hash_of_the_split_changes_with_one_study():
    split = describe_fold(CLASSIFIER, 0, PRESET, FOLDS)["split"]
    for other in (
        {**FOLDS, "1.2.4": 1},
        {**FOLDS, "1.2.5": 0},
        {uid: fold for uid, fold in FOLDS.items() if uid != "1.2.4"},
        {("1.2.9" if uid == "1.2.4" else uid): fold for uid, fold in FOLDS.items()},
    ):
        assert describe_fold(CLASSIFIER, 0, PRESET, other)["split"] != split
    again = dict(reversed(FOLDS.items()))
    assert describe_fold(CLASSIFIER, 0, PRESET, again)["split"] == split, (
        "the order of the rows does not count"
    )
    assert describe_fold(LOCATOR, 1, PRESET, FOLDS)["split"] == split


def test_a_description_is_json_without_the_machine(path):
    description = describe_fold(CLASSIFIER, 1, PRESET, FOLDS)
    assert read_description(save(path, CLASSIFIER, {"fold": 1}), "x") == json.loads(json.dumps(description))
    training = replace(PRESET.classifier_training, workers=5, checkpoint_every_s=9.0)
    moved = replace(PRESET, classifier_training=training)
    assert describe_fold(CLASSIFIER, 1, moved, FOLDS) == description


def test_loaded_networks_are_ready_to_be_asked(path):
    torch.manual_seed(0)
    for kind, model, load in (
        (LOCATOR, Locator(PRESET.locator), load_locator),
        (CLASSIFIER, Classifier(PRESET.classifier, PRESET.stacks.channels), load_classifier),
    ):
        save_weights(path, model.state_dict(), describe_fold(kind, 2, PRESET, FOLDS))
        loaded = load(path, CPU)
        assert not loaded.training
        assert all(
            torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items()
        )


def test_a_trained_classifier_needs_no_pretrained_weights(path, monkeypatch, tmp_path):
    """Kaggle's machines have no network, and the preset says that training began from timm's weights."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    asked = replace(PRESET.classifier, encoder="test_resnet.r160_in1k", pretrained=True)
    model = Classifier(replace(asked, pretrained=False), PRESET.stacks.channels)
    description = describe_fold(CLASSIFIER, 2, replace(PRESET, classifier=asked), FOLDS)
    save_weights(path, model.state_dict(), description)
    loaded = load_classifier(path, CPU)
    assert torch.equal(loaded.slice_alone.weight, model.slice_alone.weight)
