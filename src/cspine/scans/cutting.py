"""Cut the cached columns: every scan once more, with the label map that the locator gave it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine.competition.labels import LEVELS
from cspine.competition.tables import UID_COLUMN
from cspine.errors import InputError
from cspine.scans.batch import Batch, describe_scan, run_batch
from cspine.scans.boxes import boxes_by_slice
from cspine.scans.cache import StudyStore
from cspine.scans.column import ColumnSettings, boxes_with_levels, cut_column
from cspine.scans.dicom import read_series
from cspine.scans.volume import Volume

BOX_COLUMNS = ["x", "y", "width", "height", "slice_number"]


@dataclass(frozen=True)
class Cut:
    """What the columns are made from, and where they go."""

    raw: Path
    labels: StudyStore
    columns: StudyStore
    settings: ColumnSettings


def cut_columns(
    cut: Cut, train: pd.DataFrame, boxes: pd.DataFrame, workers: int, retry_failed: bool = False
) -> Batch:
    """Cut the column of every study that has a label map.

    train, boxes: as from `tables.read_train` and `tables.read_boxes`. Raises InputError if no study has a
    label map, or none gives a column.
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
    tasks = {uid: (cut, uid, tuple(fractured.loc[uid]), by_study.get(uid, [])) for uid in located}
    batch = run_batch("columns", cut_study, tasks, cut.columns, workers, retry_failed)
    if not batch.done:
        uid, reason = next(iter(batch.failed.items()))
        raise InputError(
            f"{cut.columns.folder}: none of {len(located)} studies gives a column, {uid} for one: {reason}"
        )
    return batch


def cut_study(cut: Cut, uid: str, fractured: tuple[bool, ...], boxes: list[list[float]]) -> dict[str, Any]:
    """Read one series in a worker process, cut its column and write it; returns its description."""
    volume = read_series(cut.raw / "train_images" / uid)
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
