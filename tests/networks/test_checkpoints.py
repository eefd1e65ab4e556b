import pickle

import pytest
import torch
from torch import nn

from cspine.errors import InputError
from cspine.networks import checkpoints
from cspine.networks.checkpoints import (
    check_settings,
    load_weights,
    provenance,
    read_description,
    save_weights,
)

DESCRIPTION = {
    "kind": "classifier",
    "fold": 2,
    "preset": {"stacks": {"slices": 5}, "spacing_mm": [0.5, 0.5, 0.5]},
}


def network(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


@pytest.fixture
def saved(tmp_path):
    model = network()
    path = tmp_path / "run" / "model.safetensors"
    save_weights(path, model.state_dict(), DESCRIPTION)
    return path, model


def test_weights_and_description_come_back(saved):
    path, model = saved
    other = network()
    load_weights(path, other, "make train")
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert read_description(path, "make train") == DESCRIPTION
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_weights_of_another_layout_are_saved(tmp_path):
    weights = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, requires_grad=True)}
    save_weights(tmp_path / "w.safetensors", weights, {})
    holder = nn.Module()
    holder.a, holder.b = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(2))
    load_weights(tmp_path / "w.safetensors", holder, "make train")
    assert torch.equal(holder.a, weights["a"])


def test_a_missing_file_says_who_makes_it(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint; `make locate` makes it"):
        read_description(tmp_path / "model.safetensors", "make locate")


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "text"])
def test_a_damaged_file_is_named(saved, damage):
    path, _ = saved
    content = path.read_bytes()
    damaged = {
        "cut": content[: len(content) - 10],
        "empty": b"",
        "header": b"\xff" * 8 + content[8:],
        "text": b"no checkpoint at all",
    }[damage]
    path.write_bytes(damaged)
    for ask in (
        lambda: read_description(path, "make train"),
        lambda: load_weights(path, network(), "make train"),
    ):
        with pytest.raises(InputError, match=r"model\.safetensors: not a checkpoint of this kit"):
            ask()


def test_safetensors_of_somebody_else_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not a checkpoint of this kit"):
        read_description(tmp_path / "model.safetensors", "make train")


class Bomb:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "it_ran"
    for name, write in (
        ("pickled", lambda path: path.write_bytes(pickle.dumps(Bomb(trace)))),
        ("torch", lambda path: torch.save({"a": Bomb(trace)}, path)),
    ):
        path = tmp_path / f"{name}.safetensors"
        write(path)
        with pytest.raises(InputError, match="not a checkpoint"):
            load_weights(path, network(), "make train")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace))).close()  # the bomb is live
    assert trace.exists()


def test_weights_of_another_architecture(saved):
    path, _ = saved
    with pytest.raises(InputError, match="weights do not fit this network.*make train"):
        load_weights(path, network(width=5), "make train")
    with pytest.raises(InputError, match="weights do not fit"):
        load_weights(path, nn.Linear(3, 4), "make train")


def test_other_settings_are_named_one_by_one(tmp_path):
    path = tmp_path / "model.safetensors"
    other = {
        "kind": "classifier",
        "fold": 2,
        "preset": {"stacks": {"slices": 9}, "spacing_mm": (0.5, 0.5, 1.0)},
    }
    as_tuple = {**DESCRIPTION, "preset": {**DESCRIPTION["preset"], "spacing_mm": (0.5,) * 3}}
    check_settings(path, DESCRIPTION, as_tuple, "x")
    with pytest.raises(InputError) as caught:
        check_settings(path, DESCRIPTION, other, "make train")
    message = str(caught.value)
    assert "preset.stacks.slices 5 instead of 9" in message
    assert "preset.spacing_mm [0.5, 0.5, 0.5] instead of [0.5, 0.5, 1.0]" in message
    assert "fold" not in message and str(path) in message and "make train" in message


def test_settings_that_one_side_lacks(tmp_path):
    more = {**DESCRIPTION, "preset": {**DESCRIPTION["preset"], "more": 1}}
    with pytest.raises(InputError, match="preset.more None instead of 1"):
        check_settings(tmp_path, DESCRIPTION, more, "x")


def test_provenance_without_git(monkeypatch):
    """A container without git trains all the same."""
    assert set(provenance()) == {"cspine", "git", "python", "torch", "timm", "numpy"}
    monkeypatch.setenv("PATH", "")
    assert checkpoints.provenance()["git"] == "unknown"
