"""A tiny run of the recipe of the kit's own locator: it can be stopped, ends in weights with a true card."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.necks import LOCATE, volumes
from safetensors.torch import load_file

from cspine.errors import InputError
from cspine.execution.store import StudyStore
from cspine.networks.checkpoints import read_description
from cspine.networks.pretrained import MADE_BY, WEIGHTS
from cspine.preprocessing.stores import open_volumes
from cspine.settings.layout import CacheLayout
from cspine.settings.training import TrainSettings
from cspine.training import pretrain_locator as module
from cspine.training.pretrain_locator import model_card, pretrain

TINY = replace(
    LOCATE,
    locator_training=TrainSettings(
        epochs=2, batch_size=2, learning_rate=1e-2, ema_decay=0.5, evaluate_every=2
    ),
)
REPLICA = {"version": 3, "seed": 1, "coverage": "wide", "size": 0.25}


@pytest.fixture
def replica(tmp_path):
    """A replica's marker, and a cache with hand-made volumes."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "replica.json").write_text(json.dumps({"settings": REPLICA, "complete": True}))
    made, _ = volumes(tmp_path / "made", 12, 11)
    store = open_volumes(tmp_path / "cache", TINY)
    for uid in made.uids():
        arrays, meta = made.read(uid)
        store.write(uid, {name: np.array(array) for name, array in arrays.items()}, meta)
    assert store.folder == CacheLayout(tmp_path / "cache").volumes
    return tmp_path


def test_weights_and_card(replica, capsys):
    pretrain(replica / "raw", replica / "cache", replica / "out", TINY)
    assert "wrote" in capsys.readouterr().out
    weights = replica / "out" / WEIGHTS.name
    told = read_description(weights, MADE_BY)
    assert told["replica"] == REPLICA and (told["studies"], told["held_out"], told["steps"]) == (11, 2, 5)
    assert told["figures"]["epoch"] == 2 and 0 <= told["figures"]["dice"] <= 1
    committed = read_description(WEIGHTS, MADE_BY)
    assert told.keys() == committed.keys() and told["figures"].keys() == committed["figures"].keys()
    card = weights.with_suffix(".md").read_text()
    assert card == model_card(weights)
    assert "11 synthetic studies" in card and "2 epochs of 5 updates of 2 windows" in card
    before = load_file(weights)
    pretrain(replica / "raw", replica / "cache", replica / "out", TINY)  # finished: nothing is trained again
    assert all((before[name] == tensor).all() for name, tensor in load_file(weights).items())


def test_only_studies_with_a_mask_are_learnt_from_and_some_are_held_out(replica, monkeypatch):
    seen = {}

    class Watched(module.LocatorDataset):
        def __init__(self, store, uids, preset):
            super().__init__(store, uids, preset)
            seen["learnt"] = set(uids)

    def judge(model, store: StudyStore, uids, context):
        seen["held out"] = set(uids)
        return {"score": 0.5, "dice": 0.5, **{f"dice_C{n}": 0.5 for n in range(1, 8)}}

    monkeypatch.setattr(module, "LocatorDataset", Watched)
    monkeypatch.setattr(module, "mean_dice", judge)
    pretrain(replica / "raw", replica / "cache", replica / "out", TINY)
    assert not seen["learnt"] & seen["held out"]
    assert len(seen["learnt"]) == 9 and len(seen["held out"]) == 2


def test_what_is_no_replica_is_refused(replica):
    (replica / "raw" / "replica.json").unlink()
    with pytest.raises(InputError, match=r"replica\.json: no such file; expected a replica's folder"):
        pretrain(replica / "raw", replica / "cache", replica / "out", TINY)


def test_too_few_masks(replica):
    store = open_volumes(replica / "other", TINY)
    made, _ = volumes(replica / "few", 2, 1)
    for uid in made.uids():
        arrays, meta = made.read(uid)
        store.write(uid, {name: np.array(array) for name, array in arrays.items()}, meta)
    with pytest.raises(InputError, match="1 prepared studies with a mask, expected at least 2"):
        pretrain(replica / "raw", replica / "other", replica / "out", TINY)
