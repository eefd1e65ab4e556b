"""What the annotators left: boxes around fractures, one a slice, drawn by several annotators."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy.shapes import Grid
from replica.injuries.bones import Wound
from replica.study import Study

GROW_MM = 2.0  # around what is seen
EDGE_MM = 1.3  # SD of where an annotator sets a box's edge on a key slice
KEY_MM = (3.0, 9.0)  # between key slices
ANNOTATORS = (2, 5)  # of a study, from and below
CARE = (-0.42, 0.5)  # log of the share of a fracture's slices that a study's annotators box: mean, SD
FEWEST = 2
STRAY = 0.12  # how far apart two annotators' first and last slices lie, share of the fracture
DECIMALS = 5

Corners = dict[int, np.ndarray]  # slice of the grid -> y0, x0, y1, x1 in pixels


def draw_boxes(study: Study, uid: str, rng: np.random.Generator) -> list[dict]:
    """One box for every slice in which somebody saw a fracture: the envelope of all annotators' boxes.

    Every annotator draws key slices and interpolates between them, as in the dataset's paper.

    Parameters
    ----------
    study : Study
        Painted, with its fractures.
    uid : str
        Its StudyInstanceUID.
    rng : numpy.random.Generator
        Of the study's annotators.

    Returns
    -------
    list of dict
        Rows of train_bounding_boxes.csv in the order of slice_number: StudyInstanceUID; x and y (corner
        nearest the first pixel), width and height in pixels; slice_number as in the file name.

    References
    ----------
    Lin et al., "The RSNA Cervical Spine Fracture CT Dataset", Radiology: Artificial Intelligence
    2023;5(5):e230034.
    """
    grid, numbers = study.protocol.grid, study.protocol.file_numbers()
    corners: Corners = {}
    annotators, care = int(rng.integers(*ANNOTATORS)), min(float(np.exp(rng.normal(*CARE))), 1.0)
    for wound in study.wounds:
        for annotator in range(annotators):
            # somebody boxes every fracture; the others miss the faint ones now and then
            seen = annotator == 0 or rng.random() < 0.55 + 0.45 * min(wound.injury.severity, 1.0)
            for k, box in _interpolated(_key_boxes(grid, wound, care, rng) if seen else []):
                old = corners.get(k, box)
                corners[k] = np.concatenate([np.minimum(old[:2], box[:2]), np.maximum(old[2:], box[2:])])
    rows = []
    for k in sorted(corners):
        y0, x0 = np.maximum(corners[k][:2], 0.0)
        y1, x1 = np.minimum(corners[k][2:], grid.shape[1:])
        pixels = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        rounded = {name: round(float(value), DECIMALS) for name, value in pixels.items()}
        rows.append({"StudyInstanceUID": uid, **rounded, "slice_number": int(numbers[k])})
    return sorted(rows, key=lambda row: row["slice_number"])


def _key_boxes(
    grid: Grid, wound: Wound, care: float, rng: np.random.Generator
) -> list[tuple[int, np.ndarray]]:
    """One annotator's boxes on key slices: the first and last that show the fracture, and some between."""
    zs = _slices(wound, care, rng)
    step = max(1, round(rng.uniform(*KEY_MM) / grid.spacing_mm[0]))
    keys = sorted({int(zs[0]), int(zs[-1]), *(int(z) for z in zs[step // 2 :: step])})
    pixel = np.tile(grid.spacing_mm[1:], 2)
    boxes = []
    for z, after in zip(keys, [*keys[1:], keys[-1]], strict=True):
        # a box must hold until the next key slice takes over
        y, x = np.nonzero(wound.region[max(z - 1, 0) : max(after, z + 1) + 1].any(axis=0))
        corner = np.array([y.min(), x.min(), y.max() + 1, x.max() + 1], float)
        corner += [wound.part[1].start, wound.part[2].start] * 2
        slack = GROW_MM + EDGE_MM * np.abs(rng.standard_normal(4))
        boxes.append((wound.part[0].start + z, corner + slack * [-1, -1, 1, 1] / pixel))
    return boxes


def _slices(wound: Wound, care: float, rng: np.random.Generator) -> np.ndarray:
    """The slices that an annotator boxes: a window around where most of the fracture is to be seen."""
    area = wound.region.sum(axis=(1, 2))
    zs = np.flatnonzero(area)
    keep = max(FEWEST, round(care * len(zs)))
    seen = np.concatenate([[0], np.cumsum(area[zs[0] : zs[-1] + 1])])
    zs = np.arange(zs[0], zs[-1] + 1)
    keep = min(keep, len(zs))
    first = int(np.argmax(seen[keep:] - seen[:-keep])) + round(STRAY * care * len(zs) * rng.standard_normal())
    first = int(np.clip(first, 0, len(zs) - keep))
    return zs[first : first + keep]


def _interpolated(keys: list[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """A box for every slice from the first to the last key slice."""
    if keys:
        at, boxes = [k for k, _ in keys], np.array([box for _, box in keys])
        for k in range(at[0], at[-1] + 1):
            yield k, np.array([np.interp(k, at, boxes[:, i]) for i in range(4)])
