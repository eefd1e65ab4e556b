import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.hand_made import column

from cspine import storage
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import weighted_losses
from cspine.errors import InputError
from cspine.evaluation.cross_validation import conclude
from cspine.evaluation.report_studies import Found
from cspine.evaluation.run_report import ReportSources, report_run
from cspine.evaluation.score import Scored, score
from cspine.preprocessing.stores import open_columns
from cspine.settings.layout import CacheLayout, RunLayout
from cspine.settings.presets import PRESETS

PRESET = PRESETS["demo"]
UIDS = [f"1.2.826.0.1.3680043.{number}" for number in range(24)]


@pytest.fixture
def sources(tmp_path) -> ReportSources:
    """A run of two folds over 24 studies made by hand, every second one with a broken C2."""
    raw, cache, run = tmp_path / "replica" / "competition", tmp_path / "cache", tmp_path / "run"
    raw.mkdir(parents=True)
    truth = np.zeros((24, 8), int)
    truth[::2, [1, 7]] = 1
    train = pd.DataFrame(truth, columns=list(PREDICTION_TYPES))
    train.insert(0, UID_COLUMN, UIDS)
    train[[UID_COLUMN, "patient_overall", *PREDICTION_TYPES[:7]]].to_csv(raw / "train.csv", index=False)
    random = np.random.default_rng(0)
    logits = pd.DataFrame(3.0 * truth - 2 + random.normal(size=(24, 8)), UIDS, list(PREDICTION_TYPES))
    logits.loc[UIDS[4], ["C2", "patient_overall"]] = -9.0  # the worst error
    store, layout = open_columns(cache, PRESET), RunLayout(run)
    for number, uid in enumerate(UIDS):
        neck = replace(column((2,) if number % 2 == 0 else ()), study=uid)
        store.write(uid, neck.arrays(), neck.meta())
    rows = [{UID_COLUMN: uid, "status": "done", "reason": "", "notes": "", "seconds": 0.5} for uid in UIDS]
    rows[3] |= {"status": "failed", "reason": "its <files> are cut short"}
    store.write_index(rows)
    for fold in range(2):
        here = logits.iloc[fold::2].rename_axis(UID_COLUMN)
        storage.write_csv(layout.logits(fold), here.reset_index())
        slices = random.normal(size=(12, 7, PRESET.stacks.slices)).astype(np.float32)
        storage.write_npy(layout.slice_logits(fold), slices)
        metrics = {"epoch": [1, 2], "loss": [2.0, 1.0], "score": [None, 0.4]}
        for kind in ("locator", "classifier"):
            each = {f"dice_C{level}": [None, 0.9 - 0.1 * level + 0.01 * fold] for level in range(1, 8)}
            table = pd.DataFrame(metrics | (each if kind == "locator" else {}))
            storage.write_csv(run / kind / f"fold{fold}" / "metrics.csv", table)
    held_out = logits.rename_axis(UID_COLUMN)
    held_out.insert(0, "fold", np.arange(24) % 2)
    conclude(train, held_out, run, list(train[UID_COLUMN]))
    score(Scored(raw, (run,)))
    inference = {"predicted": 4, "studies": 5, "seconds": 9.0, "fell_back": {"1.9": "no folder"}, "notes": {}}
    storage.write_json(tmp_path / "inference.json", inference | {"seconds_by_part": {"decode": 2.0}})
    return ReportSources(raw, cache, run, PRESET, tmp_path / "inference.json", studies=2)


def text_of(sources: ReportSources) -> str:
    report_run(sources)
    page = RunLayout(sources.run).report.read_text()
    return re.sub(r"data:image/png;base64,[^']+", "PNG", page)


def test_the_report_says_what_the_run_is_worth_and_for_whom(sources):
    storage.write_json(sources.raw.parent / "replica.json", {})
    page = text_of(sources)
    head = page[page.index("<p class='headline'>") :][:600]
    assert "synthetic" in head and "Not a medical device" in head and "24 studies" in head
    for title in ("Scores", "Who is found", "Single slices", "Calibration", "For whom", "The worst errors",
                  "Finding the levels", "Learning", "Seconds a study", "What fell short"):  # fmt: skip
        assert f"<h2>{title}</h2>" in page
    assert "<pre" not in page and "fold 1" in page
    assert "AUC of 0.89" in page and "not comparable one to one" in page
    assert "the weakest is C7 in fold0, 0.20" in page
    assert "kernel: decode</td>" in page and ">0.50<" in page
    assert "its &lt;files&gt; are cut short" in page and "constants for 1.9: no folder" in page
    assert "make describe" in page and "Within 12 fractured vertebrae of 12 studies" in page


def test_real_scans_are_not_called_synthetic(sources):
    page = text_of(sources)
    head = page[page.index("<p class='headline'>") :][:500]
    assert "ynthetic" not in head and "Not a medical device" in head


def test_the_worst_errors_are_those_that_cost_most_and_name_their_study(sources):
    page = text_of(sources)
    worst = page[page.index("<h2>The worst errors</h2>") : page.index("<h2>Finding the levels</h2>")]
    first = re.search(r"<figcaption>(.*?)</figcaption>", worst).group(1)
    assert first.startswith(f"Study {UIDS[4]}, fractured: C2;")
    assert "times a study" in first
    assert worst.count("<figcaption>Study") == 2 and page.count("panel 5'") == 6


def test_costs_are_shares_of_the_leaderboards_sum():
    truth = np.zeros((2, 8))
    truth[0, [1, 7]] = 1
    values = np.full((2, 8), 0.5)
    costs = Found(["a", "b"], values, truth).costs()
    loss = weighted_losses(truth, values)[0].sum(axis=1)
    assert costs == pytest.approx(loss / loss.sum()) and costs[0] > costs[1]


def test_an_older_run_says_what_it_lacks(sources):
    for fold in range(2):
        RunLayout(sources.run).slice_logits(fold).unlink()
        path = sources.run / "locator" / f"fold{fold}" / "metrics.csv"
        pd.DataFrame({"epoch": [1], "loss": [1.0], "score": [0.2], "dice": [0.8]}).to_csv(path, index=False)
    page = text_of(replace(sources, inference=None))
    assert "has no slice logits" in page and "do not tell Dice by level" in page


def test_what_is_missing_names_the_target_that_makes_it(sources):
    RunLayout(sources.run).oof_logits.unlink()
    with pytest.raises(InputError, match="make cv"):
        report_run(sources)
    RunLayout(sources.run).scores.unlink()
    with pytest.raises(InputError, match="make score"):
        report_run(sources)
    assert not RunLayout(sources.run).report.exists()


def test_a_cache_without_any_index_is_refused(sources):
    (CacheLayout(sources.cache).columns / "index.csv").unlink()
    with pytest.raises(InputError, match="no index of prepare or columns"):
        report_run(replace(sources, inference=None))
