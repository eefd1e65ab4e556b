"""What every table is checked for: columns, numbers, ids; what can't be used is refused with the reason.

Every error is an InputError of the shape "file: found ...; expected ...; what to do".
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.labels import SLUG
from cspine.errors import InputError

UID_COLUMN = "StudyInstanceUID"
DOWNLOAD = f"kaggle competitions download -c {SLUG}"
FETCH = f"get it again with `{DOWNLOAD}`, or `make replica` for synthetic data"
FIX = "correct the file and run again"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def check_study_uid(uid: str) -> str:
    """Refuse a StudyInstanceUID that is not safe as a folder name.

    It has at most 64 characters, digits in groups joined by single dots (DICOM PS3.5, section 9.1; leading
    zeros are let through). That leaves no room for "..", "/" or an absolute path.

    Parameters
    ----------
    uid : str
        The StudyInstanceUID.

    Returns
    -------
    str
        The same StudyInstanceUID.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if not isinstance(uid, str) or len(uid) > 64 or not _UID.fullmatch(uid):
        raise InputError(
            f"StudyInstanceUID: found {uid!r}; expected at most 64 digits and single dots; {FIX}"
        )
    return uid


def check_study_uids(uids: pd.Series, path: Path) -> None:
    """Refuse UIDs that `check_study_uid` refuses, naming the file.

    Parameters
    ----------
    uids : Series of str
        StudyInstanceUIDs, each any number of times.
    path : Path
        The file's name for the message.

    Raises
    ------
    InputError
        For the first UID that is refused.
    """
    for uid in uids.unique():
        try:
            check_study_uid(uid)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def check_unique(ids: pd.Series, path: Path) -> None:
    """Refuse an id that occurs more than once, naming the file.

    Parameters
    ----------
    ids : Series
        Ids; the series' name is the column's for the message.
    path : Path
        The file's name for the message.

    Raises
    ------
    InputError
        If an id occurs more than once.
    """
    double = ids[ids.duplicated()]
    if len(double):
        raise table_error(
            path, f"{ids.name} {double.iloc[0]} more than once ({len(double)} rows too many)", "one row each"
        )


def read_text(
    path: Path, columns: tuple[str, ...], advice: str = FETCH, may_be_empty: bool = False
) -> pd.DataFrame:
    """Read a CSV as text: numbers are turned by `numbers`, so that a UID never becomes a float.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        The columns that it has to have, in any order, and no others.
    advice : str
        What to do about a missing or empty file, for the message.
    may_be_empty : bool
        Whether a header without rows is fine.

    Returns
    -------
    DataFrame
        The table, every column str.

    Raises
    ------
    InputError
        For a missing, unreadable or empty file, other columns, rows with more fields than the header, and,
        unless `may_be_empty`, a header without rows.
    """
    expected = "a CSV with the columns " + ",".join(columns)
    if not path.is_file():
        raise table_error(path, "no such file", expected, advice)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise table_error(path, f"an unreadable file ({error})", expected, advice) from error
    except pd.errors.EmptyDataError as error:
        raise table_error(path, "an empty file", expected, advice) from error
    if sorted(frame.columns) != sorted(columns):
        raise table_error(path, "the columns " + ",".join(map(str, frame.columns)), ",".join(columns))
    # pandas makes an index of the first field when every row has one field more than the header
    if not isinstance(frame.index, pd.RangeIndex):
        raise table_error(path, "rows with more fields than the header", f"{len(columns)} fields a row")
    if frame.empty and not may_be_empty:
        raise table_error(path, "a header without rows", "at least one row", advice)
    return frame


def numbers(
    frame: pd.DataFrame, column: str, path: Path, key: str, allowed: tuple[int, ...] = ()
) -> pd.Series:
    """Turn a text column into numbers.

    Parameters
    ----------
    frame : DataFrame
        A table as from `read_text`.
    column : str
        The column.
    path : Path
        The file's name for the message.
    key : str
        The column by which the message names a row.
    allowed : tuple of int
        The values that may occur; () for any finite number.

    Returns
    -------
    Series of float64
        The numbers, same index.

    Raises
    ------
    InputError
        For NaN, infinity or values not `allowed`.
    """
    number = frame[column].map(_number).astype(np.float64)
    if allowed:
        few = ", ".join(map(str, allowed)) if len(allowed) < 9 else f"{allowed[0]}, ..., {allowed[-1]}"
        check_all(number.isin(allowed), frame, column, path, key, "one of " + few)
    else:
        check_all(pd.Series(np.isfinite(number)), frame, column, path, key, "a finite number")
    return number


def _number(text: str | float) -> float:
    """Read a cell exactly; what is no number (or absent, in a row too short) becomes NaN."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def check_all(good: pd.Series, frame: pd.DataFrame, column: str, path: Path, key: str, expected: str) -> None:
    """Refuse a table with rows that are not good; the message shows the first of them.

    Parameters
    ----------
    good : Series of bool, shape (rows,)
        Which rows may stay.
    frame : DataFrame
        The table.
    column : str
        The column that is judged.
    path : Path
        The table's file, for the message.
    key : str
        The column that names a row in the message.
    expected : str
        What a good value is.

    Raises
    ------
    InputError
        If there is a row that is not good.
    """
    bad = np.flatnonzero(~good.to_numpy(bool))
    if len(bad):
        row = frame.iloc[bad[0]]
        found = f"{column} = '{row[column]}' ({key} {row[key]}, data row {bad[0] + 1}; {len(bad)} such rows)"
        raise table_error(path, found, expected)


def table_error(path: Path | str, found: str, expected: str, advice: str = FIX) -> InputError:
    """Put the error about a table into words.

    Parameters
    ----------
    path : Path or str
        The table's file.
    found : str
        What stands in it.
    expected : str
        What should.
    advice : str
        What to do.

    Returns
    -------
    InputError
        To be raised.
    """
    return InputError(f"{path}: found {found}; expected {expected}; {advice}")
