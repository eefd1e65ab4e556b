"""The encoder's training on single annotated slices, before the whole classifier's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.necks import CLASSIFY, columns
from safetensors.torch import load_file

from cspine.errors import InputError
from cspine.networks.checkpoints import read_description
from cspine.settings.layout import CLASSIFIER, ENCODER, RunLayout
from cspine.settings.training import TrainSettings
from cspine.training.classifier_stage import ClassifierStage
from cspine.training.classify import make_classifier, train_fold
from cspine.training.datasets import VertebraDataset
from cspine.training.distributed import DistributedContext
from cspine.training.encoder import _encoder_loss, pretrain_encoder
from cspine.training.losses import competition_loss, slice_loss

FIT = TrainSettings(epochs=3, batch_size=4, learning_rate=3e-3, ema_decay=0.5, evaluate_every=1)


def annotate(store, truth):
    """Give every broken level boxes over its whole height."""
    for uid, labels in truth.items():
        arrays, meta = store.read(uid, mmap=False)
        rows = [
            (level + 1, height, 0, 0, 5, 5)
            for level in np.flatnonzero(labels[:7])
            for height in np.arange(meta["extents"][level][0], meta["extents"][level][1], 0.5)
        ]
        store.write(uid, {**arrays, "boxes": np.array(rows, float).reshape(-1, 6)}, meta)


@pytest.fixture
def stage(tmp_path):
    store, truth, folds = columns(tmp_path / "columns", 9)
    preset = replace(CLASSIFY, encoder_training=FIT)
    return ClassifierStage(
        tmp_path / "run", store, truth, folds, preset, DistributedContext(0, 1, torch.device("cpu"))
    )


@pytest.mark.parametrize("whole_each", [1, 3])
def test_every_fractured_vertebra_and_whole_ones_that_change_with_the_epoch(stage, whole_each):
    annotate(stage.columns, stage.truth)
    stage = replace(stage, preset=replace(stage.preset, whole_each=whole_each))
    studies = stage.dataset(0, held_out=False)
    vertebrae = VertebraDataset(studies)
    broken = int(sum(labels[:7].sum() for labels in studies.truth))
    assert len(vertebrae) == (1 + whole_each) * broken > 0
    shown = [vertebrae[-1, 0, index]["slices"].numpy() for index in range(len(vertebrae))]
    assert all(slices.max() == 1 for slices in shown[:broken])
    assert all(slices.max() == 0 for slices in shown[broken:])
    first, again, later = (vertebrae[epoch, 0, len(vertebrae) - 1]["images"] for epoch in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)


@pytest.mark.parametrize("dense", [True, False])
def test_a_fracture_without_boxes_is_shown_only_with_a_guess(stage, dense):
    """Nobody drew a box here: with dense targets each slice's is how much of the vertebra it shows."""
    without_boxes(stage)
    studies = replace(stage, preset=replace(stage.preset, dense_targets=dense)).dataset(0, held_out=False)
    vertebrae = VertebraDataset(studies)
    broken = int(sum(labels[:7].sum() for labels in studies.truth))
    assert len(vertebrae.fractured) == (broken if dense else 0) and broken
    if dense:
        targets = torch.stack([vertebrae[-1, 0, index]["slices"] for index in range(broken)])
        assert not targets.isnan().any() and ((targets >= 0) & (targets <= 1)).all() and targets.max() > 0.8


def test_a_level_out_of_view_is_unknown_and_never_shown_alone(stage):
    uid, hidden = next(iter(stage.truth)), np.array([False] * 5 + [True] * 2)
    arrays, meta = stage.columns.read(uid, mmap=False)
    seen = {**meta["verdict"], "levels": [f"C{level}" for level in range(1, 6)]}
    stage.columns.write(uid, arrays, {**meta, "verdict": seen})
    stage.truth[uid][5] = 1.0  # broken, says train.csv, but the scan ends above
    studies = replace(stage, folds={**stage.folds, uid: 1}).dataset(0, held_out=False)
    number = studies.uids.index(uid)
    sample = studies[-1, 0, number]
    assert sample["truth"][:7].isnan().tolist() == hidden.tolist() and not sample["truth"][7].isnan()
    assert sample["slices"].isnan().all(dim=1).tolist() == hidden.tolist()
    vertebrae = VertebraDataset(studies)
    shown = {level for study, level in [*vertebrae.fractured, *vertebrae.whole] if study == number}
    assert shown == {0, 1, 2, 3, 4}
    assert competition_loss(torch.zeros(1, 8), sample["truth"][None]).isfinite()


def test_mixup_shows_mixtures_and_asks_for_both(stage):
    """The loss of a mixture is the mixture of two losses; the same seed mixes alike."""
    batch = {
        "images": torch.tensor([0, 200], dtype=torch.uint8).reshape(2, 1, 1, 1, 1).expand(2, 3, 8, 8, 1),
        "masks": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        "slices": torch.tensor([[0.0] * 3, [1.0] * 3]),
    }
    seen = []

    def model(images, masks):
        seen.append(images[:, 0, 0, 0, 0].tolist())
        return torch.full((2, 3), 2.0)

    shares = set()
    for seed in range(20):
        torch.manual_seed(seed)
        loss = _encoder_loss(model, batch, 0.5)
        torch.manual_seed(seed)
        assert loss == _encoder_loss(model, batch, 0.5)
        shares.add(seen[-1][1])
        other = slice_loss(torch.full((2, 3), 2.0), batch["slices"])
        assert loss == pytest.approx(float(other), rel=1e-5)  # the same logits for all: whatever is mixed
    assert len(shares) > 5 and min(shares) < 100 < max(shares)
    _encoder_loss(model, batch, 0.0)
    assert seen[-1] == [0, 200]


def test_batch_norm_learns_on_in_the_classifiers_training(stage):
    annotate(stage.columns, stage.truth)
    train_fold(stage, 0)
    encoder, classifier = (load_file(RunLayout(stage.run).model(kind, 0)) for kind in (ENCODER, CLASSIFIER))
    means = [name for name in encoder if name.endswith("running_mean")]
    assert means
    assert not any(torch.equal(encoder[name], classifier[name]) for name in means)


def test_without_an_encoders_training_batch_norm_learns_in_the_classifiers(stage):
    train_fold(replace(stage, preset=replace(stage.preset, encoder_training=None)), 0)
    found = load_file(RunLayout(stage.run).model(CLASSIFIER, 0))
    assert all(found[name].any() for name in found if name.endswith("running_mean"))


def test_the_classifier_starts_from_the_encoder_that_was_trained(stage):
    annotate(stage.columns, stage.truth)
    pretrain_encoder(stage, 0, stage.dataset(0, held_out=False), stage.dataset(0, held_out=True))
    checkpoint = RunLayout(stage.run).model(ENCODER, 0)
    assert read_description(checkpoint, "make train")["kind"] == ENCODER
    torch.manual_seed(1)
    first = make_classifier(stage, 0)
    torch.manual_seed(2)
    second = make_classifier(stage, 0)
    for one, two in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(first.slice_alone.weight, second.slice_alone.weight)
    assert not torch.equal(first.level_embedding, second.level_embedding)


def test_a_kill_between_the_encoder_and_the_classifier_changes_no_weight(stage, tmp_path):
    annotate(stage.columns, stage.truth)
    train_fold(stage, 0)
    killed = replace(stage, run=tmp_path / "killed")
    pretrain_encoder(killed, 0, killed.dataset(0, held_out=False), killed.dataset(0, held_out=True))
    torch.manual_seed(99)  # a new process has drawn other numbers
    train_fold(killed, 0)
    for kind in (ENCODER, CLASSIFIER):
        one, two = (load_file(RunLayout(run).model(kind, 0)) for run in (stage.run, killed.run))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def without_boxes(stage):
    for uid in stage.truth:
        arrays, meta = stage.columns.read(uid, mmap=False)
        stage.columns.write(uid, {**arrays, "boxes": np.zeros((0, 6))}, meta)


def test_without_boxes_and_dense_targets_it_says_so(stage):
    without_boxes(stage)
    stage = replace(stage, preset=replace(stage.preset, dense_targets=False))
    with pytest.raises(
        InputError,
        match=r"encoder fold 0: 0 fractured vertebrae with targets .*encoder_training = None.*dense_targets",
    ):
        pretrain_encoder(stage, 0, stage.dataset(0, held_out=False), stage.dataset(0, held_out=True))
