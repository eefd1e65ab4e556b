import json

import numpy as np
import pandas as pd
import pytest
from helpers.refusals import refused
from helpers.runs import write_run

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import FORMS
from cspine.competition.rows import long
from cspine.competition.tables import read_train
from cspine.evaluation.intervals import Estimate
from cspine.evaluation.score import Scored, compare_runs, score, verdict
from cspine.settings.layout import RunLayout

UIDS = [f"1.2.{number}" for number in range(80)]


@pytest.fixture
def raw(tmp_path):
    """Eighty labelled studies."""
    random = np.random.default_rng(0)
    truth = (random.random((80, 8)) < 0.3).astype(int)
    truth[:, 7] = truth[:, :7].max(axis=1)
    train = pd.DataFrame(truth, columns=list(PREDICTION_TYPES))
    train.insert(0, UID_COLUMN, UIDS)
    folder = tmp_path / "raw"
    folder.mkdir()
    train[[UID_COLUMN, "patient_overall", *PREDICTION_TYPES[:7]]].to_csv(folder / "train.csv", index=False)
    return folder


def make_run(raw, name: str, skill: float, seed: int = 1, studies: int = 80):
    """A run whose values know `skill` of the truth, with folds by turns."""
    truth = read_train(raw)[list(PREDICTION_TYPES)].to_numpy()[:studies]
    noise = np.random.default_rng(seed).random((studies, 8))
    values = np.clip(0.3 + skill * (truth - 0.3) + 0.1 * (noise - 0.5), 0.01, 0.99)
    run = raw.parent / name
    run.mkdir()
    long(UIDS[:studies], values).to_csv(RunLayout(run).oof, index=False)
    logits = pd.DataFrame(np.log(values / (1 - values)), columns=list(PREDICTION_TYPES))
    logits.insert(0, "fold", np.arange(studies) % 3)
    logits.insert(0, UID_COLUMN, UIDS[:studies])
    logits.to_csv(RunLayout(run).oof_logits, index=False)
    return run


def test_folds_and_runs_stand_in_the_print_and_in_the_json(raw, capsys):
    runs = (make_run(raw, "first", 0.3), make_run(raw, "second", 0.6, seed=2))
    score(Scored(raw, runs))
    printed = capsys.readouterr().out
    content = json.loads(RunLayout(runs[0]).scores.read_text())
    assert list(content["scores"]["global"]) == ["out of fold"]
    assert list(content["folds"]["global"]) == ["fold 0", "fold 1", "fold 2"]
    assert [row["studies"] for row in content["folds"]["global"].values()] == [27, 27, 26]
    first, second = content["runs"]
    for form in FORMS:
        assert first[form]["to_first"]["value"] == 0 and second[form]["to_first"]["high"] < 0
        assert second[form]["verdict"] == "better"
    assert content["seed"] == 2022 and content["draws"] == 1000 and "seeds" in content["intervals"]
    assert "fold 2" in printed and "runs side by side, 80 studies; row form" in printed
    assert f"{runs[1]}" in printed and "better" in printed


def test_the_difference_is_paired_study_by_study(raw):
    runs = [make_run(raw, "first", 0.4), make_run(raw, "second", 0.4)]
    train = read_train(raw)
    oof = pd.read_csv(RunLayout(runs[1]).oof)
    RunLayout(runs[1]).oof.write_text(oof.sample(frac=1, random_state=0).to_csv(index=False))
    same = compare_runs(runs, train)[1]["global"]
    assert (same["to_first"]["low"], same["to_first"]["high"]) == pytest.approx((0, 0), abs=1e-12)
    assert same["verdict"] == "no difference beyond the interval"


def test_runs_that_lack_studies_are_compared_on_the_common_ones_where_asked(raw):
    runs = (make_run(raw, "first", 0.4), make_run(raw, "second", 0.4, seed=3, studies=70))
    words = [str(RunLayout(runs[1]).oof), "70 of 80 training studies", "and 5 more", "--partial"]
    refused(lambda: score(Scored(raw, runs)), words)
    assert not RunLayout(runs[0]).scores.exists()
    score(Scored(raw, runs, partial=True))
    content = json.loads(RunLayout(runs[0]).scores.read_text())
    assert [row["studies"] for row in content["runs"]] == [70, 70]
    assert list(content["scores"]["global"]) == ["out of fold"]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-0.2, -0.1, "better"), (0.1, 0.2, "worse"), (-0.1, 0.1, "no difference beyond the interval")],
)
def test_a_difference_inside_its_interval_is_no_gain(low, high, words):
    assert verdict(Estimate((low + high) / 2, low, high)) == words


def test_a_run_of_one_fold_is_scored_for_the_studies_that_it_covers(raw, capsys):
    """No --partial is asked for where whole folds are missing, which `make cv` has said."""
    run = write_run(make_run(raw, "one", 0.5, studies=27), folds={"1.2.1": 0, "1.2.2": 1, "1.2.3": 2})
    # all three folds have logits here, so the other studies are lost
    refused(lambda: score(Scored(raw, (run,))), ["27 of 80 training studies", "--partial"])
    logits = pd.read_csv(RunLayout(run).oof_logits, dtype={UID_COLUMN: str})
    logits.assign(fold=0).to_csv(RunLayout(run).oof_logits, index=False)
    score(Scored(raw, (run,)))
    assert "out of fold, 27 of 80 studies" in capsys.readouterr().out
