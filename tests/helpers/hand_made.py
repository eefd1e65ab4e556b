"""Necks made by hand: seven boxes of bone one under the other, in positions that tests can work out on paper."""

from itertools import pairwise

import numpy as np

from cspine.dicom.volume import Volume
from cspine.preprocessing.column import Column, Extent
from cspine.preprocessing.resampling import resample

HEIGHT_MM, STEP_MM, HALF_MM, TOP_MM = 16.0, 18.0, 12.0, 14.0
"""A vertebra's height, the distance to the next one, half its width and depth, the top of C1."""
BONE_HU, AIR_HU = 400, -1000
ORIGIN_MM = np.array([500.0, -120.0, -90.0])


def box_mm(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Both corners (z, y, x) of a vertebra (1-7), mm from the centre of the scan's first voxel."""
    top = np.array([TOP_MM + STEP_MM * (level - 1), 45.0 + 2 * (level - 1) - HALF_MM, 40.0 - HALF_MM])
    return top, top + [HEIGHT_MM, 2 * HALF_MM, 2 * HALF_MM]


def neck(
    spacing_mm: tuple[float, float, float] = (0.8, 0.5, 0.4), label_mm: float = 2.0, cut_top_mm: float = 0.0
) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan of 160 x 100 x 80 mm, its label map, and the label map's affine.

    cut_top_mm: so much of the scan is missing at the head.
    """
    spacing = np.array(spacing_mm)
    shape = np.rint((np.array([160.0, 100.0, 80.0]) - [cut_top_mm, 0, 0]) / spacing).astype(int)
    affine = np.diag([*(spacing * [-1, 1, 1]), 1.0])
    affine[:3, 3] = ORIGIN_MM
    hu = np.full(shape, AIR_HU, np.int16)
    for level in range(1, 8):
        first, last = (
            np.rint((corner - [cut_top_mm, 0, 0]) / spacing).astype(int) for corner in box_mm(level)
        )
        first = np.maximum(first, 0)
        hu[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = BONE_HU
    volume = Volume(hu, affine, np.arange(1, shape[0] + 1), "1.2.3")
    small = resample(volume, label_mm)
    return volume, labels_at(small, cut_top_mm), small.affine


def index_of(affine: np.ndarray, mm: np.ndarray) -> np.ndarray:
    """Fractional voxel index (..., 3) of patient positions (..., 3) in mm, both (z, y, x)."""
    return (np.asarray(mm, dtype=np.float64) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def start_mm(affine: np.ndarray) -> np.ndarray:
    """Where a grid's first voxel lies, mm (z, y, x) from the centre of the scan's first voxel."""
    return (affine[:3, 3] - ORIGIN_MM) * [-1, 1, 1]


def labels_at(grid: Volume, cut_top_mm: float = 0.0) -> np.ndarray:
    """The vertebrae's label map uint8 on the voxels of `grid`."""
    labels = np.zeros(grid.hu.shape, np.uint8)
    steps = np.array(grid.spacing_mm)
    starts = start_mm(grid.affine) + [cut_top_mm, 0, 0]
    axes = [start + np.arange(n) * step for start, n, step in zip(starts, labels.shape, steps, strict=True)]
    for level in range(1, 8):
        inside = [(axis >= a) & (axis <= b) for axis, a, b in zip(axes, *box_mm(level), strict=True)]
        labels[np.ix_(*inside)] = level
    return labels


def column(
    fractured: tuple[int, ...] = (),
    seed: int = 0,
    study: str = "1.2.3",
    shape: tuple[int, int, int] = (80, 40, 40),
) -> Column:
    """A column at 1 mm with vertebrae of 8 mm in steps of 10 mm; a fracture is a dark gap through one (levels 1-7)."""
    random = np.random.default_rng(seed)
    image = random.integers(20, 60, shape, dtype=np.uint8)
    labels = np.zeros(shape, np.uint8)
    extents, boxes = [], []
    for level in range(1, 8):
        top = 5 + 10 * (level - 1)
        body = (slice(top, top + 8), slice(10, 30), slice(10, 30))
        image[body] = random.integers(170, 230, image[body].shape, dtype=np.uint8)
        labels[body] = level
        extents.append(Extent(top - 0.5, top + 7.5, 19.5, 19.5))
        if level in fractured:
            where = int(random.integers(12, 24))
            image[top + 1 : top + 7, where : where + 5, 8:32] = 0
            boxes += [(level, z, where - 1, 8, where + 6, 32) for z in range(top + 1, top + 7)]
    assert all(a.bottom_mm <= b.top_mm for a, b in pairwise(extents))
    return Column(
        study=study,
        image=image,
        labels=labels,
        spacing_mm=(1.0, 1.0, 1.0),
        label_origin_mm=(0.0, 0.0, 0.0),
        label_spacing_mm=(1.0, 1.0, 1.0),
        extents=tuple(extents),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 6),
    )
