import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.necks import LOCATE, uid, volumes

from cspine.errors import InputError
from cspine.execution.sources import MADE_FROM
from cspine.execution.store import StudyStore
from cspine.settings.layout import LOCATOR, RunLayout
from cspine.training import locate
from cspine.training.distributed import DistributedContext
from cspine.training.locate import LocatorStage, _note_other_locators, dice, label_studies, train_fold

ALONE = DistributedContext(0, 1, torch.device("cpu"))
STUDIES, MASKS = 10, 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both folds of a locator, and the label maps of all studies."""
    folder = tmp_path_factory.mktemp("locate")
    store, folds = volumes(folder / "volumes", STUDIES, MASKS)
    stage = LocatorStage(folder / "run", store, folds, LOCATE, ALONE)
    for fold in range(2):
        train_fold(stage, fold)
    labels = StudyStore(folder / "labels", {"made": "here"})
    assert label_studies(stage, labels) == STUDIES
    return stage, labels


@pytest.mark.slow
def test_it_learns(trained):
    stage, _ = trained
    for fold in range(2):
        metrics = pd.read_csv(RunLayout(stage.run).fold(LOCATOR, fold) / "metrics.csv")
        assert metrics["loss"].notna().all()  # every epoch
        metrics = metrics.dropna(subset="score")
        assert metrics["dice"].max() > 0.6
        assert np.allclose(metrics["score"], 1 - metrics["dice"])
        each = metrics[[f"dice_C{level}" for level in range(1, 8)]]
        assert ((each >= 0) & (each <= 1)).all(axis=None)
        # every study has all levels here, so each level counts alike
        assert np.allclose(each.mean(axis=1), metrics["dice"])


def test_every_study_has_a_label_map_that_fits(trained):
    stage, labels = trained
    assert labels.uids() == stage.volumes.uids()
    scores = []
    for number in range(MASKS):
        arrays, meta = labels.read(uid(number))
        truth = stage.volumes.read(uid(number))[0]["labels"]
        assert arrays["labels"].shape == truth.shape and arrays["labels"].dtype == np.uint8
        scores.append(dice(arrays["labels"], truth))
        assert meta["affine"] == stage.volumes.meta(uid(number))["affine"]
    assert np.nanmean(scores) > 0.6


def test_a_study_is_labelled_by_the_fold_that_never_saw_it(trained, tmp_path, monkeypatch):
    """`fold<k>` was trained without fold k: its training samples are watched, and who is asked for whom."""
    stage, _ = trained
    learnt = {}

    class Watched(locate.LocatorDataset):
        def __init__(self, store, uids, preset):
            super().__init__(store, uids, preset)
            learnt[len(learnt)] = set(uids)

    monkeypatch.setattr(locate, "LocatorDataset", Watched)
    for fold in range(2):
        train_fold(stage, fold)  # finished, so that nothing is trained again
    asked = {}
    load = locate.load_locator

    def watch(path, device):
        asked[len(asked)] = int(path.parent.name.removeprefix("fold"))
        return load(path, device)

    monkeypatch.setattr(locate, "load_locator", watch)
    labels = StudyStore(tmp_path, {"made": "again"})
    for number in (0, 1, 9):
        only = replace(stage, folds={uid(number): stage.folds[uid(number)]})
        label_studies(only, labels)
        assert labels.meta(uid(number))["fold"] == stage.folds[uid(number)]
        assert uid(number) not in learnt[asked[len(asked) - 1]]
    assert learnt[0] | learnt[1] == {uid(number) for number in range(MASKS)}


def test_only_what_is_missing_is_labelled(trained):
    stage, labels = trained
    assert label_studies(stage, labels) == 0
    shutil.rmtree(labels.folder / uid(3))
    assert label_studies(stage, labels) == 1 and labels.has(uid(3))


def test_a_study_whose_volume_changed_is_labelled_anew(trained):
    stage, labels = trained
    arrays, meta = stage.volumes.read(uid(3), mmap=False)
    before = labels.meta(uid(3))
    stage.volumes.write(
        uid(3), {**arrays, "volume": arrays["volume"][::-1]}, {**meta, MADE_FROM: {"names": "x"}}
    )
    assert label_studies(stage, labels) == 1
    assert labels.meta(uid(3))["digest"] != before["digest"]
    stage.volumes.write(uid(3), arrays, meta)
    assert label_studies(stage, labels) == 1
    assert labels.meta(uid(3)) == before


def test_label_maps_of_another_runs_locators_are_named(trained, tmp_path, capsys):
    stage, labels = trained
    _note_other_locators(stage, labels)
    assert capsys.readouterr().out == ""
    other = shutil.copytree(stage.run, tmp_path / "other")
    shutil.copy(RunLayout(other).model(LOCATOR, 0), RunLayout(other).model(LOCATOR, 1))
    _note_other_locators(replace(stage, run=other), labels)
    said, theirs = capsys.readouterr().out, [one for one, fold in stage.folds.items() if fold == 1]
    assert f"{len(theirs)} of {STUDIES} label maps" in said and min(theirs) in said and "delete" in said


def test_two_processes_share_the_work_without_a_gap(trained, tmp_path):
    """The second one comes late, when the first has written its share."""
    stage, _ = trained
    labels = StudyStore(tmp_path, {"made": "by two"})

    class OneOfTwo(DistributedContext):
        def sum(self, values):
            return values

    for rank in range(2):
        label_studies(replace(stage, context=OneOfTwo(rank, 2, ALONE.device)), labels)
    assert labels.uids() == stage.volumes.uids()


def test_too_few_masks(tmp_path):
    store, folds = volumes(tmp_path / "volumes", 4, 1)
    stage = LocatorStage(tmp_path / "run", store, folds, LOCATE, ALONE)
    assert stage.with_masks() == [uid(0)]
    with pytest.raises(
        InputError, match="locator fold 0: 0 studies with a mask to learn from and 1 to be judged on"
    ):
        train_fold(stage, 0)
    with pytest.raises(InputError, match="locator fold 1: 1 studies with a mask to learn from and 0"):
        train_fold(stage, 1)
    assert not (tmp_path / "run").exists()


def test_a_label_map_needs_its_fold(tmp_path):
    store, folds = volumes(tmp_path / "volumes", 2, 2)
    with pytest.raises(InputError, match="fold0.*no such checkpoint; `make locate` makes it"):
        label_studies(
            LocatorStage(tmp_path / "run", store, folds, LOCATE, ALONE), StudyStore(tmp_path / "labels", {})
        )


def test_dice():
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[:2], truth[2:] = 1, 2
    found = truth.copy()
    found[3] = 3
    scores = dice(found, truth)
    assert scores[0] == 1 and scores[1] == pytest.approx(2 * 16 / 48) and scores[2] == 0
    assert np.isnan(scores[3:]).all()
