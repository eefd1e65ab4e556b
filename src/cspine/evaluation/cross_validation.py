"""The folds of a run put together: held-out logits, the steps to values, out-of-fold predictions and their scores."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import checks
from cspine.competition.checks import UID_COLUMN
from cspine.competition.inventory import is_replica
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.rows import long
from cspine.competition.scoring import training_constants
from cspine.competition.splits import read_folds
from cspine.competition.tables import read_train
from cspine.errors import InputError
from cspine.evaluation.ladder import Ladder, climb, describe_ladder, random_groups
from cspine.evaluation.score_table import format_tables, score_table
from cspine.settings.layout import CLASSIFIER, CacheLayout, RunLayout


@dataclass(frozen=True)
class OutOfFold:
    """What the folds of a run say about the studies that they never saw."""

    studies: list[str]
    """All labelled studies of the folds that are there."""
    values: np.ndarray
    """Values to submit, float64 (n, 8); the constants where a study has no logits."""
    truth: np.ndarray
    """Labels, float64 (n, 8)."""
    without_logits: list[str]
    """The studies that have no logits."""
    ladder: Ladder
    """The steps from logits to values, and the calibration."""


def cross_validate(raw: Path, cache: Path, run: Path) -> None:
    """Merge the folds of a run, write oof_logits.csv, oof.csv and calibration.json, print steps and scores.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache with the split.
    run : Path
        The run's folder.

    Raises
    ------
    InputError
        If train.csv, the split or a fold's logits are missing or can't be used.
    """
    train, folds = read_train(raw), read_folds(CacheLayout(cache).folds)
    logits = read_logits(run, folds)
    there = sorted(set(logits["fold"]))
    count = folds.max() + 1
    covered = list(train[UID_COLUMN])
    if len(there) < count:
        covered = [uid for uid in covered if folds.get(uid) in there]
        print(f"{len(there)} of {count} folds; out of fold covers {len(covered)} of {len(train)} studies\n")
    result = conclude(train, logits, run, covered, is_replica(raw))
    cli.log_stage(
        "cv",
        read=run / CLASSIFIER,
        wrote=f"{RunLayout(run).oof} and {RunLayout(run).calibration}",
        studies=len(result.studies),
        folds=f"{len(there)} of {count}",
        fell_back_to_constants=len(result.without_logits),
    )


def conclude(
    train: pd.DataFrame, logits: pd.DataFrame, run: Path, covered: Sequence[str], synthetic: bool = False
) -> OutOfFold:
    """Turn held-out logits into values, write all three files of a run, print what came out.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    logits : DataFrame
        Held-out logits, as from `read_logits`.
    run : Path
        The folder of the run or blend.
    covered : sequence of str
        As in `merge_folds`.
    synthetic : bool
        Whether they are of a replica.

    Returns
    -------
    OutOfFold
        What was written.

    Raises
    ------
    InputError
        As `merge_folds`.
    """
    layout, result = RunLayout(run), merge_folds(train, logits, covered)
    storage.write_csv(layout.oof_logits, logits.reset_index())
    storage.write_json(layout.calibration, asdict(replace(result.ladder.calibration, synthetic=synthetic)))
    storage.write_csv(layout.oof, long(result.studies, result.values))
    print(describe_ladder(result.ladder) + "\n")
    table = score_table({"out of fold": (result.truth, result.values)}, training_constants(train))
    print(format_tables(table) + "\n")
    for uid in result.without_logits:
        print(f"constants for study {uid}: it has no column, see the index of prepare and columns")
    return result


def merge_folds(train: pd.DataFrame, logits: pd.DataFrame, covered: Sequence[str]) -> OutOfFold:
    """Turn held-out logits into values, and fall back to constants where there are none.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    logits : DataFrame
        Held-out logits, as from `read_logits`.
    covered : sequence of str
        The studies that get a value: all labelled ones, or those of the folds that are there.

    Returns
    -------
    OutOfFold
        Their values, and the calibration.

    Raises
    ------
    InputError
        For a study that has logits and no label.
    """
    labels = train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)].astype(np.float64)
    unknown = [uid for uid in logits.index if uid not in labels.index]
    if unknown:
        raise InputError(
            f"train.csv: found no label of study {unknown[0]} ({len(unknown)} such studies), which has held-out "
            "logits; expected the studies of the split; use the run's own --raw"
        )
    constants = training_constants(train)
    truth, known = labels.loc[logits.index].to_numpy(), logits[list(PREDICTION_TYPES)].to_numpy()
    ladder = climb(known, truth, random_groups(list(logits.index)), constants)
    values = pd.DataFrame(np.tile(constants, (len(covered), 1)), list(covered), labels.columns)
    values.loc[logits.index, :] = ladder.values
    return OutOfFold(
        studies=list(covered),
        values=values.to_numpy(),
        truth=labels.loc[list(covered)].to_numpy(),
        without_logits=[uid for uid in covered if uid not in logits.index],
        ladder=ladder,
    )


def read_logits(run: Path, folds: pd.Series) -> pd.DataFrame:
    """Read the held-out logits of the folds that are trained.

    Parameters
    ----------
    run : Path
        The run's folder.
    folds : Series of int64
        Fold of every study, as from `splits.read_folds`.

    Returns
    -------
    DataFrame
        fold int64, then logits float64 in columns as PREDICTION_TYPES, indexed by StudyInstanceUID.

    Raises
    ------
    InputError
        If no fold has any, or those of a fold can't be used.
    """
    layout = RunLayout(run)
    there = [fold for fold in range(folds.max() + 1) if layout.logits(fold).is_file()]
    if not there:
        raise InputError(
            f"{layout.logits(0)}: no such file, nor that of another fold; `make train` makes them"
        )
    return pd.concat([_fold_logits(run, fold, folds) for fold in there])


def _fold_logits(run: Path, fold: int, folds: pd.Series) -> pd.DataFrame:
    path = RunLayout(run).logits(fold)
    frame = pd.read_csv(path, dtype={UID_COLUMN: str}, float_precision="round_trip").set_index(UID_COLUMN)
    wrong = [uid for uid in frame.index if folds.get(uid) != fold]
    if wrong or list(frame.columns) != list(PREDICTION_TYPES) or not np.isfinite(frame.to_numpy()).all():
        raise InputError(
            f"{path}: expected finite logits {', '.join(PREDICTION_TYPES)} of fold {fold}'s studies alone, found "
            f"{len(wrong)} studies of other folds; delete the folder and run `make train FOLD={fold}`"
        )
    frame.insert(0, "fold", fold)
    return frame


def read_oof_logits(run: Path) -> pd.DataFrame:
    """Read the held-out logits that `make cv` or `make blend` left in a run.

    Parameters
    ----------
    run : Path
        The folder of the run or blend.

    Returns
    -------
    DataFrame
        As from `read_logits`.

    Raises
    ------
    InputError
        If the file is missing or can't be used.
    """
    path = RunLayout(run).oof_logits
    columns = (UID_COLUMN, "fold", *PREDICTION_TYPES)
    frame = checks.read_text(path, columns, advice="`make cv` makes it")
    checks.check_study_uids(frame[UID_COLUMN], path)
    checks.check_unique(frame[UID_COLUMN], path)
    for column in columns[1:]:
        frame[column] = checks.numbers(frame, column, path, UID_COLUMN)
    frame["fold"] = frame["fold"].astype(np.int64)
    return frame.set_index(UID_COLUMN)[list(columns[1:])]
