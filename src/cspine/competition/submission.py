"""Predictions become submission.csv: the sample's row ids, no gaps, no value that costs too much."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import storage
from cspine.competition.checks import UID_COLUMN, first_few
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.rows import split_row_ids
from cspine.errors import InputError

# No submitted value is nearer to 0 or 1 than this: one wrong certainty then costs 6.9 times its weight, not
# 34.5, and all right ones together pay 0.001 for it.
SUBMIT_CLIP = 1e-3


def probability_of(values: np.ndarray) -> np.ndarray:
    """Give the probabilities p that submitted values 2p / (1 + p) stand for.

    This is the inverse of `metric.best_constants`.

    Parameters
    ----------
    values : ndarray, any shape
        Submitted values in [0, 1].

    Returns
    -------
    ndarray of float64, same shape
        The probabilities.
    """
    values = np.asarray(values, dtype=np.float64)
    return values / (2 - values)


def assemble(
    sample: pd.DataFrame, predictions: Mapping[str, np.ndarray], constants: np.ndarray
) -> tuple[pd.DataFrame, list[str]]:
    """Fill the sample's rows with predictions, and with constants where there are none.

    Predictions for studies that the sample does not name are left out; a row of an unknown kind gets the constants'
    mean.

    Parameters
    ----------
    sample : DataFrame
        The rows to fill (row_id, fractured), as read by `tables.read_sample`.
    predictions : mapping of str to ndarray of shape (8,)
        StudyInstanceUID to the values to submit, columns as PREDICTION_TYPES.
    constants : ndarray, shape (8,)
        Values for studies without predictions, or with NaN or values outside [0, 1].

    Returns
    -------
    frame : DataFrame
        Rows `row_id, fractured` in the sample's order, clipped to [SUBMIT_CLIP, 1 - SUBMIT_CLIP].
    fell_back : list of str
        The UIDs of the studies that fell back to the constants, in order: the caller has to show them.

    Raises
    ------
    ValueError
        For predictions or constants of another shape.
    """
    parts = split_row_ids(sample["row_id"])
    rows_of, fell_back = {}, []
    for uid in parts[UID_COLUMN].unique():
        values = np.asarray(predictions.get(uid, constants), dtype=np.float64)
        if values.shape != (len(PREDICTION_TYPES),):
            raise ValueError(f"study {uid}: found {values.shape} values; expected ({len(PREDICTION_TYPES)},)")
        usable = uid in predictions and bool(((values >= 0) & (values <= 1)).all())
        if not usable:
            fell_back.append(uid)
            values = np.asarray(constants, dtype=np.float64)
        rows_of[uid] = dict(zip(PREDICTION_TYPES, np.clip(values, SUBMIT_CLIP, 1 - SUBMIT_CLIP), strict=True))
    pairs = zip(parts[UID_COLUMN], parts["prediction_type"], strict=True)
    unknown = float(np.mean(constants))
    fractured = [float(rows_of[uid].get(kind, unknown)) for uid, kind in pairs]
    return pd.DataFrame({"row_id": sample["row_id"].to_numpy(), "fractured": fractured}), fell_back


def check(frame: pd.DataFrame, sample: pd.DataFrame, what: Path | str = "submission") -> None:
    """Refuse a submission that does not answer exactly the sample's rows with probabilities.

    The order of the rows does not matter.

    Parameters
    ----------
    frame : DataFrame
        The submission: row_id, fractured.
    sample : DataFrame
        Any table with the wanted row_id.
    what : Path or str
        The file's name for the message.

    Raises
    ------
    InputError
        For other columns, row ids that are double, missing or not asked for, NaN, and values outside [0, 1].
    """
    if list(frame.columns) != ["row_id", "fractured"]:
        raise InputError(
            f"{what}: found the columns {','.join(frame.columns)}; expected row_id,fractured; rename them"
        )
    ids, wanted = pd.Index(frame["row_id"]), pd.Index(sample["row_id"])
    expected = f"each of the {len(wanted)} row ids once"
    problems = {
        "more than once": ids[ids.duplicated()],
        "missing": wanted.difference(ids, sort=False),
        "that nobody asked for": ids.difference(wanted, sort=False),
    }
    for problem, rows in problems.items():
        if len(rows):
            named = first_few(rows)
            message = f"{what}: found row id {named} {problem} ({len(rows)} such rows); expected {expected}"
            raise InputError(f"{message}; predict the studies of the test.csv beside the sample")
    values = frame["fractured"].to_numpy(np.float64)
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(bad):
        few = first_few(f"{values[number]} in row {ids[number]}" for number in bad)
        found = f"fractured = {few} ({len(bad)} such rows)"
        raise InputError(f"{what}: found {found}; expected a probability in [0, 1]; correct it")


def write_submission(path: Path | str, frame: pd.DataFrame, sample: pd.DataFrame) -> None:
    """Check a submission against its sample, then write it atomically.

    Parameters
    ----------
    path : Path or str
        The file to write.
    frame : DataFrame
        The submission: row_id, fractured.
    sample : DataFrame
        Any table with the wanted row_id.

    Raises
    ------
    InputError
        As `check`.
    """
    check(frame, sample, what=path)
    storage.write_csv(path, frame)
