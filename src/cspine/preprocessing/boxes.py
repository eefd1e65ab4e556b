"""Annotated boxes, given by file number and pixel, in the voxels of a volume; and what the annotators did.

The annotators drew boxes on key slices and interpolated between them; the ground truth is the largest sum of
their individual boxes, its envelope (Lin et al., The RSNA Cervical Spine Fracture CT Dataset, Radiology:
Artificial Intelligence 2023;5(5):e230034). train_bounding_boxes.csv is the result, one box a slice. Slices that
it leaves out between two boxes of one fracture, because a file is missing, the series was laid on an even grid, or
only key slices were drawn, get the box in between.
"""

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from cspine.competition.tables import BOX_FIELDS
from cspine.dicom.volume import Volume

LEVEL, Z, TOP, LEFT, BOTTOM, RIGHT = range(6)
"""Columns of a box: its level (1-7), its slice, and its edges along y, x, y, x."""
CORNERS = slice(TOP, RIGHT + 1)
BOX_AXES = [0, 1, 2, 1, 2]
"""The axis (z, y, x) that each column but the first is measured along."""
MAX_KEY_GAP_MM = 10.0
"""Boxes of a level further apart along z than this are two fractures. On 144 annotated studies of a replica, 21 of
the 25 boxes that are added up to 10 mm hold a piece of the true fracture, of the 5 more up to 15 mm only 2."""


def boxes_by_slice(boxes: pd.DataFrame, volume: Volume) -> pd.DataFrame:
    """Turn rows of train_bounding_boxes.csv into boxes in a volume.

    Parameters
    ----------
    boxes : DataFrame
        One study's rows with x, y, width, height (pixels of the file, (x, y) is the corner nearest to (0, 0))
        and slice_number (number in the file name).
    volume : Volume
        The study as `read_series` returned it.

    Returns
    -------
    DataFrame
        Columns z int64, x, y, width, height float64 in voxels, (x, y) again the corner nearest to (0, 0), cut
        to the image. Its `attrs["notes"]` is a list that says what was left out: numbers without a slice,
        boxes beside the image.

    Raises
    ------
    ValueError
        If the volume was resampled.
    """
    files = volume.files
    if files is None:
        raise ValueError("boxes are placed on the volume that read_series returned, not on a resampled one")
    z = boxes["slice_number"].map(files.z_of_number)
    known = z.notna().to_numpy()
    corner = boxes[["x", "y"]].to_numpy(np.float64)[known]
    size = boxes[["width", "height"]].to_numpy(np.float64)[known]
    if files.transposed:
        corner, size = corner[:, ::-1].copy(), size[:, ::-1].copy()
    shape = np.array(volume.hu.shape[:0:-1])  # (x, y)
    flipped = np.array([files.flipped_x, files.flipped_y])
    low = np.where(flipped, shape - corner - size, corner)
    high = np.clip(low + size, 0, shape)
    low = np.clip(low, 0, shape)
    visible = (high > low).all(axis=1)
    placed = pd.DataFrame(
        {
            "z": z[known].to_numpy(np.int64),
            "x": low[:, 0],
            "y": low[:, 1],
            "width": (high - low)[:, 0],
            "height": (high - low)[:, 1],
        }
    )[visible].reset_index(drop=True)
    left_out = {
        "on file numbers without a slice": int((~known).sum()),
        "beside the image": int((~visible).sum()),
    }
    placed.attrs["notes"] = [f"{count} boxes {where} left out" for where, count in left_out.items() if count]
    return placed


def place_boxes(
    boxes: list[list[float]], volume: Volume, labels: np.ndarray, affine: np.ndarray, fractured: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Place annotated boxes in a volume, each with the fractured level that it lies on, and fill gaps between them.

    Parameters
    ----------
    boxes : list of list of float
        Rows of train_bounding_boxes.csv as x, y, width, height, slice_number.
    volume : Volume
        The study as `read_series` returned it.
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.
    affine : ndarray of float64, shape (4, 4)
        From the label map's (z, y, x) index to patient mm.
    fractured : ndarray of bool, shape (7,)
        Which of C1-C7 are fractured.

    Returns
    -------
    placed : ndarray of float64, shape (n, 6)
        Rows level (1-7), z, top y, left x, bottom y, right x in voxels of the volume.
    notes : list of str
        What was left out (numbers without a slice, boxes beside the image or on no fractured level), and how many
        boxes were added between others.

    Raises
    ------
    ValueError
        If the volume was resampled.
    """
    if not boxes:
        return np.zeros((0, 6)), []
    found = boxes_by_slice(pd.DataFrame(boxes, columns=list(BOX_FIELDS)), volume)
    bottom, right = found["y"] + found["height"], found["x"] + found["width"]
    corners = np.column_stack([found["z"], found["y"], found["x"], bottom, right])
    placed = boxes_with_levels(corners, labels, np.linalg.inv(affine) @ volume.affine, fractured)
    notes = list(found.attrs["notes"])
    if len(placed) < len(corners):
        notes.append(f"{len(corners) - len(placed)} boxes on no fractured level left out")
    filled = fill_between(placed, MAX_KEY_GAP_MM / volume.spacing_mm[0])
    added = len(np.unique(filled[:, [LEVEL, Z]], axis=0)) - len(np.unique(placed[:, [LEVEL, Z]], axis=0))
    if added:
        notes.append(f"{added} boxes interpolated between annotated slices")
    return filled, notes


def boxes_with_levels(
    boxes: np.ndarray, labels: np.ndarray, scale: np.ndarray, fractured: np.ndarray
) -> np.ndarray:
    """Say for each annotated box which fractured level it lies on.

    Where only one level is fractured the box belongs to it; else a box that meets no fractured level is left
    out.

    Parameters
    ----------
    boxes : ndarray of float64, shape (n, 5)
        Rows z, top y, left x, bottom y, right x in voxels of the volume.
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.
    scale : ndarray of float64, shape (4, 4)
        From the volume's index to the label map's.
    fractured : ndarray of bool, shape (7,)
        Which of C1 to C7 are fractured.

    Returns
    -------
    ndarray of float64, shape (m, 6)
        The rows that were kept, with the level (1-7) first.
    """
    rows = []
    only = int(np.flatnonzero(fractured)[0]) + 1 if np.sum(fractured) == 1 else 0
    for z, top, left, bottom, right in np.asarray(boxes, dtype=np.float64).reshape(-1, 5):
        (z0, y0, x0), (_, y1, x1) = ((scale @ [z, y, x, 1])[:3] for y, x in ((top, left), (bottom, right)))
        plane = labels[int(np.clip(round(z0), 0, labels.shape[0] - 1))]
        (y0, x0), (y1, x1) = np.maximum((y0, x0), 0), np.maximum((y1, x1), -1)
        part = plane[int(y0) : int(np.ceil(y1)) + 1, int(x0) : int(np.ceil(x1)) + 1]
        counts = np.bincount(part.ravel(), minlength=9)[1:8] * fractured
        if only or counts.any():
            rows.append((only or counts.argmax() + 1, z, top, left, bottom, right))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def fractures_of(boxes: np.ndarray | pd.DataFrame, max_gap_vox: float) -> np.ndarray:
    """Number the fractures that boxes belong to.

    Two boxes belong to one fracture if their levels are the same, their slices at most `max_gap_vox` apart
    and their rectangles share an area, or if other boxes link them in this way. So two fractures of a level
    on one slice stay apart as long as their boxes do.

    Parameters
    ----------
    boxes : ndarray of float64, shape (n, 6), or DataFrame
        Rows level, z, top y, left x, bottom y, right x in voxels.
    max_gap_vox : float
        1 joins boxes on neighbouring slices, 0 only those on the same one.

    Returns
    -------
    ndarray of int64, shape (n,)
        The fracture of each box, counted from 0 in the order of the rows.

    Raises
    ------
    ValueError
        For rows that are no boxes.
    """
    rows = _rows(boxes)
    low, high = rows[:, None, [TOP, LEFT]], rows[:, None, [BOTTOM, RIGHT]]
    shared = np.minimum(high, high.swapaxes(0, 1)) - np.maximum(low, low.swapaxes(0, 1))
    near = np.abs(rows[:, None, Z] - rows[None, :, Z]) <= max_gap_vox + 1e-9
    same = rows[:, None, LEVEL] == rows[None, :, LEVEL]
    _, numbers = connected_components((shared > 0).all(axis=2) & near & same, directed=False)
    return numbers.astype(np.int64)


def envelope(boxes: np.ndarray | pd.DataFrame, fractures: np.ndarray | None = None) -> np.ndarray:
    """Join several annotators' boxes: for each fracture and slice the smallest box that holds all of them.

    Parameters
    ----------
    boxes : ndarray of float64, shape (n, 6), or DataFrame
        Rows as in `fractures_of`.
    fractures : ndarray of int, shape (n,), optional
        Which fracture each box belongs to; by default boxes of a level that overlap on their slice are of one
        fracture, and others stay apart.

    Returns
    -------
    ndarray of float64, shape (m, 6)
        The joined boxes by level, fracture and z.

    Raises
    ------
    ValueError
        For rows that are no boxes.
    """
    rows = _rows(boxes)
    fractures = fractures_of(rows, max_gap_vox=0) if fractures is None else np.asarray(fractures)
    order = np.lexsort([rows[:, Z], fractures, rows[:, LEVEL]])
    rows, fractures = rows[order], fractures[order]
    kind = np.column_stack([rows[:, [LEVEL, Z]], fractures])
    first = np.flatnonzero(np.r_[True, (np.diff(kind, axis=0) != 0).any(axis=1)][: len(rows)])
    joined = rows[first]
    if len(joined):
        upper, lower = [TOP, LEFT], [BOTTOM, RIGHT]
        joined[:, upper] = np.minimum.reduceat(rows[:, upper], first)
        joined[:, lower] = np.maximum.reduceat(rows[:, lower], first)
    return joined


def interpolate(keys: np.ndarray | pd.DataFrame, z: np.ndarray) -> np.ndarray:
    """Interpolate boxes of one fracture on any slices between its key slices.

    Each corner moves linearly with z; on a key slice the result is the key itself.

    Parameters
    ----------
    keys : ndarray of float64, shape (n, 6), or DataFrame
        Rows as in `fractures_of`, one level and one box a slice, in any order.
    z : ndarray of float64, shape (m,)
        Slices asked for, within those of the keys.

    Returns
    -------
    ndarray of float64, shape (m, 6)
        One box a slice, in the order of `z`.

    Raises
    ------
    ValueError
        For rows that are no boxes, for no key at all, keys of several levels or twice on a slice, and for a z
        beyond them: nobody looked there.
    """
    rows, z = _rows(keys), np.asarray(z, dtype=np.float64).reshape(-1)
    rows = rows[np.argsort(rows[:, Z])]
    if not len(rows) or len(np.unique(rows[:, LEVEL])) > 1 or (np.diff(rows[:, Z]) == 0).any():
        raise ValueError(
            "keys: expected one fracture's boxes, at least one, of one level and one on each slice"
        )
    if len(z) and (z.min() < rows[0, Z] or z.max() > rows[-1, Z]):
        raise ValueError(
            f"z: found {z.min():g} to {z.max():g}; expected within {rows[0, Z]:g} to {rows[-1, Z]:g}"
        )
    corners = [np.interp(z, rows[:, Z], corner) for corner in rows[:, CORNERS].T]
    return np.column_stack([np.full(len(z), rows[0, LEVEL]), z, *corners])


def fill_between(boxes: np.ndarray | pd.DataFrame, max_gap_vox: float) -> np.ndarray:
    """Give every fracture one box on each of its slices, also on those between its key slices.

    Several boxes of a fracture on one slice become their envelope first.

    Parameters
    ----------
    boxes : ndarray of float64, shape (n, 6), or DataFrame
        Rows as in `fractures_of`, z in whole slices.
    max_gap_vox : float
        Key slices further apart are taken for separate fractures.

    Returns
    -------
    ndarray of float64, shape (m, 6)
        The boxes by level, fracture and z.

    Raises
    ------
    ValueError
        For rows that are no boxes.
    """
    rows = _rows(boxes)
    fractures = fractures_of(rows, max_gap_vox)
    filled = [np.zeros((0, 6))]
    for level in np.unique(rows[:, LEVEL]):
        for fracture in np.unique(fractures[rows[:, LEVEL] == level]):
            keys = envelope(rows[fractures == fracture], np.zeros(np.sum(fractures == fracture), int))
            there = keys[:, Z]
            filled.append(interpolate(keys, np.arange(there[0], there[-1] + 1)))
    return np.concatenate(filled)


def _rows(boxes: np.ndarray | pd.DataFrame) -> np.ndarray:
    """A copy of the rows; ValueError if they are no boxes."""
    rows = np.array(boxes, dtype=np.float64)
    if rows.size == 0:
        return np.zeros((0, 6))
    if rows.ndim != 2 or rows.shape[1] != 6:
        raise ValueError(f"boxes: found an array of {rows.shape}; expected (n, 6): level, z and two corners")
    upright = (rows[:, BOTTOM] >= rows[:, TOP]) & (rows[:, RIGHT] >= rows[:, LEFT])
    good = np.isfinite(rows).all(axis=1) & upright
    if not good.all():
        raise ValueError(
            f"boxes: found {rows[~good][0]}; expected level, z, top y, left x, bottom y, right x"
        )
    return rows
