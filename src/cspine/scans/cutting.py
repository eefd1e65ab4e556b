"""Cut the cached columns: every scan once more, with the label map that the locator gave it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine.competition.labels import LEVELS
from cspine.competition.tables import UID_COLUMN
from cspine.errors import InputError
from cspine.scans.batch import Batch, How, describe_scan, run_batch
from cspine.scans.boxes import boxes_by_slice
from cspine.scans.cache import StudyStore
from cspine.scans.column import ColumnSettings, boxes_with_levels, cut_column
from cspine.scans.reading import read_study
from cspine.scans.volume import Volume

BOX_COLUMNS = ["x", "y", "width", "height", "slice_number"]


@dataclass(frozen=True)
class Cut:
    """What the columns are made from, and where they go."""

    raw: Path
    labels: StudyStore
    columns: StudyStore
    settings: ColumnSettings

    def absolute(self) -> "Cut":
        """The same for a process with another current folder."""
        labels, columns = (
            StudyStore(store.folder.absolute(), store.settings) for store in (self.labels, self.columns)
        )
        return replace(self, raw=self.raw.absolute(), labels=labels, columns=columns)


def cut_columns(
    cut: Cut,
    train: pd.DataFrame,
    boxes: pd.DataFrame,
    workers: int,
    retry_failed: bool = False,
    scheduler: str = "",
) -> Batch:
    """Cut the column of every study that has a label map.

    train, boxes: as from `tables.read_train` and `tables.read_boxes`. scheduler: address of a Dask scheduler
    whose workers do it, or `local`. Raises InputError if no study has a label map, or none gives a column;
    NoRoom if the disk is full.
    """
    fractured = train.set_index(UID_COLUMN)[list(LEVELS)].astype(bool)
    by_study = {
        uid: rows[BOX_COLUMNS].to_numpy(np.float64).tolist() for uid, rows in boxes.groupby(UID_COLUMN)
    }
    located = [uid for uid in fractured.index if cut.labels.has(uid)]
    if not located:
        raise InputError(
            f"{cut.labels.folder}: no label map of any study in train.csv; `make locate` makes them"
        )
    there = cut.absolute()
    tasks = {uid: (there, uid, tuple(fractured.loc[uid].tolist()), by_study.get(uid, [])) for uid in located}
    how = How(workers, retry_failed, scheduler)
    batch = run_batch("columns", cut_study, tasks, cut.columns, how, (there.raw, there.labels.folder))
    if not batch.done:
        uid, reason = next(iter(batch.failed.items()))
        raise InputError(
            f"{cut.columns.folder}: none of {len(located)} studies gives a column, {uid} for one: {reason}"
        )
    return batch


def cut_study(
    cut: Cut, uid: str, fractured: tuple[bool, ...], boxes: list[list[float]], careful: bool = False
) -> dict[str, Any]:
    """Read one series in a worker process, cut its column and write it; returns its description.

    careful: without the fast decoder, which crashed.
    """
    volume = read_study(cut.raw / "train_images" / uid, careful)
    arrays, meta = cut.labels.read(uid)
    labels, affine = np.array(arrays["labels"]), np.array(meta["affine"])
    placed, notes = place_boxes(boxes, volume, labels, affine, np.array(fractured))
    column = cut_column(volume, labels, affine, cut.settings, placed)
    description = {**describe_scan(volume), **column.meta(), "notes": [*column.notes, *notes]}
    cut.columns.write(uid, column.arrays(), description)
    return description


def place_boxes(
    boxes: list[list[float]], volume: Volume, labels: np.ndarray, affine: np.ndarray, fractured: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Annotated boxes in a volume, each with the fractured level that it lies on.

    boxes: rows of train_bounding_boxes.csv as x, y, width, height, slice_number. labels, affine: the label
    map. fractured: bool (7,). Returns float64 (n, 6) rows level, z, top y, left x, bottom y, right x in
    voxels, and notes on boxes that were left out.
    """
    if not boxes:
        return np.zeros((0, 6)), []
    found = boxes_by_slice(pd.DataFrame(boxes, columns=BOX_COLUMNS), volume)
    bottom, right = found["y"] + found["height"], found["x"] + found["width"]
    corners = np.column_stack([found["z"], found["y"], found["x"], bottom, right])
    placed = boxes_with_levels(corners, labels, np.linalg.inv(affine) @ volume.affine, fractured)
    notes = list(found.attrs["notes"])
    if len(placed) < len(corners):
        notes.append(f"{len(corners) - len(placed)} boxes on no fractured level left out")
    return placed, notes
