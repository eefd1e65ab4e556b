"""Folds: every level's positives spread evenly over the studies, each of which is a patient of its own."""

from pathlib import Path

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import checks, tables
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.errors import InputError
from cspine.settings.layout import CacheLayout


def split_studies(raw: Path, cache: Path, n_folds: int, seed: int) -> None:
    """Read train.csv, make the folds, print their counts, write them once.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache, which gets folds.csv.
    n_folds : int
        How many folds.
    seed : int
        The seed that breaks ties.

    Raises
    ------
    InputError
        If the cache holds another split, if train.csv can't be used, and as `make_folds`.
    """
    train, path = tables.read_train(raw), CacheLayout(cache).folds
    folds = make_folds(train, n_folds, seed)
    with storage.locked(cache, "split"):
        new = write_folds(path, folds)
    print(count_positives(folds, train).to_string())
    wrote = path if new else f"nothing ({path} holds this split)"
    cli.log_stage("split", read=raw / "train.csv", wrote=wrote, studies=len(folds), folds=n_folds)


def make_folds(train: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """Give every study a fold, the same for the same studies, labels and seed, whatever their order.

    Iterative stratification: label by label, the one with the fewest positives left first, each study goes
    to the fold that lacks most of all its labels; studies without a fracture fill up the folds at the end.
    In the competition a study is a patient, so no patient is on both sides.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    n_folds : int
        How many folds.
    seed : int
        The seed that breaks ties.

    Returns
    -------
    Series of int64
        Folds 0..n_folds-1 named "fold", indexed by StudyInstanceUID, in train's order.

    Raises
    ------
    InputError
        For fewer than two folds, and more folds than studies.

    Notes
    -----
    After Sechidis et al., On the Stratification of Multi-Label Data, ECML PKDD 2011; there, only the label at
    hand chooses the fold.
    """
    ordered = train.sort_values(UID_COLUMN)
    if not 2 <= n_folds <= len(ordered):
        raise InputError(
            f"folds: found {n_folds} for {len(ordered)} studies; expected 2 to {len(ordered)}; use --folds"
        )
    # one more column, of ones: the size is balanced like a label and, being the commonest, comes last
    counts = np.column_stack(
        [ordered[list(PREDICTION_TYPES)].to_numpy(np.int64), np.ones(len(ordered), np.int64)]
    )
    folds = _stratify(counts, n_folds, np.random.default_rng(seed))
    named = pd.Series(folds, index=pd.Index(ordered[UID_COLUMN]), name="fold")
    return named.loc[train[UID_COLUMN]]


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


def _stratify(counts: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of every study, (n,) int64; counts (n, labels) holds the positives of each, the size last."""
    folds = np.full(len(counts), -1)
    total = counts.sum(axis=0)
    lacking = np.tile(total / n_folds, (n_folds, 1))  # (n_folds, labels)
    while (free := folds < 0).any():
        left = counts[free].sum(axis=0)
        label = int(np.argmin(np.where(left > 0, left, np.inf)))
        members = rng.permutation(np.flatnonzero(free & (counts[:, label] > 0)))
        # the heaviest studies first, while there is room to make up for them
        for member in members[np.argsort(-counts[members, label], kind="stable")]:
            fold = _neediest(lacking, counts[member], total, rng)
            folds[member] = fold
            lacking[fold] -= counts[member]
    return folds


def _neediest(lacking: np.ndarray, count: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> int:
    """Choose the fold in which the study takes most off the distance to an even split.

    The distance is chi-squared: the sum over folds and labels of lacking ** 2 / total. It shrinks by
    2 * lacking @ (count / total) less a constant. The size is left to the studies without a fracture.
    """
    share = count / np.maximum(total, 1)
    if count[:-1].any():
        share[-1] = 0
    relief = lacking @ share
    return int(rng.choice(np.flatnonzero(np.isclose(relief, relief.max()))))
