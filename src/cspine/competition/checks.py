"""What every table is checked for: columns, numbers, ids; what can't be used is refused with the reason.

Every error is an InputError of the shape "file: found ...; expected ...; what to do".
"""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.labels import SLUG
from cspine.errors import InputError

UID_COLUMN = "StudyInstanceUID"
DOWNLOAD = f"kaggle competitions download -c {SLUG}"
FETCH = f"get it again with `{DOWNLOAD}`, or `make replica` for synthetic data"
FIX = "correct the file and run again"
SHOWN = 5
"""Offending rows that a message names."""
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")
# The first bytes of what pandas or a person may take for a table: a suffix alone proves nothing.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7z",
}


def first_few(items: Iterable[object]) -> str:
    """Name the first few of many.

    Parameters
    ----------
    items : iterable
        Anything that prints.

    Returns
    -------
    str
        At most SHOWN of them, and how many more there are.
    """
    every = [str(item) for item in items]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


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
            path,
            f"{ids.name} {first_few(double)} more than once ({len(double)} rows too many)",
            "one row each",
        )


def read_text(
    path: Path,
    columns: tuple[str, ...],
    advice: str = FETCH,
    may_be_empty: bool = False,
    must_end: bool = False,
) -> pd.DataFrame:
    """Read a CSV as text: numbers are turned by `numbers`, so that a UID never becomes a float.

    The file is never unpacked: Kaggle scores plain text.

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
    must_end : bool
        Whether the last line needs its line break: without one nobody can tell whether the last number is whole.

    Returns
    -------
    DataFrame
        The table, every column str.

    Raises
    ------
    InputError
        For a missing, unreadable, compressed or empty file, other columns, rows with more fields than
        the header, unless `may_be_empty` a header without rows, and with `must_end` a file that ends
        inside a line.
    """
    expected = "a CSV with the columns " + ",".join(columns)
    if not path.is_file():
        raise table_error(path, "no such file", expected, advice)
    try:
        text = _plain_text(path, expected, advice)
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
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
    if must_end and not text.endswith("\n"):
        last = text.rpartition("\n")[2]
        raise table_error(
            path,
            f"no line break after the last line, {last!r}",
            "a whole file",
            "see whether it was cut; if its last number is whole, end the line",
        )
    return frame


def _plain_text(path: Path, expected: str, advice: str) -> str:
    """The file's text; InputError for anything that is none."""
    content = path.read_bytes()
    for start, kind in _COMPRESSED.items():
        if content.startswith(start):
            raise table_error(
                path, f"a {kind} file", expected + " as plain text", f"unpack it first, or {advice}"
            )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise table_error(path, "UTF-16 text", expected + " in UTF-8", f"save it as UTF-8, or {advice}")
    if b"\x00" in content:
        raise table_error(path, "zero bytes, so no text", expected, advice)
    return content.decode("utf-8-sig").replace("\r\n", "\n")


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


def _number(text: str) -> float:
    """Read a cell exactly; what is no decimal number in ASCII becomes NaN.

    Python alone would take 0_1, and digits of any script.
    """
    return float(text) if _NUMBER.fullmatch(text) else float("nan")


def check_all(good: pd.Series, frame: pd.DataFrame, column: str, path: Path, key: str, expected: str) -> None:
    """Refuse a table with rows that are not good; the message shows the first few of them.

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
        rows = [frame.iloc[number] for number in bad[:SHOWN]]
        each = [
            f"'{row[column]}' ({key} {row[key]}, data row {number + 1})"
            for row, number in zip(rows, bad, strict=False)
        ]
        raise table_error(path, f"{column} = {', '.join(each)}; {len(bad)} such rows", expected)


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
