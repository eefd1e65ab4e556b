"""Folds and other parts of the studies, alike in all that is known about them; each study is a patient."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import storage
from cspine.competition import checks
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.strata import ANNOTATED, strata
from cspine.errors import InputError

IMPORTANCE = 6.0
"""How much more labels, boxes and masks count than other columns."""
STARTS = 3
"""Searches from different random parts; the best result is taken."""
PASSES = 30
"""At most so often is every study offered an exchange."""


def make_folds(
    train: pd.DataFrame,
    n_folds: int,
    seed: int,
    table: pd.DataFrame | None = None,
    pairs: Sequence[tuple[str, str]] = (),
) -> pd.Series:
    """Give every study a fold, the same for the same studies, columns and seed, whatever their order.

    Studies are exchanged between random folds of equal size for as long as that makes the folds more alike. In
    the competition a study is a patient, so no patient is on both sides.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    n_folds : int
        How many folds.
    seed : int
        The seed of the first random folds.
    table : DataFrame, optional
        What is balanced, as from `strata.strata`; the labels alone by default.
    pairs : sequence of (str, str)
        Studies that have to share a fold.

    Returns
    -------
    Series of int64
        Folds 0..n_folds-1 named "fold", indexed by StudyInstanceUID, in train's order.

    Raises
    ------
    InputError
        For fewer than two folds, and more folds than studies.
    """
    if not 2 <= n_folds <= len(train):
        raise InputError(
            f"folds: found {n_folds} for {len(train)} studies; expected 2 to {len(train)}; use --folds"
        )
    table = strata(train, set(), set()) if table is None else table
    sizes = [len(train) // n_folds + (fold < len(train) % n_folds) for fold in range(n_folds)]
    return make_parts(table, sizes, seed, pairs).rename("fold").loc[train[UID_COLUMN]]


def make_parts(
    table: pd.DataFrame, sizes: Sequence[int], seed: int, pairs: Sequence[tuple[str, str]] = ()
) -> pd.Series:
    """Divide studies into parts of given sizes that are as alike as exchanges can make them.

    Parameters
    ----------
    table : DataFrame of float
        What is balanced, as from `strata.strata`.
    sizes : sequence of int
        Studies of every part; their sum is that of the table's rows.
    seed : int
        The seed of the first random parts.
    pairs : sequence of (str, str)
        Studies that have to share a part; a chain of pairs shares one. A part may then differ from its size
        by what the last group of such studies overhangs.

    Returns
    -------
    Series of int64
        Part of every study, from 0, indexed as the table.
    """
    ordered = table.sort_index()
    units = _units(list(ordered.index), pairs)
    values = _weighted(ordered)
    summed = np.zeros((units.max() + 1, values.shape[1]))
    np.add.at(summed, units, values)
    members = np.bincount(units)
    best: tuple[float, np.ndarray] | None = None
    for start in range(STARTS):
        random = np.random.default_rng((seed, start))
        parts = _random_parts(members, sizes, random)
        cost = _exchange(summed, members, parts, len(sizes), random)
        if best is None or cost < best[0]:
            best = (cost, parts)
    assert best is not None
    found = pd.Series(best[1][units], index=ordered.index)
    return found.loc[table.index]


def _weighted(table: pd.DataFrame) -> np.ndarray:
    """Columns with mean 0 and variance 1, those that matter most enlarged; float64 (n, columns)."""
    values = table.to_numpy(np.float64)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    weight = [IMPORTANCE if name in ANNOTATED else 1.0 for name in table.columns]
    return values * np.sqrt(weight)


def _units(uids: list[str], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Number of the group that each study belongs to; most are groups of one. Int64 (n,)."""
    number = {uid: place for place, uid in enumerate(uids)}
    root = list(range(len(uids)))

    def find(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    for one, other in pairs:
        if one in number and other in number:
            low, high = sorted((find(number[one]), find(number[other])))
            root[high] = low
    return np.unique([find(place) for place in range(len(uids))], return_inverse=True)[1]


def _random_parts(members: np.ndarray, sizes: Sequence[int], random: np.random.Generator) -> np.ndarray:
    """A part for every unit, large units first, each into the part that lacks most; int64 (units,)."""
    lacking = np.array(sizes, dtype=np.float64)
    parts = np.empty(len(members), np.int64)
    order = random.permutation(len(members))
    order = order[np.argsort(-members[order], kind="stable")]
    large = int((members > 1).sum())
    for unit in order[:large]:
        parts[unit] = int(np.argmax(lacking))
        lacking[parts[unit]] -= members[unit]
    seats = np.repeat(np.arange(len(sizes)), np.maximum(lacking, 0).astype(int))
    parts[order[large:]] = random.permutation(seats)[: len(order) - large]
    return parts


def _exchange(
    values: np.ndarray, members: np.ndarray, parts: np.ndarray, count: int, random: np.random.Generator
) -> float:
    """Exchange units of equal size between parts while that makes them more alike; changes `parts`.

    The cost is the sum over parts and columns of the squared standardised difference to the rest. An exchange
    of i in part f for j in part g moves d = x_j - x_i from g to f and changes the cost by
    k_f (2 S_f d + d d) + k_g (-2 S_g d + d d), where S is a part's sum and k = (n / (size (n - size))) ** 2.
    """
    size = np.bincount(parts, weights=members, minlength=count)
    factor = (members.sum() / (size * (members.sum() - size))) ** 2
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, parts, values)
    square = (values**2).sum(axis=1)
    along = values @ sums.T  # (units, parts)
    for _ in range(PASSES):
        moved = False
        for one in random.permutation(len(values)):
            here = parts[one]
            length = square + square[one] - 2 * (values @ values[one])
            gain = factor[here] * (2 * (along[:, here] - along[one, here]) + length)
            to_theirs = np.take_along_axis(along, parts[:, None], axis=1)[:, 0] - along[one, parts]
            gain += factor[parts] * (length - 2 * to_theirs)
            gain[(parts == here) | (members != members[one])] = np.inf
            other = int(np.argmin(gain))
            if gain[other] >= -1e-12:
                continue
            step = values[other] - values[one]
            there = parts[other]
            sums[here] += step
            sums[there] -= step
            change = values @ step
            along[:, here] += change
            along[:, there] -= change
            parts[one], parts[other] = there, here
            moved = True
        if not moved:
            break
    return float((factor * (sums**2).sum(axis=1)).sum())


def count_positives(folds: pd.Series, train: pd.DataFrame) -> pd.DataFrame:
    """Count studies and positives of every fold.

    Parameters
    ----------
    folds : Series of int
        Fold of every study, indexed by StudyInstanceUID.
    train : DataFrame
        All labelled studies, as from `tables.read_train`.

    Returns
    -------
    DataFrame of int64
        Index fold, columns studies and PREDICTION_TYPES.
    """
    fold = train[UID_COLUMN].map(folds).rename("fold")
    counts = train[list(PREDICTION_TYPES)].groupby(fold).sum()
    counts.insert(0, "studies", fold.value_counts())
    return counts


def write_folds(path: Path | str, folds: pd.Series) -> bool:
    """Write folds.csv (StudyInstanceUID, fold) and say whether it was written.

    The same split again leaves the file as it is; a different one is refused, because models already trained
    on the old folds would be scored on studies they saw.

    Parameters
    ----------
    path : Path or str
        The file.
    folds : Series of int64
        The split, as from `make_folds`.

    Returns
    -------
    bool
        Whether the file is new.

    Raises
    ------
    InputError
        For a file with another split.
    """
    path = Path(path)
    if path.exists():
        old = read_folds(path)
        if old.sort_index().equals(folds.sort_index()):
            return False
        both = old.index.union(folds.index)
        differing = int((old.reindex(both) != folds.reindex(both)).sum())
        raise InputError(
            f"{path}: found another split ({differing} studies differ); expected the same one, "
            "because models may be trained on it; delete the file and its runs, or use another cache folder"
        )
    storage.write_csv(path, folds.rename_axis(UID_COLUMN).reset_index())
    return True


def read_folds(path: Path | str) -> pd.Series:
    """Read folds.csv.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    Series of int64
        Folds named "fold", indexed by StudyInstanceUID, as `make_folds` gives them.

    Raises
    ------
    InputError
        For a missing file, other columns, double or unfit UIDs, and folds other than 0, 1, ...
    """
    path = Path(path)
    frame = checks.read_text(path, (UID_COLUMN, "fold"), advice="`make split` makes it")
    checks.check_study_uids(frame[UID_COLUMN], path)
    checks.check_unique(frame[UID_COLUMN], path)
    folds = checks.numbers(frame, "fold", path, UID_COLUMN, allowed=tuple(range(len(frame))))
    return pd.Series(folds.to_numpy(np.int64), index=pd.Index(frame[UID_COLUMN]), name="fold")
