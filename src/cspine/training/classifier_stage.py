"""What the classifier's trainings work on: a run, the columns, what the studies are called, the folds, the settings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.errors import InputError
from cspine.execution.sources import digest_of
from cspine.execution.store import StudyStore
from cspine.preprocessing.column import Column
from cspine.preprocessing.verdict import shares_in_view
from cspine.settings.presets import Preset
from cspine.training.datasets import ColumnDataset
from cspine.training.distributed import DistributedContext

LEAST_SHOWN = 0.3
"""Share of a vertebra that a scan shows, below which the level counts as whole in training."""


@dataclass(frozen=True)
class ClassifierStage:
    """What the training stage works on."""

    run: Path
    columns: StudyStore
    truth: dict[str, np.ndarray]
    """Study -> float (8,) labels, for the studies that have a column."""
    folds: dict[str, int]
    preset: Preset
    context: DistributedContext
    encoder_weights: str = ""

    def made_from(self, uids: list[str]) -> dict[str, str]:
        """Say what columns were made from.

        Parameters
        ----------
        uids : list of str
            Studies with a column.

        Returns
        -------
        dict of str to str
            Study -> a hash.
        """
        return {uid: digest_of(self.columns.meta(uid)) for uid in uids}

    def dataset(self, fold: int, held_out: bool) -> ColumnDataset:
        """Give the studies in a fold, or all others.

        Parameters
        ----------
        fold : int
            The fold.
        held_out : bool
            Whether those in it are asked for.

        Returns
        -------
        ColumnDataset
            The studies that have a column.

        Raises
        ------
        InputError
            If there is none.
        """
        chosen = {uid: labels for uid, labels in self.truth.items() if (self.folds[uid] == fold) == held_out}
        if not chosen:
            side = "in" if held_out else "outside of"
            raise InputError(
                f"classifier fold {fold}: no study {side} this fold has a column; run `make columns`"
            )
        return ColumnDataset(self.columns, chosen, self.preset)


def labels_of(train: pd.DataFrame, columns: StudyStore, folds: dict[str, int]) -> dict[str, np.ndarray]:
    """Collect what the studies of the split that have a column are to be called in training.

    These are their labels, but for a fractured level of which the scan shows less than `LEAST_SHOWN`: what is broken
    of it is most likely not in view, so it counts as whole (4th place of the competition).

    Parameters
    ----------
    train : DataFrame
        As from `tables.read_train`.
    columns : StudyStore
        The columns.
    folds : dict of str to int
        Study -> fold.

    Returns
    -------
    dict of str to ndarray
        Study -> float64 (8,) labels.

    Raises
    ------
    InputError
        If there is none.
    """
    table = train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)]
    truth = {}
    for uid in table.index:
        if uid in folds and columns.has(uid):
            column = Column.load(*columns.read(uid))
            little = shares_in_view(column.labels, column.label_spacing_mm) < LEAST_SHOWN
            truth[uid] = np.where(np.append(little, False), 0.0, table.loc[uid].to_numpy(np.float64))
    if not truth:
        raise InputError(f"{columns.folder}: no column of any study in folds.csv; `make columns` makes them")
    return truth
