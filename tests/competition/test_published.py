import pandas as pd
import pytest

from cspine.competition import tables
from cspine.competition.labels import LEVELS, PUBLISHED
from cspine.competition.published import COLUMNS, TABLE_1, TABLE_2, compare_rows, count_row, sets_of


def test_the_papers_tables_add_up():
    """Twelve sites are three sets: every column of Table 1 sums up to that of Table 2."""
    for column in COLUMNS:
        assert sum(row.counts[column] for row in TABLE_1.values()) == sum(
            row.counts[column] for row in TABLE_2.values()
        )
    for name, row in TABLE_2.items():
        assert row.counts["positive"] == PUBLISHED[name].positives[7]
        assert (
            row.counts["positive"] + row.counts["negative"]
            == row.counts["studies"]
            == PUBLISHED[name].studies
        )
    total = sum(row.counts["studies"] * row.age_mean for row in TABLE_1.values()) / 3112
    assert total == pytest.approx(53.48, abs=0.01)


def test_sets_are_counted_from_labels_and_solution(raw, solution):
    sets, sites = sets_of(tables.read_train(raw), tables.read_solution(solution), None)
    assert sites == {} and list(sets) == ["train", "public", "private"]
    assert sets["train"].counts["positive"] == 4 and sets["train"].counts["C7"] == 2
    assert [sets["public"].counts[level] for level in LEVELS] == [0, 1, 0, 0, 0, 0, 0]
    assert [sets["private"].counts[name] for name in ("studies", "C5", "C6")] == [1, 1, 1]
    assert sets["train"].counts["M"] is None and sets["train"].age_mean is None


def test_people_and_sites_are_counted_where_they_are_known(raw):
    train = tables.read_train(raw)
    uids = train["StudyInstanceUID"]
    cohort = pd.DataFrame(
        {"site": ["1", "1", "2", "10", "2", "2"], "sex": list("MFMMFM"), "age": [20.0, 30, 40, 50, 60, 70]},
        uids,
    )
    sets, sites = sets_of(train, None, cohort)
    assert (sets["train"].counts["M"], sets["train"].counts["F"]) == (4, 2)
    assert sets["train"].age_mean == 45 and sets["train"].age_sd == pytest.approx(18.708, abs=1e-3)
    assert list(sites) == ["1", "2", "10"] and [row.counts["studies"] for row in sites.values()] == [2, 3, 1]


def test_differences_are_marked():
    exact = compare_rows({"train": TABLE_2["train"]}, TABLE_2)
    assert "*" not in exact and exact.count("2019") == 2
    labels = pd.DataFrame(0, index=range(100), columns=[*LEVELS, "patient_overall"])
    labels.loc[:13, "C2"] = labels.loc[:13, "patient_overall"] = 1
    row = count_row(labels, None)
    text = compare_rows({"train": row}, TABLE_2)
    assert "100*" in text and "14*" in text  # a hundred studies; 14 % positive is not 48 %
    assert "14 " in text  # C2: 14 of 100 is the paper's 14.1 %
    assert "binomial" in text and text.splitlines()[1].rstrip().endswith("-")
    assert "*" not in compare_rows({"elsewhere": row}, TABLE_2)
