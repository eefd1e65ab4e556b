import numpy as np
import pandas as pd
import pytest

from cspine.competition.metric import best_constants, global_loss
from cspine.evaluation.intervals import draw_studies
from cspine.evaluation.subgroups import groupings, in_words, score_groups

UIDS = [f"1.2.{number}" for number in range(60)]
CONSTANTS = best_constants(np.full(8, 0.3))


def drawn(harmed: slice = slice(0, 0)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = (random.random((60, 8)) < 0.3).astype(float)
    values = np.clip(0.3 + 0.4 * (truth - 0.3) + 0.05 * random.normal(size=(60, 8)), 0.02, 0.98)
    values[harmed] = np.clip(0.7 - 0.4 * truth[harmed], 0.02, 0.98)
    return values, truth


def test_a_group_is_scored_by_the_metric_on_its_own_studies():
    values, truth = drawn()
    names = pd.Series(["a"] * 35 + ["b"] * 25)
    found = score_groups({"scan": names}, values, truth, CONSTANTS, draw_studies(60))
    assert [(one.by, one.name, one.studies) for one in found] == [("scan", "a", 35), ("scan", "b", 25)]
    first = found[0]
    score = global_loss(truth[:35], values[:35])
    constants = global_loss(truth[:35], np.tile(CONSTANTS, (35, 1)))
    assert first.score.value == pytest.approx(score)
    assert first.gain_percent.value == pytest.approx(100 * (1 - score / constants))
    assert first.to_the_rest.value == pytest.approx(-found[1].to_the_rest.value)
    assert first.positives == truth[:35, 7].sum()
    assert first.score.low < score < first.score.high


def test_a_group_that_fares_worse_is_named_in_words():
    values, truth = drawn(harmed=slice(40, 60))
    names = pd.Series(["fine"] * 40 + ["harmed"] * 20)
    found = score_groups({"scan": names}, values, truth, CONSTANTS, draw_studies(60))
    assert found[1].to_the_rest.high < 0
    assert "scan harmed (-" in in_words(found)
    alike = score_groups({"scan": names}, *drawn(), CONSTANTS, draw_studies(60))
    assert in_words(alike).startswith("No group differs") or "by chance" in in_words(alike)


def test_small_groups_and_groups_of_all_get_no_figures():
    values, truth = drawn()
    names = {"site": pd.Series(["1"] * 51 + ["2"] * 9), "sex": pd.Series(["M"] * 60)}
    assert [one.name for one in score_groups(names, values, truth, CONSTANTS, draw_studies(60))] == ["1"]


def test_studies_are_grouped_by_headers_notes_and_people(tmp_path):
    raw, cache = tmp_path / "replica" / "competition", tmp_path / "cache"
    raw.mkdir(parents=True)
    (cache / "volumes").mkdir(parents=True)
    groups, missing = groupings(raw, cache, UIDS)
    assert groups == {} and len(missing) == 2 and "make describe" in missing[0]
    head = "StudyInstanceUID,slices,rows,columns,direction,step_mm,pixel_mm,syntax,header_uid"
    syntax = '"JPEG Lossless, x"'
    rows = [
        f"{uid},9,512,512,head to feet,{0.5 + number % 3},{0.3 + number / 100},{syntax},{uid}"
        for number, uid in enumerate(UIDS)
    ]
    (cache / "traits.csv").write_text("\n".join([head, *rows]) + "\n")
    notes = pd.DataFrame({"StudyInstanceUID": UIDS, "status": "done", "reason": "", "notes": ""})
    notes.loc[3, "notes"] = "one slice missing"
    notes.to_csv(cache / "volumes" / "index.csv", index=False)
    people = pd.DataFrame({"StudyInstanceUID": UIDS, "split": "train", "site": "7", "sex": ["M", "F"] * 30})
    (raw.parent / "truth").mkdir()
    people.assign(age=[30, 50, 70] * 20, boxed=True, masked=False).to_csv(
        raw.parent / "truth" / "cohort.csv", index=False
    )
    groups, missing = groupings(raw, cache, UIDS)
    assert missing == []
    assert set(groups["transfer syntax"]) == {"JPEG Lossless"}
    assert groups["scan"].tolist().count("odd or mended") == 1 and groups["scan"].iloc[3] == "odd or mended"
    assert set(groups["age"]) == {"younger than 40", "40 to 64", "65 and older"}
    assert groups["pixel spacing"].value_counts().tolist() == [20, 20, 20]
    assert groups["step between slices"].nunique() >= 2 and set(groups["site"]) == {"7"}
