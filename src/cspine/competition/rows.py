"""Long tables, a row for each study and level, and wide ones, a row a study."""

from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN, check_study_uids, check_unique, first_few, table_error
from cspine.competition.labels import PREDICTION_TYPES


def split_row_ids(row_ids: pd.Series) -> pd.DataFrame:
    """Split row ids at the first underscore.

    Parameters
    ----------
    row_ids : Series of str
        Row ids, `<StudyInstanceUID>_<prediction_type>`.

    Returns
    -------
    DataFrame
        Columns StudyInstanceUID and prediction_type, same index.
    """
    parts = row_ids.astype(str).str.partition("_")
    return pd.DataFrame({UID_COLUMN: parts[0], "prediction_type": parts[2]})


def wide(frame: pd.DataFrame, what: Path | str = "table") -> tuple[list[str], np.ndarray]:
    """Turn long rows (row_id, fractured) into one row a study.

    Parameters
    ----------
    frame : DataFrame
        row_id str, fractured a number.
    what : Path or str
        The file's name for the message.

    Returns
    -------
    uids : list of str
        StudyInstanceUIDs in order of first appearance.
    values : ndarray of float64, shape (n, 8)
        The same studies' values, columns as PREDICTION_TYPES.

    Raises
    ------
    InputError
        For double row ids and studies without all eight rows.
    """
    uids, types = check_row_ids(frame["row_id"], Path(what))
    order = list(dict.fromkeys(uids))
    table = pd.Series(frame["fractured"].to_numpy(np.float64), index=pd.MultiIndex.from_arrays([uids, types]))
    every = pd.MultiIndex.from_product([order, PREDICTION_TYPES])
    missing = every.difference(table.index, sort=False)
    if len(missing):
        found = f"no row {first_few('_'.join(one) for one in missing)} ({len(missing)} missing in all)"
        raise table_error(what, found, f"all eight rows of each of the {len(order)} studies")
    return order, table.loc[every].to_numpy().reshape(-1, len(PREDICTION_TYPES))


def long(uids: list[str], values: np.ndarray) -> pd.DataFrame:
    """Turn one row a study into rows `row_id, fractured`.

    Parameters
    ----------
    uids : list of str
        StudyInstanceUIDs.
    values : ndarray, shape (n, 8)
        The same studies' values, columns as PREDICTION_TYPES.

    Returns
    -------
    DataFrame
        row_id str, fractured float64, study by study in the order of PREDICTION_TYPES.

    Raises
    ------
    ValueError
        For values of another shape.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(uids), len(PREDICTION_TYPES)):
        raise ValueError(f"values have shape {values.shape}; expected ({len(uids)}, {len(PREDICTION_TYPES)})")
    row_ids = [f"{uid}_{kind}" for uid in uids for kind in PREDICTION_TYPES]
    return pd.DataFrame({"row_id": row_ids, "fractured": values.reshape(-1)})


def check_row_ids(row_ids: pd.Series, path: Path) -> tuple[pd.Series, pd.Series]:
    """Check every row id and give its two parts.

    Parameters
    ----------
    row_ids : Series of str, shape (rows,)
        `<StudyInstanceUID>_<prediction_type>`.
    path : Path
        The table's file, for the message.

    Returns
    -------
    tuple of Series
        StudyInstanceUID and prediction_type, in the order of the rows.

    Raises
    ------
    InputError
        For UIDs that are unfit as folder names, unknown levels and double row ids.
    """
    parts = split_row_ids(row_ids)
    check_study_uids(parts[UID_COLUMN], path)
    unknown = row_ids[~parts["prediction_type"].isin(PREDICTION_TYPES)]
    if len(unknown):
        kinds = ", ".join(PREDICTION_TYPES)
        raise table_error(
            path,
            f"row id {first_few(unknown)} with an unknown level ({len(unknown)} such rows)",
            f"<StudyInstanceUID>_<one of {kinds}>",
        )
    check_unique(row_ids, path)
    return parts[UID_COLUMN], parts["prediction_type"]
