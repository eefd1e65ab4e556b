"""What the annotators left: one box a slice around fractures, and vertebra masks with a few stray voxels."""

from pathlib import Path

import nibabel as nib
import numpy as np

from replica.scanner import Protocol
from replica.study import Study

GROW_MM = (1.2, 2.5, 2.5)


def draw_boxes(study: Study, uid: str, rng: np.random.Generator) -> list[dict]:
    """One box for every slice that cuts a fracture: the envelope of all annotators' boxes.

    Returns rows of train_bounding_boxes.csv: x, y (corner nearest the first pixel), width, height in pixels,
    slice_number as in the file name.
    """
    grid, numbers = study.protocol.grid, study.protocol.file_numbers()
    slack = rng.uniform(0, 2.0, 4)  # an annotator's hand is generous, evenly over the slices
    corners: dict[int, np.ndarray] = {}
    for wound in study.wounds:
        for k, corner in _envelopes(study, wound).items():
            old = corners.get(k, corner)
            corners[k] = np.concatenate([np.minimum(old[:2], corner[:2]), np.maximum(old[2:], corner[2:])])
    rows = []
    for k in sorted(corners):
        y0, x0, y1, x1 = corners[k] + np.array([-1, -1, 1, 1]) * slack / grid.spacing_mm[1]
        y0, x0 = max(y0, 0.0), max(x0, 0.0)
        y1, x1 = min(y1, float(grid.shape[1])), min(x1, float(grid.shape[2]))
        box = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        rows.append(
            {"StudyInstanceUID": uid, **{k: round(float(v), 5) for k, v in box.items()},
             "slice_number": int(numbers[k])}
        )  # fmt: skip
    return sorted(rows, key=lambda row: row["slice_number"])


def _envelopes(study: Study, wound) -> dict[int, np.ndarray]:
    """Corners (y0, x0, y1, x1) in pixels of one fracture in every slice it touches, slightly grown."""
    grid = study.protocol.grid
    grow = [mm / step for mm, step in zip(GROW_MM, grid.spacing_mm, strict=True)]
    zs = np.flatnonzero(wound.region.any(axis=(1, 2)))
    found = {}
    for z in range(int(zs[0]), int(zs[-1]) + 1):  # annotators interpolate between key slices
        near = wound.region[max(z - 1, 0) : z + 2].any(axis=0)
        if not near.any():
            near = wound.region.any(axis=0)
        y, x = np.nonzero(near)
        y, x = y + wound.part[1].start, x + wound.part[2].start
        k = wound.part[0].start + z
        found[k] = np.array(
            [y.min() - grow[1], x.min() - grow[2], y.max() + 1 + grow[1], x.max() + 1 + grow[2]]
        )
    return found


def write_mask(path: Path, study: Study, rng: np.random.Generator) -> None:
    """Write the label map as the original does: uint16, uncompressed, sagittal storage, true affine.

    With slices from head to feet, stored[:, ::-1, ::-1].transpose(2, 1, 0) is the (z, y, x) label map.
    """
    labels = study.labels.copy()
    found = np.unique(labels[labels > 0])
    for _ in range(int(rng.integers(2, 7)) if len(found) else 0):
        z, y, x = (int(rng.integers(n - 2)) for n in labels.shape)
        speck = labels[z : z + 2, y : y + 2, x : x + 2]
        speck[speck == 0] = rng.choice(found)
    stored = np.ascontiguousarray(labels.transpose(2, 1, 0)[:, ::-1, ::-1]).astype(np.uint16)
    image = nib.Nifti1Image(stored, nifti_affine(study.protocol))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    nib.save(image, path)


def nifti_affine(protocol: Protocol) -> np.ndarray:
    """Stored voxel (i, j, k) to NIfTI's millimetres (right to left, back to front, feet to head), 4 x 4.

    DICOM's x and y point left and back, NIfTI's right and front: both change their sign.
    """
    shape, (dz, dy, dx) = protocol.grid.shape, protocol.grid.spacing_mm
    x, y, _ = protocol.position_mm(0)
    z_last = protocol.position_mm(shape[0] - 1)[2]
    affine = np.diag([-dx, dy, dz, 1.0])
    affine[:3, 3] = [-x, -(y + dy * (shape[1] - 1)), z_last]
    return affine
