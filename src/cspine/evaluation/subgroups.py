"""Scores of groups of studies: by how they were scanned, by what had to be mended, by who the patients are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN
from cspine.competition.cohort import read_cohort
from cspine.competition.metric import weighted_losses
from cspine.dicom.traits import read_table
from cspine.evaluation.intervals import Estimate, estimate
from cspine.execution.store import INDEX
from cspine.settings.layout import CacheLayout

SMALLEST = 10
"""Studies below which a group gets no figures of its own."""
AGES = ((0, 40, "younger than 40"), (40, 65, "40 to 64"), (65, 200, "65 and older"))


@dataclass(frozen=True)
class Group:
    """One group of studies, out of fold, in the leaderboard's form."""

    by: str
    name: str
    studies: int
    positives: int
    score: Estimate
    gain_percent: Estimate
    """Over the training constants on the same studies; groups differ in how often they are fractured."""
    to_the_rest: Estimate
    """This group's gain less that of all other studies, in percent points."""


def groupings(raw: Path, cache: Path, uids: list[str]) -> tuple[dict[str, pd.Series], list[str]]:
    """Collect what studies can be grouped by.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache.
    uids : list of str
        The studies.

    Returns
    -------
    groups : dict of str to Series of str
        What they are grouped by, to each study's value.
    missing : list of str
        Sentences about what could not be looked up.

    Raises
    ------
    InputError
        If a table can't be used.
    """
    layout, groups, missing = CacheLayout(cache), {}, []
    if layout.traits.is_file():
        traits = read_table(layout.traits).reindex(uids)
        groups["direction of the file numbers"] = traits["direction"].fillna("unknown")
        groups["transfer syntax"] = traits["syntax"].fillna("unknown").str.replace(r",.*", "", regex=True)
        groups["step between slices"] = _thirds(traits["step_mm"], "mm")
        groups["pixel spacing"] = _thirds(traits["pixel_mm"], "mm")
    else:
        missing.append(f"no groups by header: {layout.traits.name} is missing (`make describe` makes it)")
    index = layout.volumes / INDEX
    if index.is_file():
        notes = (
            pd.read_csv(index, dtype=str, keep_default_na=False).set_index(UID_COLUMN)["notes"].reindex(uids)
        )
        mended = notes.fillna("").ne("")
        groups["scan"] = mended.map({True: "odd or mended", False: "as expected"})
    cohort = read_cohort(raw)
    if cohort is None:
        missing.append("no groups by site, sex and age: the competition's files do not tell them")
    else:
        people = cohort.reindex(uids)
        groups["site"] = people["site"].fillna("unknown")
        groups["sex"] = people["sex"].fillna("unknown")
        groups["age"] = people["age"].map(_age)
    return groups, missing


def _thirds(numbers: pd.Series, unit: str) -> pd.Series:
    """Three groups of about the same size, named by their ends."""
    if numbers.nunique() < 3:
        return numbers.map(lambda value: f"{value:g} {unit}" if np.isfinite(value) else "unknown")
    bins = pd.qcut(numbers, 3, duplicates="drop")
    names = {part: f"{part.left:.2f} to {part.right:.2f} {unit}" for part in bins.cat.categories}
    return bins.astype(object).map(names).fillna("unknown")


def _age(years: float) -> str:
    return next((name for low, high, name in AGES if low <= years < high), "unknown")


def score_groups(
    groups: Mapping[str, pd.Series],
    values: np.ndarray,
    truth: np.ndarray,
    constants: np.ndarray,
    draws: np.ndarray,
) -> list[Group]:
    """Score every group that is large enough.

    Parameters
    ----------
    groups : mapping of str to Series of str
        As from `groupings`, in the order of the rows.
    values : ndarray of float, shape (n, 8)
        Submitted values, columns as PREDICTION_TYPES.
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    constants : ndarray, shape (8,)
        The training constants.
    draws : ndarray of float64, shape (draws, n)
        As from `intervals.draw_studies`.

    Returns
    -------
    list of Group
        In the order of `groups`, the largest group of each first.
    """
    loss, weight = (part.sum(axis=1) for part in weighted_losses(truth, values))
    baseline = weighted_losses(truth, np.tile(constants, (len(truth), 1)))[0].sum(axis=1)
    every = np.vstack([np.ones(len(truth)), draws])
    found = []
    for by, names in groups.items():
        for name, studies in names.value_counts().items():
            here = (names == name).to_numpy()
            if studies < SMALLEST or studies == len(names):
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                score = every[:, here] @ loss[here] / (every[:, here] @ weight[here])
                gain = 100 * (1 - every[:, here] @ loss[here] / (every[:, here] @ baseline[here]))
                others = 100 * (1 - every[:, ~here] @ loss[~here] / (every[:, ~here] @ baseline[~here]))
            figures = [estimate(one[0], one[1:]) for one in (score, gain, gain - others)]
            found.append(Group(by, str(name), int(studies), int(truth[here, 7].sum()), *figures))
    return found


def in_words(groups: list[Group]) -> str:
    """Say which groups differ from the rest beyond their interval.

    Parameters
    ----------
    groups : list of Group
        As from `score_groups`.

    Returns
    -------
    str
        A sentence.
    """
    differing = [
        f"{one.by} {one.name} ({one.to_the_rest.value:+.0f} points of gain)"
        for one in groups
        if one.to_the_rest.excludes(0)
    ]
    chance = f"of {len(groups)} groups about {0.05 * len(groups):.0f} would by chance alone"
    if not differing:
        return f"No group differs from the rest beyond its interval ({chance})."
    return f"Groups that differ from the rest beyond their interval ({chance}): {'; '.join(differing)}."
