from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.hand_made import column
from helpers.necks import CLASSIFY, columns, uid

from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import best_constants, column_loss, global_loss, row_loss
from cspine.errors import InputError
from cspine.execution.store import StudyStore
from cspine.networks import precision
from cspine.networks.checkpoints import read_description
from cspine.networks.classifier import study_and_slice_logits
from cspine.networks.fold_models import load_classifier, load_locator, preset_of
from cspine.settings.layout import CLASSIFIER, LOGITS, SLICE_LOGITS, RunLayout
from cspine.training import classify
from cspine.training.classifier_stage import ClassifierStage, labels_of
from cspine.training.classify import predict, train_fold
from cspine.training.distributed import DistributedContext

ALONE = DistributedContext(0, 1, torch.device("cpu"))
STUDIES = 36


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A stage whose fold 1 is trained."""
    folder = tmp_path_factory.mktemp("classify")
    store, truth, _ = columns(folder / "columns", STUDIES)
    folds = {uid(number): number // 3 % 3 for number in range(STUDIES + 6)}  # some have no column yet
    stage = ClassifierStage(folder / "run", store, truth, folds, CLASSIFY, ALONE)
    train_fold(stage, 1)
    return stage


def oof_of(stage, fold=1):
    path = RunLayout(stage.run).fold(CLASSIFIER, fold) / LOGITS
    return pd.read_csv(path, dtype={"StudyInstanceUID": str}).set_index("StudyInstanceUID")


@pytest.mark.slow
def test_it_beats_the_constants(trained):
    logits = oof_of(trained)
    truth = np.stack([trained.truth[study] for study in logits.index])
    others = np.stack([labels for study, labels in trained.truth.items() if trained.folds[study] != 1])
    constants = np.tile(best_constants(others.mean(axis=0)), (len(truth), 1))
    score = global_loss(truth, 1 / (1 + np.exp(-logits.to_numpy())))
    assert score < 0.6 * global_loss(truth, constants)


def test_the_file_holds_exactly_the_held_out_studies(trained):
    logits = oof_of(trained)
    wanted = [study for study in trained.truth if trained.folds[study] == 1]
    assert list(logits.index) == wanted and len(wanted) == STUDIES // 3
    assert tuple(logits.columns) == PREDICTION_TYPES
    assert np.isfinite(logits.to_numpy()).all()
    learnt_from = trained.dataset(1, held_out=False).uids
    assert not set(learnt_from) & set(wanted) and len(learnt_from) == STUDIES * 2 // 3


def test_the_three_forms_of_the_score(trained):
    metrics = pd.read_csv(RunLayout(trained.run).fold(CLASSIFIER, 1) / "metrics.csv")
    assert [name for name in metrics.columns if name in ("score", "row", "column")][0] == "score"
    best = metrics.loc[metrics["score"].idxmin()]
    logits = oof_of(trained)
    truth = np.stack([trained.truth[study] for study in logits.index])
    values = 1 / (1 + np.exp(-logits.to_numpy()))
    for name, form in (("score", global_loss), ("row", row_loss), ("column", column_loss)):
        assert best[name] == pytest.approx(form(truth, values), abs=1e-6)


def test_the_checkpoint_says_what_it_is(trained):
    path = RunLayout(trained.run).model(CLASSIFIER, 1)
    description = read_description(path, "make train")
    assert description["kind"] == "classifier" and description["fold"] == 1
    assert preset_of(path, CLASSIFIER) == CLASSIFY
    assert RunLayout(trained.run).models(CLASSIFIER) == [path]
    with pytest.raises(InputError, match="a classifier, expected a locator"):
        load_locator(path, ALONE.device)
    with pytest.raises(InputError, match="no finished locator.*make locate"):
        RunLayout(trained.run).models("locator")


def test_a_finished_fold_is_left_alone(trained, monkeypatch):
    folder = RunLayout(trained.run).fold(CLASSIFIER, 1)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(classify, "predict", None)
    train_fold(trained, 1)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", [LOGITS, SLICE_LOGITS])
def test_logits_that_a_kill_prevented_are_made_up_for(trained, name):
    path = RunLayout(trained.run).fold(CLASSIFIER, 1) / name
    content = path.read_bytes()
    path.unlink()
    train_fold(trained, 1)
    assert path.read_bytes() == content


def test_slice_logits_are_those_of_the_held_out_studies_in_order(trained):
    slices = np.load(RunLayout(trained.run).slice_logits(1))
    held_out = trained.dataset(1, held_out=True)
    assert slices.shape == (len(held_out), 7, CLASSIFY.stacks.slices) and slices.dtype == np.float32
    model = load_classifier(RunLayout(trained.run).model(CLASSIFIER, 1), ALONE.device)
    part = held_out[-1, 0, 3]
    _, expected = study_and_slice_logits(model, part["images"][None], part["masks"][None], ALONE.device)
    np.testing.assert_allclose(slices[3], expected[0].numpy(), atol=1e-3)


def test_logits_follow_the_studies(trained, tmp_path):
    """A column that was cut later is predicted as well."""
    store, truth, folds = columns(trained.columns.folder, STUDIES + 6)
    assert folds == trained.folds and folds[uid(STUDIES + 3)] == 1
    train_fold(replace(trained, columns=store, truth=truth), 1)
    assert len(oof_of(trained)) == STUDIES // 3 + 3
    train_fold(trained, 1)
    assert len(oof_of(trained)) == STUDIES // 3


def test_logits_of_a_deleted_model_are_not_kept(trained, tmp_path, monkeypatch):
    """Who deletes a checkpoint and trains anew must not be scored on what the old one said."""
    folder = RunLayout(tmp_path).fold(CLASSIFIER, 1)
    folder.mkdir(parents=True)
    (folder / LOGITS).write_text(
        "StudyInstanceUID\n" + "\n".join(trained.dataset(1, held_out=True).uids) + "\n"
    )
    short = replace(CLASSIFY, classifier_training=replace(CLASSIFY.classifier_training, epochs=1, repeats=1))
    train_fold(replace(trained, run=tmp_path, preset=short), 1)
    assert oof_of(replace(trained, run=tmp_path)).shape == (STUDIES // 3, 8)


def test_a_prediction_does_not_depend_on_its_company(trained, monkeypatch):
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.float32)
    model = load_classifier(RunLayout(trained.run).model(CLASSIFIER, 1), ALONE.device)
    data = trained.dataset(1, held_out=True)
    together, slices = predict(model, data, trained)
    one = replace(
        CLASSIFY, classifier_training=replace(CLASSIFY.classifier_training, batch_size=1, workers=2)
    )
    alone = predict(model, data, replace(trained, preset=one))
    assert np.allclose(together, alone[0], atol=1e-4) and np.allclose(slices, alone[1], atol=1e-4)


def test_a_fractured_level_of_which_little_is_in_view_counts_as_whole(tmp_path):
    whole, folds = column((7,), study=uid(0)), {uid(0): 0, uid(1): 1}
    store = StudyStore(tmp_path, {"hand": "made"})
    store.write(uid(0), whole.arrays(), whole.meta())
    labels = whole.labels.copy()
    labels[67:] = 0  # the scan ends two planes into the eight of C7
    store.write(uid(1), whole.arrays() | {"labels": labels}, whole.meta())
    names = ["patient_overall", *PREDICTION_TYPES[:7]]
    train = pd.DataFrame([[1, *[0] * 6, 1]] * 2, columns=names)
    train.insert(0, "StudyInstanceUID", [uid(0), uid(1)])
    found = labels_of(train, store, folds)
    assert found[uid(0)].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert found[uid(1)].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


def test_a_fold_without_studies_is_named(trained):
    alone = replace(trained, folds=dict.fromkeys(trained.folds, 0))
    with pytest.raises(InputError, match="classifier fold 1: no study in this fold.*make columns"):
        train_fold(alone, 1)
    with pytest.raises(InputError, match="classifier fold 0: no study outside of this fold"):
        train_fold(alone, 0)
