"""The whole published cohort: 3,112 patients who add up to every cell of the paper's tables."""

from functools import lru_cache

import numpy as np
import pandas as pd

from replica.cohort.ages import draw_ages
from replica.cohort.patterns import draw_patterns
from replica.cohort.published import LABELS, LEVELS, SITES, SPLITS
from replica.cohort.swaps import settle


@lru_cache(maxsize=4)
def draw_patients(seed: int, number: int) -> pd.DataFrame:
    """Draw the 3,112 patients of a seed.

    Parameters
    ----------
    seed : int
        Of the replica.
    number : int
        Tells several such cohorts of one seed apart.

    Returns
    -------
    pandas.DataFrame
        A row a patient in random order: split, site (1-12), sex, age (years), patient_overall and C1..C7
        (0 or 1). Not to be written to: it is kept for the next caller.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2**31, 1 + number]))
    patients = pd.concat([_labels(split, rng) for split in SPLITS.index], ignore_index=True)
    patients.insert(1, "site", _sites(patients, rng))
    patients.insert(2, "sex", _sexes(patients, rng))
    patients.insert(3, "age", draw_ages(patients, rng))
    return patients.iloc[rng.permutation(len(patients))].reset_index(drop=True)


def _labels(split: str, rng: np.random.Generator) -> pd.DataFrame:
    """The patients of one split with their broken levels, positives first."""
    negatives = int(SPLITS["negative"][split])
    levels = np.vstack([draw_patterns(split, rng), np.zeros((negatives, len(LEVELS)), int)])
    patients = pd.DataFrame(levels, columns=list(LEVELS))
    patients.insert(0, "split", split)
    patients.insert(1, "patient_overall", levels.max(axis=1))
    return patients


def _sites(patients: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Send patients to sites by chance, then exchange positives until each site has its levels."""
    site = np.zeros(len(patients), int)
    for label, column in enumerate(("negative", "positive")):
        here = np.flatnonzero(patients["patient_overall"] == label)
        site[here] = rng.permutation(np.repeat(SITES.index, SITES[column]))
    levels = patients.loc[here, list(LEVELS)].to_numpy(float)
    at_site = (site[here, None] == SITES.index.to_numpy()).astype(float)
    goal = SITES[list(LEVELS)].to_numpy(float).T
    site[here] = site[here][settle(levels, at_site, goal, np.zeros_like(goal), rng)]
    return site


def _sexes(patients: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Give each site its men and women, then exchange within sites until splits and labels have theirs."""
    site, positive = patients["site"].to_numpy(), patients["patient_overall"].to_numpy()
    share = (LABELS["M"] / (LABELS["M"] + LABELS["F"])).to_numpy()
    male = np.zeros(len(patients), bool)
    for number, row in SITES.iterrows():
        here = np.flatnonzero(site == number)
        rank = here[np.argsort(rng.random(len(here)) / share[positive[here]])]
        male[rank[: int(row["M"])]] = True
    seats = np.stack([*[patients["split"] == split for split in SPLITS.index], positive], axis=1).astype(
        float
    )
    goal = np.array([*SPLITS["M"], LABELS.loc[1, "M"]], float)[:, None]
    order = settle(seats, male[:, None].astype(float), goal, np.zeros_like(goal), rng, site)
    return np.where(male[order], "M", "F")
