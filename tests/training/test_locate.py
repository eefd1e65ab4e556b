import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from training.necks import LOCATE, uid, volumes

from cspine.errors import InputError
from cspine.scans.cache import StudyStore
from cspine.training import locate
from cspine.training.distributed import Place
from cspine.training.locate import LocatorJob, dice, label_studies, train_fold
from cspine.training.runs import LOCATOR, fold_folder

ALONE = Place(0, 1, torch.device("cpu"))
STUDIES, MASKS = 10, 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both folds of a locator, and the label maps of all studies."""
    folder = tmp_path_factory.mktemp("locate")
    store, folds = volumes(folder / "volumes", STUDIES, MASKS)
    job = LocatorJob(folder / "run", store, folds, LOCATE, ALONE)
    for fold in range(2):
        train_fold(job, fold)
    labels = StudyStore(folder / "labels", {"made": "here"})
    assert label_studies(job, labels) == STUDIES
    return job, labels


@pytest.mark.slow
def test_it_learns(trained):
    job, _ = trained
    for fold in range(2):
        metrics = pd.read_csv(fold_folder(job.run, LOCATOR, fold) / "metrics.csv")
        assert metrics["dice"].max() > 0.6
        assert np.allclose(metrics["score"], 1 - metrics["dice"])


def test_every_study_has_a_label_map_that_fits(trained):
    job, labels = trained
    assert labels.uids() == job.volumes.uids()
    scores = []
    for number in range(MASKS):
        arrays, meta = labels.read(uid(number))
        truth = job.volumes.read(uid(number))[0]["labels"]
        assert arrays["labels"].shape == truth.shape and arrays["labels"].dtype == np.uint8
        scores.append(dice(arrays["labels"], truth))
        assert meta["affine"] == job.volumes.meta(uid(number))["affine"]
    assert np.nanmean(scores) > 0.6


def test_a_study_is_labelled_by_the_fold_that_never_saw_it(trained, tmp_path, monkeypatch):
    """`fold<k>` was trained without fold k: its training samples are watched, and who is asked for whom."""
    job, _ = trained
    learnt = {}

    class Watched(locate.LocatorDataset):
        def __init__(self, store, uids, preset, size):
            super().__init__(store, uids, preset, size)
            learnt[len(learnt)] = set(uids)

    monkeypatch.setattr(locate, "LocatorDataset", Watched)
    for fold in range(2):
        train_fold(job, fold)  # finished, so that nothing is trained again
    asked = {}
    load = locate.load_locator

    def watch(path, device):
        asked[len(asked)] = int(path.parent.name.removeprefix("fold"))
        return load(path, device)

    monkeypatch.setattr(locate, "load_locator", watch)
    labels = StudyStore(tmp_path, {"made": "again"})
    for number in (0, 1, 9):
        only = replace(job, folds={uid(number): job.folds[uid(number)]})
        label_studies(only, labels)
        assert labels.meta(uid(number))["fold"] == job.folds[uid(number)]
        assert uid(number) not in learnt[asked[len(asked) - 1]]
    assert learnt[0] | learnt[1] == {uid(number) for number in range(MASKS)}


def test_only_what_is_missing_is_labelled(trained):
    job, labels = trained
    assert label_studies(job, labels) == 0
    shutil.rmtree(labels.folder / uid(3))
    assert label_studies(job, labels) == 1 and labels.has(uid(3))


def test_two_processes_share_the_work_without_a_gap(trained, tmp_path):
    """The second one comes late, when the first has written its share."""
    job, _ = trained
    labels = StudyStore(tmp_path, {"made": "by two"})

    class OneOfTwo(Place):
        def total(self, values):
            return values

    for rank in range(2):
        label_studies(replace(job, place=OneOfTwo(rank, 2, ALONE.device)), labels)
    assert labels.uids() == job.volumes.uids()


def test_too_few_masks(tmp_path):
    store, folds = volumes(tmp_path / "volumes", 4, 1)
    job = LocatorJob(tmp_path / "run", store, folds, LOCATE, ALONE)
    assert job.with_masks() == [uid(0)]
    with pytest.raises(
        InputError, match="locator fold 0: 0 studies with a mask to learn from and 1 to be judged on"
    ):
        train_fold(job, 0)
    with pytest.raises(InputError, match="locator fold 1: 1 studies with a mask to learn from and 0"):
        train_fold(job, 1)
    assert not (tmp_path / "run").exists()


def test_a_label_map_needs_its_fold(tmp_path):
    store, folds = volumes(tmp_path / "volumes", 2, 2)
    with pytest.raises(InputError, match="fold0.*no such checkpoint; `make locate` makes it"):
        label_studies(
            LocatorJob(tmp_path / "run", store, folds, LOCATE, ALONE), StudyStore(tmp_path / "labels", {})
        )


def test_dice():
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[:2], truth[2:] = 1, 2
    found = truth.copy()
    found[3] = 3
    scores = dice(found, truth)
    assert scores[0] == 1 and scores[1] == pytest.approx(2 * 16 / 48) and scores[2] == 0
    assert np.isnan(scores[3:]).all()
