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
from cspine.training.classify import ClassifierStage, _make_classifier, pretrain_encoder, train_fold
from cspine.training.datasets import VertebraDataset
from cspine.training.distributed import DistributedContext

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


def test_half_of_the_vertebrae_are_fractured_and_the_others_change_with_the_epoch(stage):
    annotate(stage.columns, stage.truth)
    studies = stage.dataset(0, held_out=False)
    vertebrae = VertebraDataset(studies)
    broken = int(sum(labels[:7].sum() for labels in studies.truth))
    assert len(vertebrae) == 2 * broken > 0
    shown = [vertebrae[-1, 0, index]["slices"].numpy() for index in range(len(vertebrae))]
    assert all(slices.max() == 1 for slices in shown[:broken])
    assert all(slices.max() == 0 for slices in shown[broken:])
    first, again, later = (vertebrae[epoch, 0, len(vertebrae) - 1]["images"] for epoch in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)


def test_the_classifier_starts_from_the_encoder_that_was_trained(stage):
    annotate(stage.columns, stage.truth)
    pretrain_encoder(stage, 0, stage.dataset(0, held_out=False), stage.dataset(0, held_out=True))
    checkpoint = RunLayout(stage.run).model(ENCODER, 0)
    assert read_description(checkpoint, "make train")["kind"] == ENCODER
    torch.manual_seed(1)
    first = _make_classifier(stage, 0)
    torch.manual_seed(2)
    second = _make_classifier(stage, 0)
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


def test_without_boxes_it_says_so(stage):
    for uid in stage.truth:
        arrays, meta = stage.columns.read(uid, mmap=False)
        stage.columns.write(uid, {**arrays, "boxes": np.zeros((0, 6))}, meta)
    with pytest.raises(
        InputError, match=r"encoder fold 0: 0 fractured vertebrae with boxes .*encoder_training = None"
    ):
        pretrain_encoder(stage, 0, stage.dataset(0, held_out=False), stage.dataset(0, held_out=True))
