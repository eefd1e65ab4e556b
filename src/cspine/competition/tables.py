"""The competition's CSV files as checked DataFrames: what can't be used is refused with the reason.

Every error is an InputError of the shape "file: found ...; expected ...; what to do".
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.labels import LEVELS, OVERALL, PREDICTION_TYPES, SLUG, weights_of
from cspine.errors import InputError

UID_COLUMN = "StudyInstanceUID"
BOX_CORNER, BOX_SIZE = ("x", "y"), ("width", "height")
BOX_FIELDS = (*BOX_CORNER, *BOX_SIZE, "slice_number")
"""Columns of train_bounding_boxes.csv beside the study."""
DOWNLOAD = f"kaggle competitions download -c {SLUG}"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_FETCH = f"get it again with `{DOWNLOAD}`, or `make replica` for synthetic data"
_FIX = "correct the file and run again"


def check_study_uid(uid: str) -> str:
    """Return a StudyInstanceUID that is safe as a folder name, or raise InputError.

    At most 64 characters, digits in groups joined by single dots (DICOM PS3.5, section 9.1; leading zeros are
    let through). That leaves no room for "..", "/" or an absolute path.
    """
    if not isinstance(uid, str) or len(uid) > 64 or not _UID.fullmatch(uid):
        raise InputError(
            f"StudyInstanceUID: found {uid!r}; expected at most 64 digits and single dots; {_FIX}"
        )
    return uid


def check_competition_folder(raw: Path | str) -> Path:
    """Return the competition folder, or raise InputError that says how to get one."""
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
    """Read train.csv: StudyInstanceUID str, patient_overall and C1..C7 int64, one row a study.

    Raises: InputError for a missing or empty file, other columns, UIDs that are double or unfit as folder
    names, labels other than 0 and 1, and patient_overall that is not the OR of the levels.
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
    """Read train_bounding_boxes.csv: UID, x, y, width, height float64 in pixels, slice_number int64.

    slice_number is the number in the .dcm file name, not a position. No box does not mean no fracture, so a
    file without rows is fine.
    Raises: InputError as in `read_train`, and for empty boxes or two boxes on one slice.
    """
    path = check_competition_folder(raw) / "train_bounding_boxes.csv"
    frame = read_text(path, (UID_COLUMN, *BOX_FIELDS), may_be_empty=True)
    check_study_uids(frame[UID_COLUMN], path)
    for column in BOX_FIELDS:
        frame[column] = numbers(frame, column, path, UID_COLUMN)
    for column in BOX_SIZE:
        _check_all(frame[column] > 0, frame, column, path, UID_COLUMN, "a size above 0")
    number = frame["slice_number"]
    whole = number.between(0, 1e9) & (number == number.round())
    _check_all(whole, frame, "slice_number", path, UID_COLUMN, "the number of a .dcm file")
    frame["slice_number"] = number.astype(np.int64)
    double = frame.duplicated([UID_COLUMN, "slice_number"])
    _check_all(~double, frame, "slice_number", path, UID_COLUMN, "one box a slice")
    return frame[[UID_COLUMN, *BOX_FIELDS]]


def read_test(raw: Path | str) -> pd.DataFrame:
    """Read test.csv: row_id, StudyInstanceUID, prediction_type (all str), in the file's order.

    A study may have fewer than eight rows, as in the three visible ones.
    Raises: InputError for a missing or empty file, other columns, unknown levels, double row ids, and row ids
    that are not `<StudyInstanceUID>_<prediction_type>`.
    """
    path = check_competition_folder(raw) / "test.csv"
    frame = read_text(path, ("row_id", UID_COLUMN, "prediction_type"))
    uids, types = _check_row_ids(frame["row_id"], path)
    same = (uids == frame[UID_COLUMN]) & (types == frame["prediction_type"])
    _check_all(same, frame, "row_id", path, "row_id", "<StudyInstanceUID>_<prediction_type> of its own row")
    return frame


def read_sample(raw: Path | str) -> pd.DataFrame:
    """Read sample_submission.csv: row_id str, fractured float64. Raises as `read_submission`."""
    return read_submission(check_competition_folder(raw) / "sample_submission.csv", advice=_FETCH)


def read_submission(path: Path | str, advice: str = _FIX) -> pd.DataFrame:
    """Read a submission, a sample or out-of-fold predictions: row_id str, fractured float64 in [0, 1].

    Raises: InputError for a missing or empty file, other columns, unknown levels, double row ids, NaN, and
    probabilities outside [0, 1]. Whether row ids are missing only `submission.check` can tell.
    """
    path = Path(path)
    frame = read_text(path, ("row_id", "fractured"), advice=advice)
    _check_row_ids(frame["row_id"], path)
    frame["fractured"] = numbers(frame, "fractured", path, "row_id")
    inside = frame["fractured"].between(0, 1)
    _check_all(inside, frame, "fractured", path, "row_id", "a probability in [0, 1]")
    return frame[["row_id", "fractured"]]


def read_solution(path: Path | str) -> pd.DataFrame:
    """Read a solution: row_id str, fractured int64, weight float64, Usage "Public" or "Private".

    Raises: InputError as in `read_submission`, and for studies without all eight rows, studies in both sets,
    weights that are not the metric's, and patient_overall that is not the OR of the levels.
    """
    path = Path(path)
    frame = read_text(path, ("row_id", "fractured", "weight", "Usage"), advice="`make replica` makes one")
    uids, _ = _check_row_ids(frame["row_id"], path)
    frame["fractured"] = numbers(frame, "fractured", path, "row_id", allowed=(0, 1)).astype(np.int64)
    frame["weight"] = numbers(frame, "weight", path, "row_id")
    known = frame["Usage"].isin(("Public", "Private"))
    _check_all(known, frame, "Usage", path, "row_id", "Public or Private")
    single = frame.groupby(uids)["Usage"].transform("nunique") == 1
    _check_all(single, frame, "Usage", path, "row_id", "one value for all rows of a study")
    order, truth = wide(frame, what=path)
    _check_overall(pd.Series(order), pd.Series(truth[:, 7]), pd.Series(truth[:, :7].max(axis=1)), path)
    wanted = long(order, weights_of(truth)).set_index("row_id")["fractured"].loc[frame["row_id"]].to_numpy()
    expected = "the metric's (1 or 2, for patient_overall 7 or 14)"
    _check_all(frame["weight"] == wanted, frame, "weight", path, "row_id", expected)
    return frame[["row_id", "fractured", "weight", "Usage"]]


def wide(frame: pd.DataFrame, what: Path | str = "table") -> tuple[list[str], np.ndarray]:
    """Turn long rows (row_id, fractured) into one row a study.

    Returns: UIDs in order of first appearance, and (n, 8) float64, columns as PREDICTION_TYPES.
    Raises: InputError, with `what` as the file's name, for double row ids and studies without all eight rows.
    """
    uids, types = _check_row_ids(frame["row_id"], Path(what))
    order = list(dict.fromkeys(uids))
    table = pd.Series(frame["fractured"].to_numpy(np.float64), index=pd.MultiIndex.from_arrays([uids, types]))
    every = pd.MultiIndex.from_product([order, PREDICTION_TYPES])
    missing = every.difference(table.index, sort=False)
    if len(missing):
        found = f"no row {'_'.join(missing[0])} ({len(missing)} missing in all)"
        raise _error(what, found, f"all eight rows of each of the {len(order)} studies")
    return order, table.loc[every].to_numpy().reshape(-1, len(PREDICTION_TYPES))


def long(uids: list[str], values: np.ndarray) -> pd.DataFrame:
    """Turn (n, 8) values into rows `row_id, fractured`, study by study in the order of PREDICTION_TYPES."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(uids), len(PREDICTION_TYPES)):
        raise ValueError(f"values have shape {values.shape}; expected ({len(uids)}, {len(PREDICTION_TYPES)})")
    row_ids = [f"{uid}_{kind}" for uid in uids for kind in PREDICTION_TYPES]
    return pd.DataFrame({"row_id": row_ids, "fractured": values.reshape(-1)})


def split_row_ids(row_ids: pd.Series) -> pd.DataFrame:
    """Split row ids at the first underscore into columns StudyInstanceUID and prediction_type, same index."""
    parts = row_ids.astype(str).str.partition("_")
    return pd.DataFrame({UID_COLUMN: parts[0], "prediction_type": parts[2]})


def read_text(
    path: Path, columns: tuple[str, ...], advice: str = _FETCH, may_be_empty: bool = False
) -> pd.DataFrame:
    """Read a CSV as text: numbers are turned by `numbers`, so that a UID never becomes a float."""
    expected = "a CSV with the columns " + ",".join(columns)
    if not path.is_file():
        raise _error(path, "no such file", expected, advice)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise _error(path, f"an unreadable file ({error})", expected, advice) from error
    except pd.errors.EmptyDataError as error:
        raise _error(path, "an empty file", expected, advice) from error
    if sorted(frame.columns) != sorted(columns):
        raise _error(path, "the columns " + ",".join(map(str, frame.columns)), ",".join(columns))
    # pandas makes an index of the first field when every row has one field more than the header
    if not isinstance(frame.index, pd.RangeIndex):
        raise _error(path, "rows with more fields than the header", f"{len(columns)} fields a row")
    if frame.empty and not may_be_empty:
        raise _error(path, "a header without rows", "at least one row", advice)
    return frame


def _error(path: Path | str, found: str, expected: str, advice: str = _FIX) -> InputError:
    return InputError(f"{path}: found {found}; expected {expected}; {advice}")


def _check_all(
    good: pd.Series, frame: pd.DataFrame, column: str, path: Path, key: str, expected: str
) -> None:
    """Refuse a table with rows that are not good; the message shows the first of them."""
    bad = np.flatnonzero(~good.to_numpy(bool))
    if len(bad):
        row = frame.iloc[bad[0]]
        found = f"{column} = '{row[column]}' ({key} {row[key]}, data row {bad[0] + 1}; {len(bad)} such rows)"
        raise _error(path, found, expected)


def numbers(frame: pd.DataFrame, column: str, path: Path, key: str, allowed: tuple = ()) -> pd.Series:
    """Turn a text column into float64; raises InputError for NaN, infinity or values not `allowed`."""
    number = frame[column].map(_number).astype(np.float64)
    if allowed:
        few = ", ".join(map(str, allowed)) if len(allowed) < 9 else f"{allowed[0]}, ..., {allowed[-1]}"
        _check_all(number.isin(allowed), frame, column, path, key, "one of " + few)
    else:
        _check_all(np.isfinite(number), frame, column, path, key, "a finite number")
    return number


def _number(text: object) -> float:
    """Read a cell exactly; what is no number (or absent, in a row too short) becomes NaN."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def check_study_uids(uids: pd.Series, path: Path) -> None:
    """Raise InputError, naming the file, for a UID that `check_study_uid` refuses."""
    for uid in uids.unique():
        try:
            check_study_uid(uid)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def check_unique(ids: pd.Series, path: Path) -> None:
    """Raise InputError, naming the file, for an id that occurs more than once."""
    double = ids[ids.duplicated()]
    if len(double):
        raise _error(
            path, f"{ids.name} {double.iloc[0]} more than once ({len(double)} rows too many)", "one row each"
        )


def _check_row_ids(row_ids: pd.Series, path: Path) -> tuple[pd.Series, pd.Series]:
    """Check every row id and give its two parts, StudyInstanceUID and prediction_type."""
    parts = split_row_ids(row_ids)
    check_study_uids(parts[UID_COLUMN], path)
    unknown = row_ids[~parts["prediction_type"].isin(PREDICTION_TYPES)]
    if len(unknown):
        kinds = ", ".join(PREDICTION_TYPES)
        raise _error(
            path, f"row id {unknown.iloc[0]} with an unknown level", f"<StudyInstanceUID>_<one of {kinds}>"
        )
    check_unique(row_ids, path)
    return parts[UID_COLUMN], parts["prediction_type"]


def _check_overall(uids: pd.Series, overall: pd.Series, expected: pd.Series, path: Path) -> None:
    wrong = np.flatnonzero(overall.to_numpy() != expected.to_numpy())
    if len(wrong):
        study = f"study {uids.iloc[wrong[0]]} ({len(wrong)} such studies)"
        raise _error(
            path,
            f"{OVERALL} = {overall.iloc[wrong[0]]:.0f} for {study}",
            f"{expected.iloc[wrong[0]]:.0f}, the OR of C1..C7",
        )
