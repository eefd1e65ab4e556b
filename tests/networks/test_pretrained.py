"""The weights that come with the kit: what they are, that they load, and that they find what replicas show."""

import numpy as np
import pytest
import torch
from helpers.scans import replica_scan
from safetensors.torch import load_file

from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.networks import pretrained
from cspine.networks.checkpoints import read_description, read_provenance
from cspine.networks.locator import Locator
from cspine.networks.pretrained import MADE_BY, WEIGHTS, load_pretrained, start_locator
from cspine.networks.search import locate
from cspine.preprocessing.verdict import Kind
from cspine.settings.networks import LocatorSettings
from cspine.settings.presets import PRESETS, PRETRAINING, reproducible_settings
from cspine.training.locate import dice
from cspine.training.pretrain_locator import KIND, model_card

CPU = torch.device("cpu")
MOST_BYTES = 8_000_000


def test_the_file_is_what_its_recipe_would_load():
    """Same tensors as a locator of the default settings, and the settings of the recipe as it is today."""
    weights, wanted = load_file(WEIGHTS), Locator(LocatorSettings()).state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }
    assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in weights.values())
    told = read_description(WEIGHTS, MADE_BY)
    assert told["kind"] == KIND and told["seed"] == PRETRAINING.seed
    for part in ("locator", "locator_training", "locator_augment"):
        now = reproducible_settings(getattr(PRETRAINING, part))
        assert told[part] == {key: list(v) if isinstance(v, tuple) else v for key, v in now.items()}, part
    assert told["replica"]["coverage"] == "wide" and told["replica"]["version"] == 3
    assert WEIGHTS.stat().st_size <= MOST_BYTES
    assert set(read_provenance(WEIGHTS, MADE_BY)) >= {"cspine", "git", "torch", "numpy"}


def test_the_card_is_true_to_the_file():
    card = WEIGHTS.with_suffix(".md").read_text()
    assert card == model_card(WEIGHTS)
    assert "medical device" in card and "has never seen a patient" in card


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_starts_from_it(name):
    started = start_locator(PRESETS[name].locator).state_dict()
    for key, tensor in load_file(WEIGHTS).items():
        assert torch.equal(started[key], tensor)


def test_a_locator_of_other_settings_cannot_start_from_it():
    with pytest.raises(InputError, match=r"locator\.spacing_mm 3\.0 instead of 2\.0"):
        start_locator(LocatorSettings(spacing_mm=2.0))
    torch.manual_seed(0)
    alone = start_locator(LocatorSettings(channels=(4, 8), pretrained=False))
    assert sum(parameter.numel() for parameter in alone.parameters()) < 20_000


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="no such checkpoint; `make pretrain-locator` makes it"):
        load_pretrained(CPU)


@pytest.fixture(scope="module")
def locators():
    return [load_pretrained(CPU)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_neck(locators, seed):
    hu, labels = replica_scan(seed, 50, -40, 200)
    found = locate(locators, hu, CPU)
    assert found.verdict.levels == LEVELS and found.verdict.kind is Kind.SURE, found.verdict
    assert np.nanmin(dice(found.labels, labels)) > 0.6


def test_a_neck_in_a_large_field(locators):
    """Whole head to chest, 450 mm wide: the column is searched for."""
    hu, labels = replica_scan(3, 160, -150, 450, off_mm=40)
    found = locate(locators, hu, CPU)
    assert found.verdict.levels == LEVELS, found.verdict
    assert np.nanmin(dice(found.labels, labels)) > 0.5


def test_a_column_that_is_cut_off(locators):
    """The scan ends within C5: what is below is not invented."""
    hu, labels = replica_scan(4, 60, 36, 210)
    shown = [name for number, name in enumerate(LEVELS, start=1) if (labels == number).sum() > 150]
    assert shown[0] == "C1" and "C4" in shown and "C7" not in shown
    found = locate(locators, hu, CPU)
    assert set(shown[:-1]) <= set(found.verdict.levels) and "C7" not in found.verdict.levels, found.verdict
    for name in shown[:-1]:
        number = LEVELS.index(name) + 1
        names = np.bincount(found.labels[labels == number], minlength=9)[1:]
        assert names.argmax() + 1 == number, name


def test_a_head_and_a_chest_are_no_necks(locators):
    head, labels = replica_scan(5, 160, 135, 260)
    assert not (labels[:, :, :] > 1).any()
    chest, _ = replica_scan(6, -165, -330, 400)
    for hu in (head, chest):
        assert locate(locators, hu, CPU).verdict.kind is Kind.NOT_A_NECK
