"""Single slices out of fold: do they find the annotated ones, and which of them decided?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.evaluation.intervals import draw_studies
from cspine.evaluation.ranking import Ranking, rank
from cspine.execution.store import StudyStore
from cspine.preprocessing.column import Column
from cspine.preprocessing.stacks import slice_targets
from cspine.settings.layout import RunLayout
from cspine.settings.preprocessing import StackSettings


def read_slice_logits(run: Path, folds: int) -> dict[str, np.ndarray]:
    """Read the held-out slice logits of a run's folds.

    Parameters
    ----------
    run : Path
        The run's folder.
    folds : int
        How many folds it has.

    Returns
    -------
    dict of str to ndarray of float32, each of shape (7, slices)
        By study; empty where the run has none.

    Raises
    ------
    InputError
        If a file does not fit the fold's studies.
    """
    layout = RunLayout(run)
    found: dict[str, np.ndarray] = {}
    for fold in range(folds):
        path = layout.slice_logits(fold)
        if not path.is_file() or not layout.logits(fold).is_file():
            continue
        studies = pd.read_csv(layout.logits(fold), dtype={UID_COLUMN: str})[UID_COLUMN].tolist()
        logits = np.load(path, allow_pickle=False)
        if logits.ndim != 3 or logits.shape[:2] != (len(studies), len(LEVELS)):
            raise InputError(
                f"{path}: found an array of shape {logits.shape}; expected ({len(studies)}, {len(LEVELS)}, slices); "
                f"delete it and run `make train FOLD={fold}`"
            )
        found |= dict(zip(studies, logits, strict=True))
    return found


@dataclass(frozen=True)
class AnnotatedSlices:
    """Slices of fractured vertebrae with boxes: inside against outside of them."""

    ranking: Ranking
    vertebrae: int
    studies: int


def rank_slices(
    logits: dict[str, np.ndarray], truth: dict[str, np.ndarray], columns: StudyStore, settings: StackSettings
) -> AnnotatedSlices | None:
    """Compare slice logits with the boxes, within fractured vertebrae that have any.

    Parameters
    ----------
    logits : dict of str to ndarray of float32, each of shape (7, slices)
        By study, out of fold.
    truth : dict of str to ndarray, each of shape (8,)
        Labels by study.
    columns : StudyStore
        The columns.
    settings : StackSettings
        How the slices were cut.

    Returns
    -------
    AnnotatedSlices or None
        None where there is nothing to compare. Studies are drawn for the interval.
    """
    values, targets, owners, vertebrae = [], [], [], 0
    studies = [uid for uid in logits if truth[uid][7] and columns.has(uid)]
    for number, uid in enumerate(studies):
        column = Column.load(*columns.read(uid))
        for level in np.flatnonzero(truth[uid][:7] > 0.5):
            shown = slice_targets(column, int(level), True, settings)
            if np.isfinite(shown).all() and 0 < shown.sum() < len(shown):
                values.append(logits[uid][level])
                targets.append(shown)
                owners.append(np.full(len(shown), number))
                vertebrae += 1
    if not values:
        return None
    owner = np.concatenate(owners)
    draws = draw_studies(len(studies))[:, owner]
    ranking = rank(np.concatenate(values), np.concatenate(targets), draws)
    return AnnotatedSlices(ranking, vertebrae, len(np.unique(owner)))
