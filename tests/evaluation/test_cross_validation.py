"""The folds of a run put together: every study gets a value, and what does not fit is refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cspine.competition.checks import UID_COLUMN
from cspine.competition.inventory import REPLICA
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import best_constants
from cspine.competition.rows import wide
from cspine.competition.submission import SUBMIT_CLIP
from cspine.competition.tables import read_submission
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.cross_validation import cross_validate, read_oof_logits
from cspine.evaluation.ladder import climb, random_groups
from cspine.settings.layout import LOGITS

SRC = Path(__file__).resolve().parents[2] / "src"
UIDS = [f"1.2.826.0.1.3680043.{number}" for number in range(1, 14)]


@pytest.fixture
def stage(tmp_path) -> SimpleNamespace:
    """Thirteen studies, the last one without a column, two folds with logits written by hand."""
    random = np.random.default_rng(2)
    logits, truth = random.normal(-1, 1.5, (13, 8)), (random.random((13, 8)) < 0.3).astype(float)
    truth[:, 7] = truth[:, :7].max(axis=1)
    settings = SimpleNamespace(raw=tmp_path / "raw", cache=tmp_path / "cache", run=tmp_path / "run")
    settings.raw.mkdir()
    settings.cache.mkdir()
    train = pd.DataFrame(truth.astype(int), columns=list(PREDICTION_TYPES))
    train.insert(0, UID_COLUMN, UIDS)
    train[[UID_COLUMN, "patient_overall", *PREDICTION_TYPES[:7]]].to_csv(
        settings.raw / "train.csv", index=False
    )
    folds = pd.DataFrame({UID_COLUMN: UIDS, "fold": np.arange(13) % 2})
    folds.to_csv(settings.cache / "folds.csv", index=False)
    for fold in range(2):
        chosen = [n for n in range(12) if n % 2 == fold]
        frame = pd.DataFrame(logits[chosen], columns=list(PREDICTION_TYPES))
        frame.insert(0, UID_COLUMN, [UIDS[n] for n in chosen])
        path = settings.run / "classifier" / f"fold{fold}" / LOGITS
        path.parent.mkdir(parents=True)
        frame.to_csv(path, index=False)
    return settings


def test_cv_answers_for_every_training_study(stage, capsys):
    cross_validate(stage.raw, stage.cache, stage.run)
    uids, values = wide(read_submission(stage.run / "oof.csv"))
    assert uids == UIDS
    truth = pd.read_csv(stage.raw / "train.csv")[list(PREDICTION_TYPES)].to_numpy(float)
    constants = np.clip(best_constants(truth.mean(axis=0)), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
    assert values[12] == pytest.approx(constants)
    assert not np.isclose(values[:12], constants).all(axis=1).any()
    table = read_oof_logits(stage.run)
    assert table["fold"].tolist() == [0] * 6 + [1] * 6
    logits, labels = table[list(PREDICTION_TYPES)].to_numpy(), truth[[UIDS.index(uid) for uid in table.index]]
    ladder = climb(logits, labels, random_groups(list(table.index)), constants)
    np.testing.assert_allclose(values[[UIDS.index(uid) for uid in table.index]], ladder.values)
    found = Calibration.load(stage.run)
    assert (found.level_slope, *found.biases) == (ladder.calibration.level_slope, *ladder.calibration.biases)
    np.testing.assert_allclose(found.averaging.slopes, ladder.calibration.averaging.slopes)
    assert Calibration.load(stage.run).constants == pytest.approx(tuple(constants))
    assert not found.synthetic
    (stage.raw.parent / REPLICA).touch()
    cross_validate(stage.raw, stage.cache, stage.run)
    assert Calibration.load(stage.run) == replace(found, synthetic=True), "what a replica taught says so"
    printed = capsys.readouterr().out
    assert f"constants for study {UIDS[12]}" in printed and "fell back to constants 1" in printed


def test_one_fold_is_scored_for_what_it_covers(stage, capsys):
    shutil.rmtree(stage.run / "classifier" / "fold1")
    cross_validate(stage.raw, stage.cache, stage.run)
    uids, _ = wide(read_submission(stage.run / "oof.csv"))
    assert uids == UIDS[::2], "the seven studies of fold 0, one of them without logits"
    said = capsys.readouterr().out
    assert "1 of 2 folds; out of fold covers 7 of 13 studies" in said and "folds 1 of 2" in said


def test_cv_without_any_fold_says_what_makes_one(stage):
    shutil.rmtree(stage.run / "classifier")
    flags = ["--raw", stage.raw, "--cache", stage.cache, "--run", stage.run]
    command = [sys.executable, str(SRC / "cv.py"), *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "`make train`" in done.stderr and "Traceback" not in done.stderr
    assert not (stage.run / "oof.csv").exists() and not (stage.run / "calibration.json").exists()


@pytest.mark.parametrize("change", ["other fold", "infinite", "column"])
def test_cv_refuses_logits_that_are_not_the_folds(stage, change):
    path = stage.run / "classifier" / "fold0" / LOGITS
    frame = pd.read_csv(path, dtype={UID_COLUMN: str})
    if change == "other fold":
        frame.loc[0, UID_COLUMN] = UIDS[1]
    elif change == "infinite":
        frame.loc[0, "C3"] = np.inf
    else:
        frame = frame.rename(columns={"C3": "C8"})
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match="make train FOLD=0") as error:
        cross_validate(stage.raw, stage.cache, stage.run)
    assert str(path) in str(error.value)
    assert json.dumps(sorted(p.name for p in stage.run.iterdir())) == '["classifier"]'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fold,", "part,", "the columns"),
        (UIDS[0] + ",0,", "../x,0,", "digits and single dots"),
        (UIDS[0] + ",0,", UIDS[2] + ",0,", "more than once"),
        (UIDS[0] + ",0,", UIDS[0] + ",zero,", "a finite number"),
    ],
)
def test_held_out_logits_that_were_changed_are_refused(stage, old, new, words):
    cross_validate(stage.raw, stage.cache, stage.run)
    path = stage.run / "oof_logits.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=words) as error:
        read_oof_logits(stage.run)
    assert str(path) in str(error.value)


def test_logits_of_a_study_without_a_label_are_refused(stage):
    train = (stage.raw / "train.csv").read_text().splitlines()
    (stage.raw / "train.csv").write_text("\n".join(train[:1] + train[2:]) + "\n")
    with pytest.raises(InputError, match=f"no label of study {UIDS[0]}"):
        cross_validate(stage.raw, stage.cache, stage.run)
