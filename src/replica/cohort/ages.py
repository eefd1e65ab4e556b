"""Ages in whole years that keep the published means, SDs, youngest and oldest of sites, labels and splits."""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from replica.cohort.published import LABELS, SITES, SPLITS
from replica.cohort.swaps import settle

SLACK_YEARS = 0.02  # how far a mean or an SD may lie from the published one
CENTRE = 54  # ages are counted from here, so that sums and sums of squares weigh about the same
SQUARES = 64  # what squares of years are divided by, for the same reason


def draw_ages(patients: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Draw every patient's age.

    Source: the ages of Tables 1 and 2 and of the positives and negatives.

    Parameters
    ----------
    patients : pandas.DataFrame
        The whole published cohort with columns split, site (1-12) and patient_overall (0 or 1).
    rng : numpy.random.Generator
        Of this cohort.

    Returns
    -------
    ndarray of int, shape (patients,)
        Years.
    """
    ages = np.zeros(len(patients), int)
    positive = patients["patient_overall"].to_numpy()
    shift = LABELS["age_mean"].to_numpy() - np.average(SITES["age_mean"], weights=SITES["M"] + SITES["F"])
    for site, row in SITES.iterrows():
        here = np.flatnonzero(patients["site"] == site)
        drawn = _beta(row, row["age_mean"] + shift[positive[here]], rng)
        ages[here] = _fit(drawn, row, rng)
    ages, kept = _seat_extremes(ages, patients, rng)
    return _share_out(ages, kept, patients, rng)


def _beta(site: pd.Series, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw ages around each of `mean` (n,) with the site's SD: a Beta distribution over the site's range."""
    low, width = site["youngest"] - 0.5, site["oldest"] - site["youngest"] + 1
    part = np.clip((mean - low) / width, 0.05, 0.95)
    spread = np.maximum(part * (1 - part) / (site["age_sd"] / width) ** 2 - 1, 0.2)
    return low + width * rng.beta(part * spread, (1 - part) * spread)


def _fit(drawn: np.ndarray, site: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """Move ages (n,) by a year here and there until mean, SD, youngest and oldest are the site's."""
    low, high, count = int(site["youngest"]), int(site["oldest"]), len(drawn)
    scale = site["age_sd"] / drawn.std(ddof=1)
    ages = np.clip(np.round(site["age_mean"] + scale * (drawn - drawn.mean())), low, high).astype(int)
    # one patient at either end, and one as old as the oldest of each split, if the site has patients so old
    old = sorted({high, *(int(age) for age in SPLITS["oldest"] if age <= high)})
    order = np.argsort(drawn)
    ages[order[0]], ages[order[-len(old) :]] = low, old
    free = order[1 : -len(old)]
    total = round(site["age_mean"] * count)
    while ages.sum() != total:
        step = 1 if ages.sum() < total else -1
        movable = free[(ages[free] + step >= low) & (ages[free] + step <= high)]
        ages[rng.permutation(movable)[: abs(total - ages.sum())]] += step
    # one grows older by a year and another younger: the mean stays
    wanted = (count - 1) * site["age_sd"] ** 2
    slack = 2 * (count - 1) * site["age_sd"] * SLACK_YEARS / 2
    while abs(short := wanted - ((ages - ages.mean()) ** 2).sum()) > slack:
        older, younger = rng.choice(free, 2, replace=False)
        gain = 2 * (ages[older] - ages[younger]) + 2
        if ages[older] < high and ages[younger] > low and 0 < gain / short < 1.5:
            ages[older] += 1
            ages[younger] -= 1
    return ages


def _seat_extremes(
    ages: np.ndarray, patients: pd.DataFrame, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange ages at a site until every split has its youngest and oldest, and nobody older.

    Returns ages, and kept (patients,) bool: whose age must not be exchanged any more.
    """
    ages, kept = ages.copy(), np.zeros(len(ages), bool)
    split, site = patients["split"].to_numpy(), patients["site"].to_numpy()
    home = SPLITS["oldest"].idxmax()
    over = ages > SPLITS["oldest"].drop(home).max()

    def seat(who: int, there: Hashable) -> None:
        same = np.flatnonzero((site == site[who]) & (split == there) & ~kept & ~over)
        other = who if split[who] == there else rng.choice(same)
        ages[who], ages[other] = ages[other], ages[who]
        kept[other] = True

    for who in np.flatnonzero(over):
        seat(who, home)
    for name, row in SPLITS.iterrows():
        for age in (row["youngest"], row["oldest"]):
            if not (kept & (split == name) & (ages == age)).any():
                seat(rng.choice(np.flatnonzero((ages == age) & ~kept)), name)
    return ages, kept


def _share_out(
    ages: np.ndarray, kept: np.ndarray, patients: pd.DataFrame, rng: np.random.Generator
) -> np.ndarray:
    """Exchange ages within sites, but for those `kept`, until the labels and the splits have theirs."""
    years = ages.astype(float) - CENTRE
    moved = np.stack([years, years**2 / SQUARES], axis=1)
    seats, goals, nears = [], [], []
    for table, column in ((LABELS, "patient_overall"), (SPLITS, "split")):
        seats.append((patients[column].to_numpy()[:, None] == table.index.to_numpy()).astype(float))
        count, sd = seats[-1].sum(axis=0), table["age_sd"].to_numpy()
        mean = table["age_mean"].to_numpy() - CENTRE
        goal = np.stack([count * mean, ((count - 1) * sd**2 + count * mean**2) / SQUARES], axis=1)
        # sites, labels and splits are each rounded, and differ in sum by a hundredth of a year
        goals.append(goal + np.outer(count / count.sum(), moved.sum(axis=0) - goal.sum(axis=0)))
        nears.append(SLACK_YEARS * np.stack([count, 2 * sd * count / SQUARES], axis=1))
    alone = -1 - np.arange(len(ages))
    block = np.where(kept, alone, patients["site"].to_numpy())
    goal = np.round(np.vstack(goals))
    return ages[settle(np.hstack(seats), moved, goal, np.vstack(nears) + 1, rng, block)]
