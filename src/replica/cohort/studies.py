"""Patients of a replica: as many as asked for, like the published cohort in every table."""

from itertools import count

import numpy as np
import pandas as pd

from replica.cohort.patients import draw_patients
from replica.cohort.published import LEVELS, SITES, SPLITS, STUDIES
from replica.cohort.swaps import settle
from replica.scanner.oddities import choose_oddities
from replica.settings import ReplicaSettings

MASKED_WITH_BOXES = 40 / 87
MEAN_AGE, AGE_UNIT = 54, 32  # years; in these units ages and their squares weigh like one more 0 or 1


def make_cohort(settings: ReplicaSettings) -> pd.DataFrame:
    """Draw every patient of the replica.

    For the published numbers of studies every count of Tables 1 and 2 is met; other numbers have the same
    shares, to the patient.

    Parameters
    ----------
    settings : ReplicaSettings
        How many studies, of which seed and split, and how many are annotated.

    Returns
    -------
    pandas.DataFrame
        One row a study: index (its number, which seeds it), StudyInstanceUID, split, site (1-12), sex, age,
        patient_overall, C1..C7 (0 or 1), boxed and masked (bool), oddity ("" for most).
    """
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, 2**31]))
    wanted = np.array([settings.train, settings.public, settings.private])
    deal = _published if settings.split == "published" else _even
    cohort = pd.concat(deal(wanted, settings.seed, rng), ignore_index=True)
    numbers = rng.permutation(max(32_767, 2 * len(cohort)))[: len(cohort)] + 1
    cohort.insert(0, "StudyInstanceUID", [f"1.2.826.0.1.3680043.{n}" for n in numbers])
    cohort.insert(0, "index", np.arange(len(cohort)))
    _choose_annotated(cohort, settings, rng)
    cohort["oddity"] = choose_oddities(cohort, settings) if settings.coverage == "published" else ""
    return cohort


def _published(wanted: np.ndarray, seed: int, rng: np.random.Generator) -> list[pd.DataFrame]:
    """Patients by Table 2's split, which is unbalanced; more than it holds come from further cohorts."""
    parts = []
    for split, left in zip(SPLITS.index, wanted, strict=True):
        for number in count():
            if left == 0:
                break
            patients = draw_patients(seed, number)
            here = patients[patients["split"] == split]
            size = min(left, len(here))
            parts.append(here[divide(here, np.array([size]), rng) == 0])
            left -= size
    return parts


def _even(wanted: np.ndarray, seed: int, rng: np.random.Generator) -> list[pd.DataFrame]:
    """The same patients, with everything spread evenly over the splits."""
    parts: list[list[pd.DataFrame]] = [[] for _ in SPLITS.index]
    left = wanted
    for number in count():
        if left.sum() == 0:
            break
        patients = draw_patients(seed, number)
        sizes = apportion(min(STUDIES, left.sum()), left)
        group = divide(patients, sizes, rng)
        for i, split in enumerate(SPLITS.index):
            parts[i].append(patients[group == i].assign(split=split))
        left = left - sizes
    return [part for of_split in parts for part in of_split]


def apportion(total: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers in proportion to shares, by largest remainder.

    Parameters
    ----------
    total : int
        What they sum to.
    shares : ndarray of float or int, shape (n,)
        Not all zero.

    Returns
    -------
    ndarray of int, shape (n,)
        The whole numbers.
    """
    exact = total * shares / shares.sum()
    whole = np.floor(exact).astype(int)
    rest = np.argsort(whole - exact, kind="stable")[: total - whole.sum()]
    whole[rest] += 1
    return whole


def divide(patients: pd.DataFrame, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal patients into groups that are alike.

    Positives are apportioned over the groups; then patients change places until every count (levels; men
    and sites, among positives and among negatives) differs by at most one from the group's share.

    Parameters
    ----------
    patients : pandas.DataFrame
        Columns site, sex, age, patient_overall, C1..C7.
    sizes : ndarray of int, shape (groups,)
        Of the groups; they may sum to less than there are patients.
    rng : numpy.random.Generator
        Of this cohort.

    Returns
    -------
    ndarray of int, shape (patients,)
        The number of each patient's group, or -1 for who is left over.
    """
    sizes = np.append(sizes, len(patients) - sizes.sum())
    positive = patients["patient_overall"].to_numpy().astype(bool)
    positives = apportion(int(positive.sum()), sizes)
    group = np.zeros(len(patients), int)
    for here, counts in ((positive, positives), (~positive, sizes - positives)):
        group[here] = rng.permutation(np.repeat(np.arange(len(sizes)), counts))
    traits = _traits(patients)
    member = (group[:, None] == np.arange(len(sizes))).astype(float)
    # binary fractions keep every sum exact, and so the same on every machine
    goal = np.round(1024 * np.outer(traits.sum(axis=0), sizes / sizes.sum())) / 1024
    group = group[settle(traits, member, goal, np.ones_like(goal), rng, positive)]
    return np.where(group == len(sizes) - 1, -1, group)


def _traits(patients: pd.DataFrame) -> np.ndarray:
    """What is dealt evenly, (patients, traits) float: one column a count, and two for age."""
    positive = patients["patient_overall"].to_numpy()[:, None]
    site = patients["site"].to_numpy()[:, None] == SITES.index.to_numpy()
    male = (patients["sex"] == "M").to_numpy()[:, None]
    levels = patients[list(LEVELS)].to_numpy()
    several = levels.sum(axis=1, keepdims=True) > 1
    age = (patients["age"].to_numpy(float)[:, None] - MEAN_AGE) / AGE_UNIT
    whom = np.hstack([site, male, age])
    return np.hstack([whom * positive, whom * (1 - positive), age**2, levels, several]).astype(float)


def _choose_annotated(cohort: pd.DataFrame, settings: ReplicaSettings, rng: np.random.Generator) -> None:
    """Mark, in place, the training studies that get boxes and masks; as in the original, some have both."""
    train = cohort.index[cohort["split"] == "train"].to_numpy()
    positive = rng.permutation(train[cohort.loc[train, "patient_overall"] == 1])
    boxed = positive[: round(settings.box_share * len(positive))]
    rest = rng.permutation(np.setdiff1d(train, boxed))
    masks = round(settings.mask_share * len(train))
    both = max(min(round(masks * MASKED_WITH_BOXES), len(boxed)), masks - len(rest))
    cohort["boxed"] = cohort.index.isin(boxed)
    cohort["masked"] = cohort.index.isin(np.concatenate([boxed[:both], rest[: masks - both]]))
