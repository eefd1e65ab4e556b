"""The competition's CSV files as checked DataFrames: what can't be used is refused with the reason."""

from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.checks import (
    DOWNLOAD,
    FETCH,
    FIX,
    UID_COLUMN,
    check_all,
    check_study_uids,
    check_unique,
    first_few,
    numbers,
    read_text,
    table_error,
)
from cspine.competition.labels import LEVELS, OVERALL, weights_of
from cspine.competition.rows import check_row_ids, long, wide
from cspine.errors import InputError

BOX_CORNER, BOX_SIZE = ("x", "y"), ("width", "height")
BOX_FIELDS = (*BOX_CORNER, *BOX_SIZE, "slice_number")
"""Columns of train_bounding_boxes.csv beside the study."""
SOLUTION = ("row_id", "fractured", "weight", "Usage")
"""Columns of a solution; MLE-bench's has the first two."""


def check_competition_folder(raw: Path | str) -> Path:
    """Refuse a folder that can't be the competition's, and say how to get one.

    Parameters
    ----------
    raw : Path or str
        The competition folder.

    Returns
    -------
    Path
        The same folder.

    Raises
    ------
    InputError
        If the folder is missing or empty, or if train.csv lies in its subfolder `competition` instead.
    """
    raw = Path(raw)
    get = f"get the data with `{DOWNLOAD}` and unpack it there, or make synthetic data with `make replica`"
    if not raw.is_dir():
        raise InputError(
            f"{raw}: found no such folder; expected the competition's files (train.csv, ...); {get}"
        )
    if not (raw / "train.csv").is_file() and (raw / "competition" / "train.csv").is_file():
        raise InputError(f"{raw}: found no train.csv; expected one; name {raw / 'competition'} instead")
    if not any(raw.iterdir()):
        raise InputError(
            f"{raw}: found an empty folder; expected the competition's files (train.csv, ...); {get}"
        )
    return raw


def read_train(raw: Path | str) -> pd.DataFrame:
    """Read train.csv.

    Parameters
    ----------
    raw : Path or str
        The competition folder.

    Returns
    -------
    DataFrame
        StudyInstanceUID str, patient_overall and C1..C7 int64, one row a study.

    Raises
    ------
    InputError
        For a missing or empty file, other columns, UIDs that are double or unfit as folder names, labels
        other than 0 and 1, and patient_overall that is not the OR of the levels.
    """
    path = check_competition_folder(raw) / "train.csv"
    frame = read_text(path, (UID_COLUMN, OVERALL, *LEVELS))
    check_study_uids(frame[UID_COLUMN], path)
    check_unique(frame[UID_COLUMN], path)
    for column in (OVERALL, *LEVELS):
        frame[column] = numbers(frame, column, path, UID_COLUMN, allowed=(0, 1)).astype(np.int64)
    expected = frame[list(LEVELS)].max(axis=1)
    _check_overall(frame[UID_COLUMN], frame[OVERALL], expected, path)
    return frame[[UID_COLUMN, OVERALL, *LEVELS]]


def read_boxes(raw: Path | str) -> pd.DataFrame:
    """Read train_bounding_boxes.csv.

    slice_number is the number in the .dcm file name, not a position. No box does not mean no fracture, so a
    file without rows is fine.

    Parameters
    ----------
    raw : Path or str
        The competition folder.

    Returns
    -------
    DataFrame
        StudyInstanceUID str; x, y, width, height float64 in pixels; slice_number int64.

    Raises
    ------
    InputError
        As in `read_train`, and for empty boxes or two boxes on one slice.
    """
    path = check_competition_folder(raw) / "train_bounding_boxes.csv"
    frame = read_text(path, (UID_COLUMN, *BOX_FIELDS), may_be_empty=True)
    check_study_uids(frame[UID_COLUMN], path)
    for column in BOX_FIELDS:
        frame[column] = numbers(frame, column, path, UID_COLUMN)
    for column in BOX_SIZE:
        check_all(frame[column] > 0, frame, column, path, UID_COLUMN, "a size above 0")
    number = frame["slice_number"]
    whole = number.between(0, 1e9) & (number == number.round())
    check_all(whole, frame, "slice_number", path, UID_COLUMN, "the number of a .dcm file")
    frame["slice_number"] = number.astype(np.int64)
    double = frame.duplicated([UID_COLUMN, "slice_number"])
    check_all(~double, frame, "slice_number", path, UID_COLUMN, "one box a slice")
    return frame[[UID_COLUMN, *BOX_FIELDS]]


def read_test(raw: Path | str) -> pd.DataFrame:
    """Read test.csv.

    A study may have fewer than eight rows, as in the three visible ones.

    Parameters
    ----------
    raw : Path or str
        The competition folder.

    Returns
    -------
    DataFrame
        row_id, StudyInstanceUID, prediction_type (all str), in the file's order.

    Raises
    ------
    InputError
        For a missing or empty file, other columns, unknown levels, double row ids, and row ids that are not
        `<StudyInstanceUID>_<prediction_type>`.
    """
    path = check_competition_folder(raw) / "test.csv"
    frame = read_text(path, ("row_id", UID_COLUMN, "prediction_type"))
    uids, types = check_row_ids(frame["row_id"], path)
    same = (uids == frame[UID_COLUMN]) & (types == frame["prediction_type"])
    check_all(same, frame, "row_id", path, "row_id", "<StudyInstanceUID>_<prediction_type> of its own row")
    return frame


def read_sample(raw: Path | str) -> pd.DataFrame:
    """Read sample_submission.csv.

    Parameters
    ----------
    raw : Path or str
        The competition folder.

    Returns
    -------
    DataFrame
        row_id str, fractured float64.

    Raises
    ------
    InputError
        As `read_submission`.
    """
    path = check_competition_folder(raw) / "sample_submission.csv"
    return read_submission(path, advice=FETCH, must_end=False)


def read_submission(path: Path | str, advice: str = FIX, must_end: bool = True) -> pd.DataFrame:
    """Read a submission, a sample or out-of-fold predictions.

    Whether row ids are missing only `submission.check` can tell.

    Parameters
    ----------
    path : Path or str
        The file.
    advice : str
        What to do about a missing or empty file, for the message.
    must_end : bool
        Whether a file without a line break at its end, which may have been cut, is refused.

    Returns
    -------
    DataFrame
        row_id str, fractured float64 in [0, 1].

    Raises
    ------
    InputError
        For a missing, empty or cut file, other columns, unknown levels, double row ids, NaN, and
        probabilities outside [0, 1].
    """
    path = Path(path)
    frame = read_text(path, ("row_id", "fractured"), advice=advice, must_end=must_end)
    check_row_ids(frame["row_id"], path)
    frame["fractured"] = numbers(frame, "fractured", path, "row_id")
    inside = frame["fractured"].between(0, 1)
    check_all(inside, frame, "fractured", path, "row_id", "a probability in [0, 1]")
    return frame[["row_id", "fractured"]]


def read_solution(path: Path | str) -> pd.DataFrame:
    """Read a solution: the replica's and Kaggle's four columns, or MLE-bench's two.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    DataFrame
        row_id str, fractured int64, weight float64, Usage "Public" or "Private"; "Test" in all rows of a file
        with row_id and fractured alone.

    Raises
    ------
    InputError
        As in `read_submission`, and for studies without all eight rows, studies in both sets, weights that
        are not the metric's, and patient_overall that is not the OR of the levels.
    """
    path = Path(path)
    short = _has_two_columns(path)
    columns = SOLUTION[:2] if short else SOLUTION
    frame = read_text(path, columns, advice="`make replica` makes one", must_end=True)
    uids, _ = check_row_ids(frame["row_id"], path)
    frame["fractured"] = numbers(frame, "fractured", path, "row_id", allowed=(0, 1)).astype(np.int64)
    order, truth = wide(frame, what=path)
    _check_overall(pd.Series(order), pd.Series(truth[:, 7]), pd.Series(truth[:, :7].max(axis=1)), path)
    wanted = long(order, weights_of(truth)).set_index("row_id")["fractured"].loc[frame["row_id"]].to_numpy()
    if short:
        return frame.assign(weight=wanted, Usage="Test")[list(SOLUTION)]
    frame["weight"] = numbers(frame, "weight", path, "row_id")
    known = frame["Usage"].isin(("Public", "Private"))
    check_all(known, frame, "Usage", path, "row_id", "Public or Private")
    single = frame.groupby(uids)["Usage"].transform("nunique") == 1
    check_all(single, frame, "Usage", path, "row_id", "one value for all rows of a study")
    expected = "the metric's (1 or 2, for patient_overall 7 or 14)"
    check_all(frame["weight"] == wanted, frame, "weight", path, "row_id", expected)
    return frame[list(SOLUTION)]


def _has_two_columns(path: Path) -> bool:
    """Whether a solution's first line names row_id and fractured alone."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.readline(1000).decode("utf-8-sig", errors="replace").strip().replace('"', "")
    return sorted(head.split(",")) == ["fractured", "row_id"]


def _check_overall(uids: pd.Series, overall: pd.Series, expected: pd.Series, path: Path) -> None:
    wrong = np.flatnonzero(overall.to_numpy() != expected.to_numpy())
    if len(wrong):
        study = f"study {first_few(uids.iloc[wrong])} ({len(wrong)} such studies)"
        raise table_error(
            path,
            f"{OVERALL} = {overall.iloc[wrong[0]]:.0f} for {study}",
            f"{expected.iloc[wrong[0]]:.0f}, the OR of C1..C7",
        )
