"""The paper's Tables 1 and 2 beside any folder's own rows, differences marked.

Source: Lin et al., The RSNA Cervical Spine Fracture CT Dataset, Radiology: Artificial Intelligence
2023;5(5):e230034.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS, OVERALL, PREDICTION_TYPES, PUBLISHED
from cspine.competition.rows import split_row_ids, wide

COLUMNS = ("studies", "M", "F", "positive", "negative", *LEVELS)
MARK = "*"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Row:
    """One row of Table 1 or 2."""

    counts: Mapping[str, int | None]
    """By COLUMNS; None where it is not known."""
    age_mean: float | None = None
    age_sd: float | None = None


def _row(
    males: int, females: int, age: float, spread: float, positive: int, negative: int, *levels: int
) -> Row:
    counts = (males + females, males, females, positive, negative, *levels)
    return Row(dict(zip(COLUMNS, counts, strict=True)), age, spread)


TABLE_2 = {
    "train": _row(1278, 741, 53.65, 21.57, 961, 1058, *PUBLISHED["train"].positives[:7]),
    "public": _row(189, 115, 52.51, 20.73, 122, 182, *PUBLISHED["public"].positives[:7]),
    "private": _row(509, 280, 53.40, 22.86, 362, 427, *PUBLISHED["private"].positives[:7]),
}
TABLE_1 = {
    "1": _row(212, 115, 61.37, 20.98, 169, 158, 32, 47, 11, 23, 24, 41, 68),
    "2": _row(68, 67, 52.74, 24.35, 92, 43, 15, 30, 4, 12, 13, 26, 33),
    "3": _row(175, 112, 58.57, 22.34, 100, 187, 15, 23, 10, 13, 20, 28, 44),
    "4": _row(245, 108, 45.86, 19.19, 182, 171, 34, 50, 28, 32, 48, 62, 75),
    "5": _row(223, 133, 51.03, 20.95, 176, 180, 26, 58, 17, 18, 30, 60, 76),
    "6": _row(37, 29, 47.83, 21.92, 30, 36, 2, 12, 3, 4, 4, 4, 11),
    "7": _row(234, 188, 60.22, 22.32, 187, 235, 28, 59, 17, 25, 35, 41, 62),
    "8": _row(176, 60, 42.91, 19.28, 96, 140, 18, 13, 10, 22, 25, 34, 34),
    "9": _row(31, 8, 44.1, 17.81, 11, 28, 0, 8, 2, 1, 1, 2, 1),
    "10": _row(94, 55, 47.38, 19.64, 41, 108, 4, 9, 6, 4, 7, 20, 15),
    "11": _row(207, 80, 50.83, 18.74, 144, 143, 35, 50, 9, 15, 29, 46, 67),
    "12": _row(274, 181, 57.17, 21.68, 217, 238, 32, 62, 21, 28, 49, 71, 88),
}


def count_row(labels: pd.DataFrame, people: pd.DataFrame | None) -> Row:
    """Count one set of studies as the paper does.

    Parameters
    ----------
    labels : DataFrame
        Labels in columns as PREDICTION_TYPES, indexed by StudyInstanceUID.
    people : DataFrame or None
        sex and age of the same studies, as from `cohort.read_cohort`; None where nobody knows.

    Returns
    -------
    Row
        The counts; sex and age None without `people`.
    """
    positive = int(labels[OVERALL].sum())
    counts: dict[str, int | None] = {"studies": len(labels), "M": None, "F": None}
    counts |= {"positive": positive, "negative": len(labels) - positive}
    counts |= {level: int(labels[level].sum()) for level in LEVELS}
    if people is None:
        return Row(counts)
    here = people.reindex(labels.index)
    counts |= {sex: int((here["sex"] == sex).sum()) for sex in ("M", "F")}
    return Row(counts, float(here["age"].mean()), float(here["age"].std()))


def compare_rows(found: Mapping[str, Row], published: Mapping[str, Row]) -> str:
    """Lay rows out with the paper's below each, differences marked.

    Parameters
    ----------
    found : mapping of str to Row
        A set's or site's name to what was counted.
    published : mapping of str to Row
        The paper's rows by the same names; a name that it lacks stands alone.

    Returns
    -------
    str
        A table, and what the mark means.
    """
    width = max(len(name) for name in [*found, "paper"]) + 2
    lines = [f"{'':{width}}" + "".join(f"{name:>9}" for name in COLUMNS) + f"{'age':>16}"]
    marked = False
    for name, row in found.items():
        theirs = published.get(name)
        cells = []
        for column in COLUMNS:
            value = row.counts[column]
            differs = theirs is not None and _differs(row, theirs, column)
            marked |= differs
            cells.append(f"{'-' if value is None else value:>8}{MARK if differs else ' '}")
        lines.append(f"{name:{width}}" + "".join(cells) + _age(row))
        if theirs is not None:
            lines.append(
                f"{'  paper':{width}}"
                + "".join(f"{theirs.counts[column]:>8} " for column in COLUMNS)
                + _age(theirs)
            )
    if marked:
        lines.append(
            f"{MARK} another count than the paper's; of another number of studies: a share outside the 95 % binomial "
            "interval around the paper's"
        )
    return "\n".join(lines)


def _age(row: Row) -> str:
    """Mean and standard deviation of the age."""
    return f"{'-':>16}" if row.age_mean is None else f"{row.age_mean:9.2f} ± {row.age_sd:.2f}"


def _differs(row: Row, theirs: Row, column: str) -> bool:
    """Whether a count is not the paper's."""
    value, expected = row.counts[column], theirs.counts[column]
    studies, of_theirs = row.counts["studies"], theirs.counts["studies"]
    assert expected is not None and studies is not None and of_theirs is not None
    if value is None:
        return False
    if studies == of_theirs or column == "studies":
        return value != expected
    low, high = stats.binom.interval(CONFIDENCE, studies, expected / of_theirs)
    return bool(value < low or value > high)


def sets_of(
    train: pd.DataFrame, solution: pd.DataFrame | None, cohort: pd.DataFrame | None
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Count the sets of a folder, and its sites where they are known.

    Parameters
    ----------
    train : DataFrame
        As from `tables.read_train`.
    solution : DataFrame or None
        Labels of the test studies, as from `tables.read_solution`, where they are known.
    cohort : DataFrame or None
        As from `cohort.read_cohort`.

    Returns
    -------
    sets : dict of str to Row
        "train", and with a solution "public" and "private".
    sites : dict of str to Row
        By site, over all sets; empty without a cohort table.
    """
    labels = {"train": train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)]}
    if solution is not None:
        uids, truth = wide(solution)
        every = pd.DataFrame(truth.astype(np.int64), uids, list(PREDICTION_TYPES))
        usage = solution["Usage"].set_axis(split_row_ids(solution["row_id"])[UID_COLUMN])
        usage = usage[~usage.index.duplicated()]
        for name in ("Public", "Private"):
            here = usage.index[usage == name]
            if len(here):
                labels[name.lower()] = every.loc[here]
    sets = {name: count_row(one, cohort) for name, one in labels.items()}
    if cohort is None:
        return sets, {}
    all_sets = pd.concat(labels.values())
    site = cohort["site"].reindex(all_sets.index)
    names = sorted(site.dropna().unique(), key=lambda name: (len(name), name))
    return sets, {name: count_row(all_sets[site == name], cohort) for name in names}
