"""Cut the cached columns: every scan once more, with the label map that the locator gave it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS
from cspine.competition.tables import BOX_FIELDS, read_boxes, read_train
from cspine.dicom.reader import WITHOUT_FAST_DECODER, read_study
from cspine.dicom.volume import SCAN_COLUMNS, scan_columns
from cspine.errors import InputError
from cspine.execution.batch import Batch, StudyWork, run_batch
from cspine.execution.sources import MADE_FROM, Sources, of_folder
from cspine.execution.store import StudyStore
from cspine.preprocessing.boxes import place_boxes
from cspine.preprocessing.column import cut_column
from cspine.preprocessing.stores import open_columns, open_labels
from cspine.preprocessing.verdict import Verdict
from cspine.settings.execution import ExecutionSettings
from cspine.settings.preprocessing import ColumnSettings
from cspine.settings.presets import Preset


@dataclass(frozen=True)
class ColumnsStage:
    """What the columns are made from, and where they go."""

    raw: Path
    labels: StudyStore
    columns: StudyStore
    settings: ColumnSettings

    def absolute(self) -> "ColumnsStage":
        """Give the same stage with absolute paths, for a process with another current folder.

        Returns
        -------
        ColumnsStage
            A copy.
        """
        labels, columns = (
            StudyStore(store.folder.absolute(), store.settings) for store in (self.labels, self.columns)
        )
        return replace(self, raw=self.raw.absolute(), labels=labels, columns=columns)


def cut_columns(
    stage: ColumnsStage,
    train: pd.DataFrame,
    boxes: pd.DataFrame,
    execution: ExecutionSettings = ExecutionSettings(),  # noqa: B008 (frozen)
) -> Batch:
    """Cut the column of every study that has a label map; again where series, label map, label or boxes changed.

    Parameters
    ----------
    stage : ColumnsStage
        What the columns are made from, and where they go.
    train : DataFrame
        As from `tables.read_train`.
    boxes : DataFrame
        As from `tables.read_boxes`.
    execution : ExecutionSettings
        Where the studies are worked on.

    Returns
    -------
    Batch
        What became of the studies.

    Raises
    ------
    InputError
        If no study has a label map, or none gives a column.
    DiskFull
        If the disk is full.
    """
    fractured = train.set_index(UID_COLUMN)[list(LEVELS)].astype(bool)
    by_study = {
        uid: rows[list(BOX_FIELDS)].to_numpy(np.float64).tolist() for uid, rows in boxes.groupby(UID_COLUMN)
    }
    located = [uid for uid in fractured.index if stage.labels.has(uid)]
    if not located:
        raise InputError(
            f"{stage.labels.folder}: no label map of any study in train.csv; `make locate` makes them"
        )
    absolute = stage.absolute()
    tasks = {
        uid: (absolute, uid, tuple(fractured.loc[uid].tolist()), by_study.get(uid, [])) for uid in located
    }
    work = StudyWork(
        "columns", cut_study, WITHOUT_FAST_DECODER, SCAN_COLUMNS, scan_columns, sources_of_column
    )
    batch = run_batch(work, tasks, stage.columns, execution, (absolute.raw, absolute.labels.folder))
    if not batch.done:
        uid, reason = next(iter(batch.failed.items()))
        raise InputError(
            f"{stage.columns.folder}: none of {len(located)} studies gives a column, {uid} for one: {reason}"
        )
    return batch


def cut_cache(
    raw: Path,
    cache: Path,
    preset: Preset,
    execution: ExecutionSettings = ExecutionSettings(),  # noqa: B008 (frozen)
) -> None:
    """Cut the columns that a cache lacks, list what failed, print the figures.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache with the label maps, which gets the columns.
    preset : Preset
        The settings.
    execution : ExecutionSettings
        Where the studies are worked on.

    Raises
    ------
    InputError
        As `cut_columns`.
    """
    labels, columns = open_labels(cache, preset), open_columns(cache, preset)
    stage = ColumnsStage(raw, labels, columns, preset.column)
    batch = cut_columns(stage, read_train(raw), read_boxes(raw), execution)
    batch.print_summary(
        "columns",
        read=f"{raw} and {labels.folder}",
        wrote=columns.folder,
        counted=("slices", "slices_read"),
    )


def sources_of_column(
    stage: ColumnsStage, uid: str, fractured: tuple[bool, ...], boxes: list[list[float]]
) -> Sources:
    """List what a column is cut from.

    Parameters
    ----------
    stage : ColumnsStage
        What the columns are made from.
    uid : str
        The study.
    fractured : tuple of bool
        Which of C1-C7 are fractured.
    boxes : list of list of float
        The study's boxes, as of `cut_study`.

    Returns
    -------
    Sources
        Its series; its label map, label and boxes as values.
    """
    values = {
        "label_map": stage.labels.meta(uid).get("digest", ""),
        "fractured": list(fractured),
        "boxes": boxes,
    }
    return Sources(of_folder(stage.raw / "train_images" / uid), values=values)


def cut_study(
    stage: ColumnsStage,
    uid: str,
    fractured: tuple[bool, ...],
    boxes: list[list[float]],
    fallback: bool = False,
) -> dict[str, Any]:
    """Read one series in a worker process, cut its column and write it.

    Parameters
    ----------
    stage : ColumnsStage
        What the column is made from, and where it goes.
    uid : str
        The study.
    fractured : tuple of bool
        Which of C1-C7 are fractured.
    boxes : list of list of float
        The study's rows of train_bounding_boxes.csv as x, y, width, height, slice_number.
    fallback : bool
        Read without the fast decoder, which crashed.

    Returns
    -------
    dict
        The column's description, the store's meta.json.

    Raises
    ------
    InputError
        If the series or its label map can't be read, or C1-C7 is not found in it.
    """
    made_from = sources_of_column(stage, uid, fractured, boxes).describe()
    volume = read_study(stage.raw / "train_images" / uid, fallback)
    arrays, meta = stage.labels.read(uid)
    labels, affine = np.array(arrays["labels"]), np.array(meta["affine"])
    placed, notes = place_boxes(boxes, volume, labels, affine, np.array(fractured))
    column = cut_column(volume, labels, affine, stage.settings, placed, Verdict.load(meta["verdict"]))
    description = {
        **volume.describe(),
        **column.meta(),
        "notes": [*column.notes, *notes],
        MADE_FROM: made_from,
    }
    stage.columns.write(uid, column.arrays(), description)
    return description
