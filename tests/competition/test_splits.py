import numpy as np
import pandas as pd
import pytest

from cspine.competition import splits, strata
from cspine.competition.labels import LEVELS, PREDICTION_TYPES, PUBLISHED
from cspine.errors import InputError


def cohort(studies: int, seed: int, scale: float = 1) -> pd.DataFrame:
    """Studies at the published rates, a level's fracture often with its lower neighbour's."""
    rng = np.random.default_rng(seed)
    levels = rng.random((studies, 7)) < scale * PUBLISHED["train"].rates()[:7]
    levels[:, 1:] |= levels[:, :-1] & (rng.random((studies, 6)) < 0.3)
    frame = pd.DataFrame(levels.astype(int), columns=list(LEVELS))
    frame.insert(0, "patient_overall", frame.max(axis=1))
    frame.insert(0, "StudyInstanceUID", [f"1.2.{n}" for n in rng.permutation(studies)])
    return frame


@pytest.mark.parametrize(("studies", "folds", "scale"), [(2019, 5, 1), (2019, 4, 1), (60, 3, 1), (24, 2, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_column_is_spread_evenly_over_the_folds(studies, folds, scale, seed):
    train = cohort(studies, seed, scale)
    counts = splits.count_positives(splits.make_folds(train, folds, seed), train)
    assert counts.index.tolist() == list(range(folds))
    assert counts["studies"].max() - counts["studies"].min() <= 1
    spread = counts.max() - counts.min()
    assert spread.max() <= 3 and spread[list(LEVELS)].max() <= 2, spread.to_dict()
    assert counts[list(PREDICTION_TYPES)].sum().tolist() == train[list(PREDICTION_TYPES)].sum().tolist()


def patients(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sex, age and one of twelve sites, some of them rare."""
    random = np.random.default_rng(seed)
    shares = np.array([327, 135, 287, 353, 356, 66, 422, 236, 39, 149, 287, 455])
    return pd.DataFrame(
        {
            "site": random.choice(
                [str(number) for number in range(1, 13)], len(train), p=shares / shares.sum()
            ),
            "sex": random.choice(["M", "F"], len(train), p=[0.63, 0.37]),
            "age": random.normal(54, 21, len(train)).round(),
        },
        index=train["StudyInstanceUID"],
    )


@pytest.mark.parametrize("seed", range(3))
def test_patients_boxes_and_masks_are_spread_as_evenly_as_labels(seed):
    """On 2,019 studies: no fold differs by more than 0.03 standard deviations in anything."""
    train = cohort(2019, seed)
    random = np.random.default_rng(seed)
    positive = train.loc[train["patient_overall"] == 1, "StudyInstanceUID"].to_numpy()
    boxed = set(random.choice(positive, 235, replace=False))
    masked = set(random.choice(train["StudyInstanceUID"], 87, replace=False))
    table = strata.strata(train, boxed, masked, patients(train, seed))
    folds = splits.make_folds(train, 5, seed, table)
    differences = strata.standardised_differences(table, folds)
    assert differences.abs().max(axis=None) <= 0.03, differences.abs().max().nlargest(3)
    in_fold = [folds.index[folds == fold] for fold in range(5)]
    assert {len(masked & set(uids)) for uids in in_fold} <= {17, 18}
    assert {len(boxed & set(uids)) for uids in in_fold} <= {46, 47, 48}
    assert {len(uids) for uids in in_fold} == {403, 404}
    shuffled = train.sample(frac=1, random_state=0)
    again = splits.make_folds(
        shuffled, 5, seed, strata.strata(shuffled, boxed, masked, patients(train, seed))
    )
    assert again.sort_index().equals(folds.sort_index())


def test_near_duplicates_share_a_fold_and_chains_hold_together():
    train = cohort(101, 5)
    uids = train["StudyInstanceUID"].tolist()
    pairs = [(uids[0], uids[50]), (uids[50], uids[77]), (uids[3], uids[4]), (uids[9], "unknown")]
    folds = splits.make_folds(train, 5, 0, None, pairs)
    assert folds[uids[0]] == folds[uids[50]] == folds[uids[77]] and folds[uids[3]] == folds[uids[4]]
    assert folds.value_counts().max() - folds.value_counts().min() <= 1
    counts = splits.count_positives(folds, train)
    assert (counts[list(LEVELS)].max() - counts[list(LEVELS)].min()).max() <= 2


def test_parts_have_the_sizes_asked_for():
    train = cohort(300, 1)
    table = strata.strata(train, set(), set())
    parts = splits.make_parts(table, [200, 30, 70], 0)
    assert parts.value_counts().sort_index().tolist() == [200, 30, 70]
    assert strata.standardised_differences(table, parts).abs().max(axis=None) < 0.1


def test_a_random_split_would_not_pass_that_test():
    train = cohort(2019, 0)
    folds = pd.Series(np.random.default_rng(0).permutation(2019) % 5, index=train["StudyInstanceUID"])
    counts = splits.count_positives(folds, train)
    assert (counts.max() - counts.min()).max() > 3


def test_the_split_hangs_on_the_seed_and_not_on_the_order_of_rows():
    train = cohort(200, 3)
    folds = splits.make_folds(train, 5, 7)
    assert folds.index.tolist() == train["StudyInstanceUID"].tolist()
    shuffled = train.sample(frac=1, random_state=0)
    assert splits.make_folds(shuffled, 5, 7).sort_index().equals(folds.sort_index())
    assert not splits.make_folds(train, 5, 8).equals(folds)


def test_a_level_rarer_than_the_folds_is_in_as_many_folds_as_it_can():
    train = cohort(100, 4).assign(C3=0)
    train.loc[:2, ["C3", "patient_overall"]] = 1
    counts = splits.count_positives(splits.make_folds(train, 5, 0), train)
    assert sorted(counts["C3"]) == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("folds", [1, 11])
def test_impossible_numbers_of_folds_are_refused(folds):
    with pytest.raises(InputError, match=f"found {folds} for 10 studies; expected 2 to 10; use --folds"):
        splits.make_folds(cohort(10, 0), folds, 0)


def test_another_split_is_never_written_over_the_first(tmp_path):
    train, path = cohort(30, 0), tmp_path / "folds.csv"
    folds = splits.make_folds(train, 3, 0)
    assert splits.write_folds(path, folds)
    before = path.stat().st_mtime_ns
    assert not splits.write_folds(path, splits.make_folds(train.iloc[::-1], 3, 0))
    other = folds.copy()
    other.iloc[0] = (other.iloc[0] + 1) % 3
    with pytest.raises(InputError, match=r"folds.csv: found another split \(1 studies differ\).*delete"):
        splits.write_folds(path, other)
    with pytest.raises(InputError, match=r"\(2 studies differ\)"):
        splits.write_folds(path, folds.iloc[2:])
    assert path.stat().st_mtime_ns == before
    back = splits.read_folds(path)
    assert back.equals(folds)


BAD = {
    "double": ("1.2,0\n1.2,1\n", "1.2 more than once"),
    "word": ("1.2,a\n1.3,0\n", "fold = 'a'"),
    "negative": ("1.2,-1\n1.3,0\n", "fold = '-1'"),
    "half": ("1.2,0.5\n1.3,0\n", "fold = '0.5'"),
    "empty": ("", "a header without rows"),
    "uid": ("../1,0\n", "'../1'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folds_are_refused(tmp_path, case):
    rows, found = BAD[case]
    path = tmp_path / "folds.csv"
    path.write_text("StudyInstanceUID,fold\n" + rows)
    with pytest.raises(InputError) as error:
        splits.read_folds(path)
    for word in (str(path), found, "expected"):
        assert word in str(error.value)


def test_missing_folds_name_the_target_that_makes_them(tmp_path):
    with pytest.raises(InputError, match="folds.csv: found no such file.*make split"):
        splits.read_folds(tmp_path / "folds.csv")
