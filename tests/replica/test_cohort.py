"""Patients must be the paper's in every table, or every score on a replica would mean something else."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cspine.competition.labels import PUBLISHED
from replica.cohort.published import COMMON, COUNTS, LABELS, LEVELS, PHI, SITES, SPLITS, STUDIES
from replica.cohort.studies import make_cohort
from replica.settings import ReplicaSettings

TYPES = [*LEVELS, "patient_overall"]
SEXES = ["M", "F"]
FULL = {"train": 2019, "public": 304, "private": 789}
SEEDS = (0, 1, 2)


def draw(seed: int = 0, split: str = "published", **numbers: int) -> pd.DataFrame:
    """A cohort; numbers that aren't given are the published ones."""
    return make_cohort(ReplicaSettings(out=Path("unused"), seed=seed, split=split, **{**FULL, **numbers}))


def counts(cohort: pd.DataFrame, by: str) -> pd.DataFrame:
    """The columns of the paper's tables that hold counts."""
    groups = cohort.groupby(by)
    found = groups[list(LEVELS)].sum()
    found["positive"] = groups["patient_overall"].sum()
    found["negative"] = groups.size() - found["positive"]
    for sex in SEXES:
        found[sex] = cohort["sex"].eq(sex).groupby(cohort[by]).sum()
    return found[[*SEXES, "positive", "negative", *LEVELS]]


def wrong_cells(found: pd.DataFrame, published: pd.DataFrame) -> list[tuple]:
    """Every cell that differs, as row, column, found, published."""
    found = found.reindex(published.index)
    return [
        (row, column, int(found.loc[row, column]), int(published.loc[row, column]))
        for row in published.index
        for column in found.columns
        if found.loc[row, column] != published.loc[row, column]
    ]


@pytest.fixture(scope="module", params=SEEDS)
def cohort(request) -> pd.DataFrame:
    return draw(request.param)


@pytest.fixture(scope="module", params=SEEDS)
def train(request) -> pd.DataFrame:
    return draw(request.param, public=0, private=0)


def test_the_tables_agree_with_each_other_and_with_the_librarys():
    columns = [*SEXES, "positive", "negative", *LEVELS]
    total = [1976, 1136, 1445, 1667, 241, 421, 138, 197, 285, 435, 574]
    assert list(SITES[columns].sum()) == list(SPLITS[columns].sum()) == total
    assert list(LABELS[SEXES].sum()) == total[:2]
    assert list(LABELS[SEXES].sum(axis=1)) == [1667, 1445]
    assert STUDIES == 3112
    for table in (SITES, SPLITS):
        assert (table[SEXES].sum(axis=1) == table["positive"] + table["negative"]).all()
    for split, row in SPLITS.iterrows():
        assert tuple(row[[*LEVELS, "positive"]]) == PUBLISHED[split].positives
        assert row["positive"] + row["negative"] == PUBLISHED[split].studies
    assert sum(COUNTS) == SPLITS.loc["train", "positive"]
    assert np.dot(COUNTS, range(1, 8)) == SPLITS.loc["train", list(LEVELS)].sum()


def test_every_count_of_table_1_is_met(cohort):
    assert wrong_cells(counts(cohort, "site"), SITES) == []


def test_every_count_of_table_2_is_met(cohort):
    assert wrong_cells(counts(cohort, "split"), SPLITS) == []


def test_positives_and_negatives_have_their_men_and_women(cohort):
    assert wrong_cells(counts(cohort, "patient_overall")[SEXES], LABELS) == []


@pytest.mark.parametrize(
    ("by", "published", "slack"),
    [("site", SITES, 0.05), ("split", SPLITS, 0.1), ("patient_overall", LABELS, 0.1)],
)
def test_ages_have_the_published_means_sds_and_ranges(cohort, by, published, slack):
    ages = cohort.groupby(by)["age"]
    assert cohort["age"].dtype == int
    assert (ages.mean() - published["age_mean"]).abs().max() < slack
    assert (ages.std() - published["age_sd"]).abs().max() < slack
    if "oldest" in published:
        assert (ages.min() - published["youngest"]).abs().max() == 0
        assert (ages.max() - published["oldest"]).abs().max() == 0


def test_ages_are_spread_and_not_piled_up(cohort):
    by_decade = np.histogram(cohort["age"], np.arange(20, 91, 10))[0] / len(cohort)
    assert by_decade.min() > 0.06
    assert by_decade.max() < 0.2
    assert cohort["age"].value_counts(normalize=True).max() < 0.06


def test_overall_is_the_or_of_the_levels(cohort):
    assert (cohort["patient_overall"] == cohort[list(LEVELS)].max(axis=1)).all()


def test_levels_break_together_as_in_the_training_set(train):
    positive = train[train["patient_overall"] == 1]
    assert tuple(np.bincount(positive[list(LEVELS)].sum(axis=1), minlength=8)[1:]) == COUNTS
    phi = train[list(LEVELS)].corr()
    for pair in combinations(LEVELS, 2):
        if pair in PHI:
            assert abs(phi.loc[pair] - PHI[pair]) < 0.05, pair
        else:
            assert abs(phi.loc[pair]) < 0.11, pair
    patterns = positive[list(LEVELS)].apply(lambda row: tuple(c for c in LEVELS if row[c]), axis=1)
    found = patterns.value_counts()
    for pattern, published in COMMON.items():
        assert abs(found[pattern] / published - 1) < 0.2, pattern
    # nothing that the paper doesn't name is commoner than what it names
    assert set(found.index[:5]) <= set(COMMON)


def test_every_site_sends_to_every_split_by_its_size(cohort):
    table = pd.crosstab(cohort["site"], cohort["split"])
    expected = np.outer(table.sum(axis=1), table.sum()) / len(cohort)
    assert (((table - expected) ** 2 / expected).to_numpy()).sum() < 50  # chi-square of 22 degrees: p 0.0006


def test_even_splits_differ_by_less_than_chance():
    cohort = draw(split="even")
    size, total = cohort["split"].value_counts(), len(cohort)
    assert dict(size) == FULL
    traits = pd.get_dummies(cohort[["site", "sex"]].astype(str)).join(cohort[TYPES])
    share = traits.mean()
    for split, part in traits.groupby(cohort["split"]):
        n = size[split]
        chance = np.sqrt(n * share * (1 - share) * (total - n) / (total - 1))
        off = (part.sum() - n * share).abs()
        assert (off <= 2.0).all(), split  # a sum over positives and negatives, each within one
        assert np.sqrt(((off / chance) ** 2).mean()) < 0.3, split  # 1 by chance
    ages = cohort.groupby("split")["age"]
    assert np.ptp(ages.mean()) < 0.5
    assert np.ptp(ages.std()) < 0.5
    # the published split is nothing like it
    rates = draw().groupby("split")["C4"].mean()
    assert rates["private"] > 4 * rates["public"]
    assert np.ptp(cohort.groupby("split")["C4"].mean()) < 0.005


def test_even_splits_keep_table_1():
    assert wrong_cells(counts(draw(split="even"), "site"), SITES) == []


@pytest.mark.parametrize("split", ["published", "even"])
@pytest.mark.parametrize(
    "numbers",
    [(2, 0, 1), (1, 0, 0), (0, 1, 0), (6, 1, 1), (10, 2, 2), (288, 24, 72), (0, 0, 2000), (2018, 303, 788),
     (4500, 305, 789)],
)  # fmt: skip
def test_any_number_of_studies_has_the_same_shares(numbers, split):
    train, public, private = numbers
    cohort = draw(seed=5, split=split, train=train, public=public, private=private)
    assert (cohort["patient_overall"] == cohort[list(LEVELS)].max(axis=1)).all()
    assert cohort["StudyInstanceUID"].is_unique
    assert list(cohort["index"]) == list(range(sum(numbers)))
    everybody = SPLITS.sum()
    for name, number in zip(SPLITS.index, numbers, strict=True):
        part = cohort[cohort["split"] == name]
        assert len(part) == number
        row = SPLITS.loc[name] if split == "published" else everybody
        share = row[["positive", *LEVELS, "M"]] / (row["positive"] + row["negative"])
        off = part["patient_overall"].sum() - number * share["positive"]
        # even splits share every cohort out, published ones only the last that they need
        rounds = 1 if split == "published" else 1 + sum(numbers) // STUDIES
        assert abs(off) <= (0.5 if split == "published" else rounds)
        assert ((part[list(LEVELS)].sum() - number * share[list(LEVELS)]).abs() <= rounds).all()
        assert abs((part["sex"] == "M").sum() - number * share["M"]) <= 2 * rounds


def test_more_than_the_published_cohort_is_not_the_same_people_twice():
    cohort = draw(train=4038, public=0, private=0)
    assert wrong_cells(counts(cohort, "split"), 2 * SPLITS.loc[["train"]]) == []
    people = cohort[["site", "sex", "age", *TYPES]].value_counts()
    assert (people % 2).sum() > 100


def test_the_demos_cohort_has_every_level_and_site():
    cohort = draw(train=288, public=24, private=72)
    train = cohort[cohort["split"] == "train"]
    assert (train[list(LEVELS)].sum() >= 9).all()
    assert cohort["site"].nunique() == 12
    assert train.loc[train["patient_overall"] == 1, "site"].nunique() >= 11
    assert abs(cohort["age"].mean() - 53.5) < 1
    assert abs(cohort["age"].std() - 21.8) < 1


def test_small_cohorts_are_not_all_of_a_kind():
    levels = {tuple(draw(seed, train=2, public=0, private=0)[list(LEVELS)].max()) for seed in range(12)}
    assert len(levels) >= 4


def test_annotated_studies_are_as_many_as_published(cohort):
    assert cohort["boxed"].sum() == 235
    assert cohort["masked"].sum() == 87
    assert (cohort["boxed"] & cohort["masked"]).sum() == 40
    assert set(cohort.loc[cohort["boxed"] | cohort["masked"], "split"]) == {"train"}
    assert cohort.loc[cohort["boxed"], "patient_overall"].all()


def test_every_study_can_be_annotated():
    settings = ReplicaSettings(out=Path("unused"), train=100, public=1, private=1, mask_share=1, box_share=1)
    cohort = make_cohort(settings)
    train = cohort["split"] == "train"
    assert (cohort["masked"] == train).all()
    assert (cohort["boxed"] == (train & (cohort["patient_overall"] == 1))).all()


@pytest.mark.parametrize("split", ["published", "even"])
def test_a_seed_fixes_the_cohort_and_another_changes_it(split):
    one, same, other = (draw(seed, split, train=50, public=5, private=5) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one["age"].equals(other["age"])
    assert not one[TYPES].equals(other[TYPES])
    assert not one["StudyInstanceUID"].equals(other["StudyInstanceUID"])
    assert one["StudyInstanceUID"].str.fullmatch(r"1\.2\.826\.0\.1\.3680043\.\d+").all()


def test_the_whole_cohort_is_drawn_anew_for_another_seed():
    people = [draw(seed)[["site", "sex", "age", *TYPES]].value_counts() for seed in (1, 2)]
    shared = np.minimum(*people[0].align(people[1], fill_value=0)).sum()
    assert shared < 0.8 * STUDIES
