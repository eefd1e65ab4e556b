"""Which levels break together: a split's positives, with exactly the published number of every level."""

from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp, minimize

from replica.cohort.published import COMMON, COUNTS, LEVELS, OTHER_PHI, PHI, SPLITS

PATTERNS = np.array([[(i >> bit) & 1 for bit in range(7)] for i in range(1, 128)])  # (127, 7)
PHI_SLACK = 0.03  # how far a training set's correlations may lie from the published ones
COMMON_SLACK = 0.1  # how far, in shares of itself, the number of a common combination may lie from its own


def draw_patterns(split: str, rng: np.random.Generator) -> np.ndarray:
    """Draw the broken levels of a split's positives.

    The levels' counts are Table 2's; in the training set so is the number of levels a patient has broken.

    Parameters
    ----------
    split : str
        "train", "public" or "private".
    rng : numpy.random.Generator
        Of this cohort.

    Returns
    -------
    ndarray of int, shape (positives, 7)
        1 for a broken level, C1 to C7; patients in random order.

    Raises
    ------
    RuntimeError
        If no set of fractures meets the published counts.
    """
    positives = int(SPLITS["positive"][split])
    shares = _pattern_shares(split)
    drawn = rng.multinomial(positives, shares)
    # a rare pattern costs more to add than a common one, in units of what chance would do to it
    cost = 1 / np.sqrt(positives * shares + 0.05)
    counts = _nearest(drawn, cost, _demands(split))
    return PATTERNS[rng.permutation(np.repeat(np.arange(len(PATTERNS)), counts))]


def _nearest(drawn: np.ndarray, cost: np.ndarray, demands: list[LinearConstraint]) -> np.ndarray:
    """The whole numbers nearest to `drawn` (127,) that meet the demands; `cost` (127,) is that of one step."""
    up_and_down = [
        LinearConstraint(np.hstack([d.A, -d.A]), d.lb - d.A @ drawn, d.ub - d.A @ drawn) for d in demands
    ]
    most = np.concatenate([np.full(len(drawn), np.inf), drawn])
    found = milp(np.tile(cost, 2), integrality=np.ones(2 * len(drawn)), bounds=Bounds(0, most),
                 constraints=up_and_down, options={"mip_rel_gap": 0.02})  # fmt: skip
    if found.x is None:
        raise RuntimeError(f"no set of fractures meets the published counts: {found.message}")
    steps = np.round(found.x).astype(int)
    return drawn + steps[: len(drawn)] - steps[len(drawn) :]


def _demands(split: str) -> list[LinearConstraint]:
    """What the numbers of the 127 patterns of a split must add up to."""
    row = SPLITS.loc[split]
    exact = np.vstack([np.ones(len(PATTERNS)), PATTERNS.T])
    goal = row[["positive", *LEVELS]].to_numpy(float)
    demands = [LinearConstraint(exact, goal, goal)]
    if split != "train":
        return demands  # of the test sets no more is known
    number = PATTERNS.sum(axis=1)
    demands.append(LinearConstraint(np.array([number == n + 1 for n in range(7)], float), COUNTS, COUNTS))
    for pair in combinations(LEVELS, 2):
        low, high = (PHI[pair] - PHI_SLACK, PHI[pair] + PHI_SLACK) if pair in PHI else (-OTHER_PHI, OTHER_PHI)
        both = _has(pair)[None].astype(float)
        demands.append(LinearConstraint(both, _together(pair, low), _together(pair, high)))
    for levels, count in COMMON.items():
        only = (_has(levels) & (number == len(levels)))[None].astype(float)
        demands.append(LinearConstraint(only, count * (1 - COMMON_SLACK), count * (1 + COMMON_SLACK)))
    return demands


def _has(levels: tuple[str, ...]) -> np.ndarray:
    """Which patterns hold all these levels, (127,) bool."""
    return PATTERNS[:, [LEVELS.index(level) for level in levels]].all(axis=1)


def _together(pair: tuple[str, str], phi: float) -> float:
    """How many training studies have both levels broken when their correlation is `phi`."""
    row = SPLITS.loc["train"]
    studies = row["positive"] + row["negative"]
    rate = row[list(pair)].to_numpy(float) / studies
    return studies * (phi * np.sqrt(np.prod(rate * (1 - rate))) + np.prod(rate))


@lru_cache(maxsize=3)
def _pattern_shares(split: str) -> np.ndarray:
    """Probability of each of the 127 patterns for a positive of this split, shape (127,)."""
    if split == "train":
        return _coupling()
    row = SPLITS.loc[split]
    return _tilt(_coupling(), PATTERNS.astype(float), (row[list(LEVELS)] / row["positive"]).to_numpy(float))


@lru_cache(maxsize=1)
def _coupling() -> np.ndarray:
    """The training set's distribution: the most even one with all that is published of it."""
    row = SPLITS.loc["train"]
    number = PATTERNS.sum(axis=1)
    features = [PATTERNS, *[_has(pair)[:, None] for pair in PHI]]
    features += [(number == n)[:, None] for n in range(2, 6)]
    features += [(_has(levels) & (number == len(levels)))[:, None] for levels in COMMON]
    together = [_together(pair, phi) for pair, phi in PHI.items()]
    goal = np.concatenate([row[list(LEVELS)].to_numpy(float), together, COUNTS[1:5], list(COMMON.values())])
    even = np.full(len(PATTERNS), 1 / len(PATTERNS))
    return _tilt(even, np.hstack(features).astype(float), goal / row["positive"])


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
