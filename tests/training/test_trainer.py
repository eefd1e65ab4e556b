import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny
from helpers.tiny import ALONE, SETTINGS, make_training
from safetensors.torch import load_file
from timm.utils import ModelEmaV3

from cspine.errors import InputError
from cspine.networks import precision
from cspine.networks.checkpoints import load_weights, read_description
from cspine.settings.layout import LEARNT_FROM, MODEL
from cspine.training import trainer
from cspine.training.trainer import Trainer, train_network

SRC = Path(__file__).parents[2] / "src"
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder in which the tiny network was trained in one go."""
    folder = tmp_path_factory.mktemp("undisturbed") / "fold0"
    assert train_network(make_training(folder), SETTINGS, 5, ALONE)
    return folder


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_leaves_one_set_of_files(undisturbed):
    names = {path.name for path in undisturbed.iterdir()}
    assert names == {MODEL, "metrics.csv", "tensorboard"}
    untrained = tiny.evaluate(tiny.make_model().eval())["score"]
    assert pd.read_csv(undisturbed / "metrics.csv")["score"].min() < 0.8 * untrained
    assert read_description(undisturbed / MODEL, "x") == {"kind": "tiny", "settings": {"width": 16}}


def test_metrics_name_the_global_score_before_the_other_forms(undisturbed):
    metrics = pd.read_csv(undisturbed / "metrics.csv")
    assert list(metrics.columns) == ["epoch", "loss", "skipped", "seconds", "score", "row", "column"]
    assert metrics["epoch"].tolist() == [1, 2, 3, 4]
    assert metrics["loss"].notna().all() and metrics["seconds"].notna().all()
    assert metrics["score"].notna().tolist() == [False, True, False, True]


def test_the_best_evaluation_is_the_checkpoint(undisturbed):
    model = tiny.make_model()
    load_weights(undisturbed / MODEL, model, "x")
    wanted = pd.read_csv(undisturbed / "metrics.csv")["score"].min()
    assert tiny.evaluate(model.eval())["score"] == pytest.approx(wanted, rel=1e-6)


def test_a_worse_last_epoch_is_not_kept(tmp_path):
    """The scores are made up: the second of three evaluations is the best, so its weights must be kept."""
    seen = []

    def evaluate(model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"score": [2.0, 1.0, float("nan")][len(seen) - 1]}

    train_network(
        replace(make_training(tmp_path), evaluate=evaluate),
        replace(SETTINGS, epochs=3, evaluate_every=1),
        5,
        ALONE,
    )
    kept = load_file(tmp_path / MODEL)
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)
    assert not torch.equal(kept["0.weight"], seen[2]["0.weight"])


def test_a_score_that_is_nan_does_not_hide_later_ones(tmp_path):
    seen = []

    def evaluate(model):
        seen.append(model.state_dict()["0.weight"].clone())
        return {"score": [float("nan"), 1.0][len(seen) - 1]}

    train_network(
        replace(make_training(tmp_path), evaluate=evaluate),
        replace(SETTINGS, epochs=2, evaluate_every=1),
        5,
        ALONE,
    )
    if_first_counts = torch.equal(load_file(tmp_path / MODEL)["0.weight"], seen[0])
    assert not if_first_counts


def test_the_averaged_weights_are_judged_and_kept(tmp_path, monkeypatch):
    """The checkpoint is the EMA: recomputed here by hand from the raw weights after every update."""
    raw, decays = [], []
    update = ModelEmaV3.update

    def watch(self, model, step=None):
        raw.append(model.state_dict()["0.weight"].clone())
        decays.append(self.get_decay(step))
        update(self, model, step=step)

    monkeypatch.setattr(ModelEmaV3, "update", watch)
    train_network(make_training(tmp_path), replace(SETTINGS, epochs=1, ema_decay=0.9), 5, ALONE)
    average = raw[0]
    for weights, decay in zip(raw[1:], decays[1:], strict=True):
        average = decay * average + (1 - decay) * weights
    kept = load_file(tmp_path / MODEL)["0.weight"]
    assert len(raw) == 4  # 11 batches, three a move: 3 + 3 + 3 + 2
    assert torch.allclose(kept, average, atol=1e-6)
    assert not torch.allclose(kept, raw[-1], atol=1e-6)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_killed_and_started_again_it_ends_in_the_same_weights(tmp_path, undisturbed, seed):
    """SIGKILL at random moments, most of them within an epoch, where gradients are being accumulated."""
    environment = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{TESTS}"}
    command = [sys.executable, str(Path(tiny.__file__)), "kill", str(tmp_path / "fold0"), str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    story = json.loads(done.stdout.splitlines()[-1])
    assert story["code"] == 0 and story["kills"] >= 3
    assert any(step > 0 for _, step in story["steps"])  # somebody died within an epoch
    assert all(step % (SETTINGS.batch_size // SETTINGS.at_once) == 0 for _, step in story["steps"])
    assert same(tmp_path / "fold0" / MODEL, undisturbed / MODEL)
    one, other = (
        pd.read_csv(folder / "metrics.csv").drop(columns="seconds")
        for folder in (tmp_path / "fold0", undisturbed)
    )
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert {path.name for path in (tmp_path / "fold0").iterdir()} == {MODEL, "metrics.csv", "tensorboard"}


class Stop(Exception):
    """Ends a training run where a test wants it to."""


def stopped_after(training, states, monkeypatch):
    """Train until so many states are written, then stop without any farewell."""
    written = []
    save = Trainer._save_state

    def count(self):
        save(self)
        written.append(1)
        if len(written) == states:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_state", count)
        with pytest.raises(Stop):
            train_network(training, SETTINGS, 5, ALONE)


@pytest.mark.parametrize("states", [1, 3, 4, 6, 16])
def test_every_state_leads_to_the_same_weights(tmp_path, undisturbed, monkeypatch, states):
    """4 states an epoch: within it after 3, 6 and 9 of 11 batches, and at its end; 16 is the very last."""
    stopped_after(make_training(tmp_path), states, monkeypatch)
    assert not (tmp_path / MODEL).exists()
    assert train_network(make_training(tmp_path), SETTINGS, 5, ALONE)
    assert same(tmp_path / MODEL, undisturbed / MODEL)


def test_another_seed_is_another_run(tmp_path, undisturbed):
    train_network(make_training(tmp_path), SETTINGS, 6, ALONE)
    assert not same(tmp_path / MODEL, undisturbed / MODEL)


def test_workers_do_not_change_the_result(tmp_path, undisturbed):
    train_network(make_training(tmp_path), replace(SETTINGS, workers=2), 5, ALONE)
    assert same(tmp_path / MODEL, undisturbed / MODEL)


def test_what_a_kill_left_is_swept_away(tmp_path, undisturbed):
    (tmp_path / ".state.tmp").write_bytes(b"half a state")
    (tmp_path / ".best.safetensors.123.tmp").write_bytes(b"half a checkpoint")
    train_network(make_training(tmp_path), SETTINGS, 5, ALONE)
    assert {path.name for path in tmp_path.iterdir()} == {MODEL, "metrics.csv", "tensorboard"}
    (tmp_path / "state.pt").write_bytes(b"killed between the last two steps")
    assert not train_network(make_training(tmp_path), SETTINGS, 5, ALONE)
    assert not (tmp_path / "state.pt").exists()


def test_a_finished_fold_is_not_trained_again(undisturbed, monkeypatch):
    before = (undisturbed / MODEL).stat()
    monkeypatch.setattr(trainer, "Trainer", None)
    assert train_network(make_training(undisturbed), SETTINGS, 5, ALONE) is False
    after = (undisturbed / MODEL).stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_a_fold_that_learnt_from_other_studies_is_kept_and_named(tmp_path, capsys):
    training = replace(make_training(tmp_path / "fold0"), studies={"1.1": "a", "1.2": "b"})
    train_network(training, SETTINGS, 5, ALONE)
    assert json.loads((tmp_path / "fold0" / LEARNT_FROM).read_text()) == training.studies
    weights = (tmp_path / "fold0" / MODEL).read_bytes()
    capsys.readouterr()
    assert not train_network(training, SETTINGS, 5, ALONE)
    assert "note" not in capsys.readouterr().out
    changed = replace(training, studies={"1.1": "c", "1.3": "d", "1.4": "e"})
    assert not train_network(changed, SETTINGS, 5, ALONE)
    said = capsys.readouterr().out
    assert "2 new (1.3, ...), 1 changed (1.1), 1 gone (1.2)" in said and str(tmp_path / "fold0") in said
    assert (tmp_path / "fold0" / MODEL).read_bytes() == weights


def test_other_settings_are_refused(tmp_path, undisturbed, monkeypatch):
    with pytest.raises(
        InputError, match=r"model\.safetensors: .*settings\.width 16 instead of 32.*make locate"
    ):
        train_network(
            replace(make_training(undisturbed, settings={"width": 32}), made_by="make locate"),
            SETTINGS,
            5,
            ALONE,
        )
    stopped_after(make_training(tmp_path), 2, monkeypatch)
    with pytest.raises(InputError, match=r"state\.pt: .*settings\.width 16 instead of 32"):
        train_network(make_training(tmp_path, settings={"width": 32}), SETTINGS, 5, ALONE)
    with pytest.raises(InputError, match=r"saved with 11 steps an epoch, this run has 22"):
        train_network(make_training(tmp_path), replace(SETTINGS, batch_size=1), 5, ALONE)


@pytest.mark.parametrize("damage", ["cut", "text", "foreign", "code"])
def test_a_broken_state_is_named_and_not_run(tmp_path, monkeypatch, damage):
    stopped_after(make_training(tmp_path), 2, monkeypatch)
    path = tmp_path / "state.pt"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "text":
        path.write_bytes(b"no state")
    elif damage == "foreign":
        torch.save({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes(pickle.dumps(Path("/"), protocol=2))
    with pytest.raises(InputError, match=r"state\.pt: not a training state.*delete it"):
        train_network(make_training(tmp_path), SETTINGS, 5, ALONE)


def spoiled(training, spoil):
    """The training with a factor on the batch of every step of which `spoil` says so, as half precision would."""
    steps = []

    def loss(model, batch):
        steps.append(1)
        factor = spoil(len(steps) - 1)
        found = training.loss(model, {"x": batch["x"] * factor, "y": batch["y"]})
        return found * factor

    return replace(training, loss=loss)


@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path, what):
    """44 steps of which three spoil two of 16 updates: batch norm's figures and the weights stay whole."""
    training = spoiled(make_training(tmp_path), lambda step: what if step in (4, 17, 18) else 1.0)
    assert train_network(training, SETTINGS, 5, ALONE)
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert metrics["skipped"].tolist() == [1, 1, 0, 0] and np.isfinite(metrics["loss"]).all()
    assert all(part.isfinite().all() for part in load_file(tmp_path / MODEL).values())
    untrained = tiny.evaluate(tiny.make_model().eval())["score"]
    assert metrics["score"].min() < 0.9 * untrained


def test_a_skipped_step_leaves_no_trace_after_a_resume(tmp_path, monkeypatch):
    """What was skipped before a stop is still counted after it, and the weights are those of a run in one go."""

    def bad(step):
        return float("nan") if step in (4, 17) else 1.0

    assert train_network(spoiled(make_training(tmp_path / "one"), bad), SETTINGS, 5, ALONE)
    two = make_training(tmp_path / "two")
    stopped_after(spoiled(two, bad), 3, monkeypatch)  # after 9 of 11 steps of the first epoch
    assert train_network(spoiled(two, lambda step: bad(step + 9)), SETTINGS, 5, ALONE)
    assert same(tmp_path / "one" / MODEL, tmp_path / "two" / MODEL)
    columns = ["loss", "skipped", "score"]
    one, other = (pd.read_csv(tmp_path / name / "metrics.csv")[columns] for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_loss_that_stays_nan_ends_the_run_with_advice(tmp_path, monkeypatch):
    training = spoiled(make_training(tmp_path), lambda step: float("nan") if step > 20 else 1.0)
    many = replace(SETTINGS, epochs=20)
    with pytest.raises(
        InputError, match=r"tiny: 20 updates in a row without a finite .* lower learning_rate"
    ):
        train_network(training, many, 5, ALONE)
    assert not (tmp_path / MODEL).exists()
    left = torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["skipped_in_a_row"]
    assert 0 < left < trainer.MOST_SKIPPED
    done = []
    again = spoiled(make_training(tmp_path), lambda step: done.append(step) or float("nan"))
    with pytest.raises(InputError, match="20 updates in a row"):  # those before the stop count
        train_network(again, many, 5, ALONE)
    assert len(done) <= 3 * (trainer.MOST_SKIPPED - left)


def test_each_epoch_is_one_line_of_a_log(tmp_path, capsys):
    train_network(replace(make_training(tmp_path), place=(2, 5)), SETTINGS, 5, ALONE)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny")]
    assert len(lines) == SETTINGS.epochs
    assert all("(2 of 5)" in line and "loss" in line and "samples/s" in line for line in lines)
    assert (
        "epoch 2 of 4" in lines[1] and "score" in lines[1] and "score" not in lines[0] and "left" in lines[1]
    )


def test_accumulated_steps_are_one_large_batch(tmp_path, monkeypatch):
    """Three batches of one give the gradient of one batch of three (no batch norm, no dropout here)."""
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.float32)
    found = []

    def linear():
        torch.manual_seed(0)
        return torch.nn.Linear(8, 1)

    for at_once in (1, 11):
        training = replace(make_training(tmp_path / str(at_once)), make_model=linear)
        train_network(
            training,
            replace(SETTINGS, batch_size=11, at_once=at_once, repeats=1, epochs=3),
            5,
            ALONE,
        )
        found.append(load_file(tmp_path / str(at_once) / MODEL)["weight"])
    assert torch.allclose(*found, atol=1e-5)


def test_the_learning_rate_rises_and_falls(tmp_path, monkeypatch):
    rates = []
    step = Trainer._step

    def watch(self, batch, is_update):
        value = step(self, batch, is_update)
        rates.append(self.optimizer.param_groups[0]["lr"])
        return value

    monkeypatch.setattr(Trainer, "_step", watch)
    settings = replace(SETTINGS, epochs=10, batch_size=2, warmup_share=0.1, learning_rate=0.01)
    train_network(make_training(tmp_path), settings, 5, ALONE)
    assert len(rates) == 110 and rates[0] == pytest.approx(0.01 / 50)
    assert max(rates) > 0.0095 and 9 <= rates.index(max(rates)) <= 12
    assert rates[-1] < 0.01 / 50 and all(a >= b for a, b in zip(rates[12:], rates[13:], strict=False))
