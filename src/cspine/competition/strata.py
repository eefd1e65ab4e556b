"""What a split has to balance: labels, boxes, masks, and who the patients are or how they were scanned."""

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES

BOXES, MASK = "has boxes", "has mask"
ANNOTATED = (*PREDICTION_TYPES, BOXES, MASK)
"""What matters most: what is learnt, and what it is learnt from."""
NUMBERS = ("age", "step_mm", "pixel_mm")
"""Columns that are numbers; all others become one column a value."""
SCAN = ("step_mm", "direction", "pixel_mm", "syntax")
"""What the headers tell, where no table tells who the patients are."""
RAREST = 5
"""Values with fewer studies than this have no column of their own: nothing can balance them."""


def strata(
    train: pd.DataFrame, boxed: set[str], masked: set[str], others: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Put together what is balanced.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    boxed : set of str
        Studies with boxes.
    masked : set of str
        Studies with a mask.
    others : DataFrame, optional
        Further columns, indexed by StudyInstanceUID: site, sex, age of a cohort table, or step_mm, direction,
        pixel_mm, syntax of the headers. What is missing counts as a value of its own.

    Returns
    -------
    DataFrame of float64
        Indexed by StudyInstanceUID, sorted; 0 or 1, but for age, step_mm and pixel_mm. Columns without any
        difference are left out.
    """
    ordered = train.sort_values(UID_COLUMN).set_index(UID_COLUMN)
    table = ordered[list(PREDICTION_TYPES)].astype(np.float64)
    table[BOXES] = [float(uid in boxed) for uid in table.index]
    table[MASK] = [float(uid in masked) for uid in table.index]
    if others is not None:
        for name in others.columns:
            values = others[name].reindex(table.index)
            table = table.join(
                _number(values, name) if name in NUMBERS else _one_column_a_value(values, name)
            )
    return table.loc[:, table.nunique() > 1]


def _number(values: pd.Series, name: str) -> pd.DataFrame:
    """A number, its median where it is missing, and whether it is."""
    number = pd.to_numeric(values, errors="coerce").astype(np.float64)
    known = number.fillna(number.median() if number.notna().any() else 0.0)
    table = pd.DataFrame({name: known})
    if number.isna().sum() >= RAREST:
        table[f"{name} unknown"] = number.isna().astype(np.float64)
    return table


def _one_column_a_value(values: pd.Series, name: str) -> pd.DataFrame:
    """0 or 1 for each value; of two values one column is enough."""
    text = values.astype(object).where(values.notna(), "unknown").astype(str)
    counts = text.value_counts()
    kept = sorted(str(value) for value, count in counts.items() if count >= RAREST)
    if len(counts) == 2 and len(kept) == 2:
        kept = kept[:1]
    return pd.DataFrame({f"{name} {value}": (text == value).astype(np.float64) for value in kept})


def standardised_differences(table: pd.DataFrame, part: pd.Series) -> pd.DataFrame:
    """Hold every part against all others.

    Parameters
    ----------
    table : DataFrame of float
        As from `strata`.
    part : Series
        The part of every study, indexed by StudyInstanceUID.

    Returns
    -------
    DataFrame of float64
        Index: the parts; columns: those of the table. Difference of means (the part less the rest) in units
        of the square root of the mean of both variances; 0 where neither varies.
    """
    labels = part.loc[table.index].to_numpy()
    rows = {}
    for name in pd.unique(np.sort(labels)):
        rows[name] = difference_of(table[labels == name], table[labels != name])
    return pd.DataFrame(rows).T


def difference_of(one: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    """Give the standardised difference of two sets of studies.

    Parameters
    ----------
    one : DataFrame of float
        Some rows of `strata`.
    other : DataFrame of float
        Other rows.

    Returns
    -------
    Series of float64
        A value a column: difference of means over the square root of the mean of both variances.

    Notes
    -----
    Austin, Balance diagnostics for comparing the distribution of baseline covariates, Statistics in Medicine
    2009;28:3083.
    """
    spread = np.sqrt((one.var(ddof=0) + other.var(ddof=0)) / 2)
    return ((one.mean() - other.mean()) / spread.where(spread > 0, 1.0)).astype(np.float64)
