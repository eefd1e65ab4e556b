"""Labels must have the paper's rates, or every score on a replica would mean something else."""

import numpy as np
import pytest

from replica.cohort import COUNTS, LEVELS, PAIRS, SITES, SPLITS, make_cohort
from replica.settings import ReplicaSettings


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(ReplicaSettings(out=tmp_path_factory.mktemp("c"), labels_only=True))


def test_overall_is_the_or_of_the_levels(cohort):
    assert (cohort["patient_overall"] == cohort[list(LEVELS)].max(axis=1)).all()


@pytest.mark.parametrize("split", list(SPLITS))
def test_rates_are_table_2s(cohort, split):
    part, (studies, positives, *levels) = cohort[cohort["split"] == split], SPLITS[split]
    assert len(part) == studies
    assert part["patient_overall"].sum() == positives
    found = part[list(LEVELS)].sum().to_numpy()
    assert np.all(np.abs(found - levels) < 4 * np.sqrt(np.array(levels)) + 0.06 * np.array(levels))


def test_sites_sexes_and_ages_are_table_1s(cohort):
    share = (SITES[:, 0] + SITES[:, 1]) / SITES[:, :2].sum()
    found = cohort["site"].value_counts(normalize=True).reindex(range(1, 13)).to_numpy()
    assert np.abs(found - share).max() < 0.03
    assert abs((cohort["sex"] == "M").mean() - 1976 / 3112) < 0.03
    assert abs(cohort["age"].mean() - 53.78) < 1.5
    assert abs(cohort["age"].std() - 21.83) < 1.5
    ages = cohort.groupby("patient_overall")["age"].mean()
    assert 3.5 < ages[1] - ages[0] < 9
    by_site = cohort.groupby("site")["patient_overall"].mean()
    assert by_site[2] > by_site[10] + 0.2  # 68 % against 28 % in the paper


def test_neighbouring_levels_break_together(cohort):
    train = cohort[cohort["split"] == "train"]
    number = train.loc[train["patient_overall"] == 1, list(LEVELS)].sum(axis=1)
    found = np.bincount(number, minlength=8)[1:8]
    assert np.all(np.abs(found - COUNTS) < 4 * np.sqrt(COUNTS + 1) + 3)
    phi = train[list(LEVELS)].corr().to_numpy()
    for (i, j), published in PAIRS.items():
        assert abs(phi[i, j] - published) < 0.1, (i, j)


def test_annotated_studies_are_as_many_as_published(cohort):
    assert cohort["boxed"].sum() == 235
    assert cohort["masked"].sum() == 87
    assert set(cohort.loc[cohort["boxed"] | cohort["masked"], "split"]) == {"train"}
    assert cohort.loc[cohort["boxed"], "patient_overall"].all()


def test_a_seed_fixes_the_cohort_and_another_changes_it(tmp_path):
    one, same, other = (
        make_cohort(ReplicaSettings(out=tmp_path, train=50, public=5, private=5, seed=s)) for s in (1, 1, 2)
    )
    assert one.equals(same)
    assert not one["age"].equals(other["age"])
    assert one["StudyInstanceUID"].is_unique
