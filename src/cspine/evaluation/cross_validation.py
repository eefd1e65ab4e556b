"""The folds of a run put together: held-out logits, calibration, out-of-fold predictions and their scores."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import scoring
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.rows import long
from cspine.competition.splits import read_folds
from cspine.competition.tables import read_train
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration, out_of_fold_values
from cspine.settings.layout import CLASSIFIER, CacheLayout, RunLayout


@dataclass(frozen=True)
class OutOfFold:
    """What the folds of a run say about the studies that they never saw."""

    studies: list[str]
    """All labelled studies."""
    values: np.ndarray
    """Values to submit, float64 (n, 8); the constants where a study has no logits."""
    truth: np.ndarray
    """Labels, float64 (n, 8)."""
    without_logits: list[str]
    """The studies that have no logits."""
    calibration: Calibration
    """Fitted on all folds."""


def cross_validate(raw: Path, cache: Path, run: Path) -> None:
    """Merge the folds of a run, write oof.csv and calibration.json, print the scores.

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
    train, folds, layout = read_train(raw), read_folds(CacheLayout(cache).folds), RunLayout(run)
    result = merge_folds(train, folds, read_logits(run, folds))
    storage.write_json(layout.calibration, asdict(result.calibration))
    storage.write_csv(layout.oof, long(result.studies, result.values))
    table = scoring.score_table(
        {"out of fold": (result.truth, result.values)}, scoring.training_constants(train)
    )
    print(scoring.format_tables(table) + "\n")
    for uid in result.without_logits:
        print(f"constants for study {uid}: it has no column, see the index of prepare and columns")
    cli.log_stage(
        "cv",
        read=run / CLASSIFIER,
        wrote=f"{layout.oof} and {layout.calibration}",
        studies=len(result.studies),
        fell_back_to_constants=len(result.without_logits),
    )


def merge_folds(train: pd.DataFrame, folds: pd.Series, logits: pd.DataFrame) -> OutOfFold:
    """Calibrate held-out logits, each fold on the others, and fall back to constants where there are none.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    folds : Series of int64
        Fold of every study, as from `splits.read_folds`.
    logits : DataFrame of float64
        Held-out logits, as from `read_logits`.

    Returns
    -------
    OutOfFold
        Values of all labelled studies, and the calibration.
    """
    labels = train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)].astype(np.float64)
    constants = scoring.training_constants(train)
    truth, known = labels.loc[logits.index].to_numpy(), logits.to_numpy()
    values = pd.DataFrame(np.tile(constants, (len(labels), 1)), labels.index, labels.columns)
    values.loc[logits.index, :] = out_of_fold_values(
        known, truth, folds.loc[logits.index].to_numpy(), constants
    )
    return OutOfFold(
        studies=list(labels.index),
        values=values.to_numpy(),
        truth=labels.to_numpy(),
        without_logits=[uid for uid in labels.index if uid not in logits.index],
        calibration=Calibration.fit(known, truth, constants),
    )


def read_logits(run: Path, folds: pd.Series) -> pd.DataFrame:
    """Read the held-out logits of all folds.

    Parameters
    ----------
    run : Path
        The run's folder.
    folds : Series of int64
        Fold of every study, as from `splits.read_folds`.

    Returns
    -------
    DataFrame of float64
        Columns as PREDICTION_TYPES, indexed by study.

    Raises
    ------
    InputError
        If those of a fold are missing or can't be used.
    """
    return pd.concat([_fold_logits(run, fold, folds) for fold in range(folds.max() + 1)])


def _fold_logits(run: Path, fold: int, folds: pd.Series) -> pd.DataFrame:
    path = RunLayout(run).logits(fold)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; fold {fold} is not trained yet: `make train FOLD={fold}` makes it"
        )
    frame = pd.read_csv(path, dtype={UID_COLUMN: str}).set_index(UID_COLUMN)
    wrong = [uid for uid in frame.index if folds.get(uid) != fold]
    if wrong or list(frame.columns) != list(PREDICTION_TYPES) or not np.isfinite(frame.to_numpy()).all():
        raise InputError(
            f"{path}: expected finite logits {', '.join(PREDICTION_TYPES)} of fold {fold}'s studies alone, found "
            f"{len(wrong)} studies of other folds; delete the folder and run `make train FOLD={fold}`"
        )
    return frame
