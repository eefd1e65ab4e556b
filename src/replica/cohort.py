"""Patients of a replica: site, sex, age and which levels are broken, by the paper's tables.

Source of every figure: Lin et al., Radiology: Artificial Intelligence 2023;5(5):e230034, Tables 1 and 2,
and the pairwise correlations of the public train.csv.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from replica.oddities import choose_oddities
from replica.settings import ReplicaSettings

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")

# M, F, age mean, SD, youngest, oldest, positive, negative, C1..C7
SITES = np.array(
    [
        [212, 115, 61.37, 20.98, 19, 97, 169, 158, 32, 47, 11, 23, 24, 41, 68],
        [68, 67, 52.74, 24.35, 18, 101, 92, 43, 15, 30, 4, 12, 13, 26, 33],
        [175, 112, 58.57, 22.34, 18, 97, 100, 187, 15, 23, 10, 13, 20, 28, 44],
        [245, 108, 45.86, 19.19, 18, 92, 182, 171, 34, 50, 28, 32, 48, 62, 75],
        [223, 133, 51.03, 20.95, 18, 95, 176, 180, 26, 58, 17, 18, 30, 60, 76],
        [37, 29, 47.83, 21.92, 18, 92, 30, 36, 2, 12, 3, 4, 4, 4, 11],
        [234, 188, 60.22, 22.32, 18, 104, 187, 235, 28, 59, 17, 25, 35, 41, 62],
        [176, 60, 42.91, 19.28, 18, 92, 96, 140, 18, 13, 10, 22, 25, 34, 34],
        [31, 8, 44.1, 17.81, 19, 72, 11, 28, 0, 8, 2, 1, 1, 2, 1],
        [94, 55, 47.38, 19.64, 20, 90, 41, 108, 4, 9, 6, 4, 7, 20, 15],
        [207, 80, 50.83, 18.74, 18, 93, 144, 143, 35, 50, 9, 15, 29, 46, 67],
        [274, 181, 57.17, 21.68, 18, 99, 217, 238, 32, 62, 21, 28, 49, 71, 88],
    ]
)
# studies, positives, C1..C7
SPLITS = {
    "train": np.array([2019, 961, 146, 285, 73, 108, 162, 277, 393]),
    "public": np.array([304, 122, 26, 32, 8, 7, 17, 30, 55]),
    "private": np.array([789, 362, 69, 104, 57, 82, 106, 128, 126]),
}
COUNTS = np.array([623, 239, 64, 26, 7, 2, 0])  # training studies by their number of broken levels, 1 to 7
PAIRS = {(0, 1): 0.19, (1, 2): 0.10, (2, 3): 0.30, (3, 4): 0.34, (4, 5): 0.36, (5, 6): 0.28, (2, 4): 0.16}
MALE_ODDS = {True: 1.11, False: 0.92}  # positives are 66 % male, negatives 61 %
AGE_SHIFT = {True: 3.0, False: -3.1}  # positives are 6 years older
MASKED_WITH_BOXES = 40 / 87
PATTERNS = np.array([[(i >> bit) & 1 for bit in range(7)] for i in range(1, 128)])  # (127, 7)


def make_cohort(settings: ReplicaSettings) -> pd.DataFrame:
    """Draw every patient of the replica.

    Returns one row a study: index (its number, which seeds it), StudyInstanceUID, split, site (1-12), sex,
    age, patient_overall, C1..C7 (0/1), boxed and masked (bool), oddity ("" for most).
    """
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, 2**31]))
    frames = [
        _split(split, count, rng)
        for split, count in zip(SPLITS, (settings.train, settings.public, settings.private), strict=True)
        if count
    ]
    cohort = pd.concat(frames, ignore_index=True)
    numbers = rng.permutation(max(32_767, 2 * len(cohort)))[: len(cohort)] + 1
    cohort.insert(0, "StudyInstanceUID", [f"1.2.826.0.1.3680043.{n}" for n in numbers])
    cohort.insert(0, "index", np.arange(len(cohort)))
    _choose_annotated(cohort, settings, rng)
    cohort["oddity"] = choose_oddities(cohort, settings)
    return cohort


def _split(split: str, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Patients of one split: an exact share of positives, spread over the sites by their odds."""
    size = SITES[:, 0] + SITES[:, 1]
    site = rng.choice(len(SITES), size=count, p=size / size.sum())
    studies, positives = SPLITS[split][:2]
    log_odds = np.log(SITES[site, 6] / SITES[site, 7])
    rank = np.argsort(-(log_odds + rng.logistic(size=count)), kind="stable")
    positive = np.zeros(count, bool)
    positive[rank[: round(count * positives / studies)]] = True
    levels = np.zeros((count, 7), int)
    for i in np.flatnonzero(positive):
        levels[i] = PATTERNS[rng.choice(len(PATTERNS), p=_pattern_shares(split, int(site[i])))]
    odds = SITES[site, 0] / SITES[site, 1] * np.where(positive, MALE_ODDS[True], MALE_ODDS[False])
    frame = pd.DataFrame({"split": split, "site": site + 1})
    frame["sex"] = np.where(rng.random(count) < odds / (1 + odds), "M", "F")
    frame["age"] = [_age(s, p, rng) for s, p in zip(site, positive, strict=True)]
    frame["patient_overall"] = levels.max(axis=1)
    frame[list(LEVELS)] = levels
    return frame


def _age(site: int, positive: bool, rng: np.random.Generator) -> int:
    """An age with the site's mean, SD and range: a Beta distribution stretched over the range."""
    mean, sd, low, high = SITES[site, 2:6]
    mean = np.clip((mean + AGE_SHIFT[bool(positive)] - low + 0.5) / (high - low + 1), 0.05, 0.95)
    spread = max(mean * (1 - mean) / (sd / (high - low + 1)) ** 2 - 1, 0.2)
    return int(
        np.clip(
            np.round(low - 0.5 + (high - low + 1) * rng.beta(mean * spread, (1 - mean) * spread)), low, high
        )
    )


@lru_cache(maxsize=64)
def _pattern_shares(split: str, site: int) -> np.ndarray:
    """Probability of each of the 127 patterns for a positive of this split and site, shape (127,)."""
    base = _coupling()
    goal = SPLITS[split][2:] / SPLITS[split][1]
    total = SITES.sum(axis=0)
    tilt = ((SITES[site, 8:] + 2) / (SITES[site, 6] + 4)) / (total[8:] / total[6])
    goal = np.clip(goal * tilt**0.7, 0.01, 0.9)
    # a pattern has one level at least: goals that sum to less than that are out of reach
    goal *= max(1.0, 1.2 / goal.sum())
    shares = _tilt(base, PATTERNS.astype(float), goal)
    return shares / shares.sum()


@lru_cache(maxsize=1)
def _coupling() -> np.ndarray:
    """The training set's pattern distribution: levels' rates, neighbours' correlation, number of levels."""
    studies, positives = SPLITS["train"][:2]
    rate = SPLITS["train"][2:] / studies
    sd = np.sqrt(rate * (1 - rate))
    together = [
        (phi * sd[i] * sd[j] + rate[i] * rate[j]) * studies / positives for (i, j), phi in PAIRS.items()
    ]
    number = PATTERNS.sum(axis=1)
    features = [PATTERNS, *[(PATTERNS[:, i] * PATTERNS[:, j])[:, None] for i, j in PAIRS]]
    features += [(number == n)[:, None] for n in range(2, 6)]
    goal = np.concatenate([SPLITS["train"][2:] / positives, together, COUNTS[1:5] / COUNTS.sum()])
    return _tilt(np.full(len(PATTERNS), 1 / len(PATTERNS)), np.hstack(features).astype(float), goal)


def _tilt(base: np.ndarray, features: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The distribution nearest to `base` (in relative entropy) whose feature means are `goal`."""

    def dual(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = features @ weights
        top = scores.max()
        shares = base * np.exp(scores - top)
        total = shares.sum()
        return np.log(total) + top - goal @ weights, features.T @ shares / total - goal

    weights = minimize(
        dual, np.zeros(len(goal)), jac=True, method="L-BFGS-B", bounds=[(-12, 12)] * len(goal)
    ).x
    shares = base * np.exp(features @ weights - (features @ weights).max())
    return shares / shares.sum()


def _choose_annotated(cohort: pd.DataFrame, settings: ReplicaSettings, rng: np.random.Generator) -> None:
    """Mark, in place, the training studies that get boxes and masks; as in the original, half have both."""
    train = cohort.index[cohort["split"] == "train"].to_numpy()
    positive = rng.permutation(train[cohort.loc[train, "patient_overall"] == 1])
    boxed = positive[: round(settings.box_share * len(positive))]
    masks = round(settings.mask_share * len(train))
    both = min(round(masks * MASKED_WITH_BOXES), len(boxed))
    rest = rng.permutation(np.setdiff1d(train, boxed[:both]))
    cohort["boxed"] = cohort.index.isin(boxed)
    cohort["masked"] = cohort.index.isin(np.concatenate([boxed[:both], rest[: masks - both]]))
