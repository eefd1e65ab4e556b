"""Segmentation masks (NIfTI) on a volume's own voxels."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.scans.volume import Volume

THORACIC = len(LEVELS) + 1
"""The label of everything below C7."""
LAST_LABEL = 19
"""T12, the last label that the competition's masks use."""
MAX_SHEAR_VOX = 0.25
"""Below this error over the whole volume, a mask's axes count as the volume's axes."""


def read_mask(path: Path | str, volume: Volume) -> np.ndarray:
    """Read a mask and lay it over a volume by the affine that its file carries.

    Returns uint8 (z, y, x) of the volume's shape: 0 background, 1-7 = C1-C7, 8 = thoracic; the nearest voxel
    of the mask, 0 outside of it. Raises InputError for a file that is no NIfTI label image, has no geometry
    or does not meet the volume.
    """
    path = Path(path)
    data, to_lps = _load(path)
    if not (data > 0).any():
        raise InputError(
            f"{path}: found no label above 0; expected C1-C7 as 1-7; remove the file or get it again"
        )
    # NIfTI's millimetres grow to the right, front and head, DICOM's to the left, back and head.
    to_mask = np.linalg.inv(to_lps[[2, 1, 0, 3]]) @ volume.affine
    labels = _sample_nearest(np.minimum(data, THORACIC).astype(np.uint8), to_mask, volume.hu.shape)
    if not labels.any():
        raise InputError(
            f"{path}: found no label inside study {volume.study} ({volume!r}); expected the mask of that "
            "study; check that the file belongs to it"
        )
    return labels


def largest_components(labels: np.ndarray) -> np.ndarray:
    """Keep, of each of C1-C7, the largest connected piece.

    labels: uint8 (z, y, x). Returns a copy in which all other pieces are 0; voxels that touch by a corner
    are connected, label 8 (several vertebrae) is left alone.
    """
    cleaned = labels.copy()
    touching = np.ones((3, 3, 3), bool)
    for number, place in enumerate(ndimage.find_objects(labels, max_label=len(LEVELS)), start=1):
        if place is None:
            continue
        pieces, count = ndimage.label(labels[place] == number, structure=touching)
        if count > 1:
            largest = np.bincount(pieces.ravel())[1:].argmax() + 1
            cleaned[place][(pieces > 0) & (pieces != largest)] = 0
    return cleaned


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels as stored, (i, j, k), and float64 (4, 4) from (i, j, k, 1) to DICOM's (x, y, z, 1) in mm."""
    try:
        image = nibabel.load(path)
        data = np.asarray(image.dataobj)
        affine = np.asarray(image.affine, dtype=np.float64)
    except FileNotFoundError as error:
        raise InputError(f"{path}: found no such file; expected a mask; check the path") from error
    except (ImageFileError, nibabel.spatialimages.HeaderDataError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: found no readable NIfTI file ({error}); get it again") from error
    if data.ndim != 3:
        raise InputError(f"{path}: found an image of shape {data.shape}; expected three axes; get it again")
    header = image.header
    placed = int(header.get("sform_code", 0)) or int(header.get("qform_code", 0))
    if not placed or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise InputError(
            f"{path}: found no usable sform or qform; expected where its voxels lie; get it again"
        )
    low, high = data.min(), data.max()
    if not (low >= 0 and high <= LAST_LABEL and (data == np.rint(data)).all()):
        raise InputError(
            f"{path}: found values from {low} to {high}; expected whole numbers from 0 to {LAST_LABEL}; "
            "get it again"
        )
    return data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _sample_nearest(data: np.ndarray, to_mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Look up data at the voxels of another grid; to_mask: float64 (4, 4), that grid's index -> data's."""
    linear = to_mask[:3, :3]
    axes = np.abs(linear * np.array(shape)).argmax(axis=0)  # the axis of data along which each grid axis runs
    rest = np.abs(linear * np.array(shape))
    rest[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or rest.sum(axis=1).max() > MAX_SHEAR_VOX:
        return ndimage.affine_transform(data, linear, to_mask[:3, 3], shape, order=0, mode="grid-constant")
    # Axis by axis: some hundred times faster than asking for every voxel.
    middle = to_mask[:3, 3] + linear @ ((np.array(shape) - 1) / 2)
    lookups, inside = [], []
    for grid_axis, axis in enumerate(axes):
        steps = np.arange(shape[grid_axis]) - (shape[grid_axis] - 1) / 2
        index = np.rint(middle[axis] + steps * linear[axis, grid_axis]).astype(int)
        inside.append((index >= 0) & (index < data.shape[axis]))
        lookups.append(np.clip(index, 0, data.shape[axis] - 1))
    labels = data.transpose(axes)[np.ix_(*lookups)]
    for axis, good in enumerate(inside):
        labels[(slice(None),) * axis + (~good,)] = 0
    return labels
