"""Segmentation masks (NIfTI) on a volume's own voxels: cleaned, measured, and doubted where they look wrong."""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayLike
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from cspine.competition.labels import LEVELS
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.preprocessing.components import LAST_LABEL, keep_largest

THORACIC = len(LEVELS) + 1
"""The label of everything below C7."""
NAMES = (*LEVELS, *(f"T{number}" for number in range(1, LAST_LABEL - len(LEVELS) + 1)))
"""Of the labels 1 to 19 in a mask's file."""
MAX_VOXELS = 1 << 30
"""The longest series of the competition has 284 million."""
MAX_SHEAR_VOX = 0.25
"""Below this error over the whole volume, a mask's axes count as the volume's axes."""
HEIGHTS_MM = dict(zip(LEVELS, (25.8, 44.7, 26.7, 27.5, 28.4, 29.5, 33.1), strict=True))
"""Mean height of each level along z in the competition's masks once stray voxels are removed."""
ODD_HEIGHT = 2.0
"""A level this many times higher, or lower, than the mean is doubted."""
LARGE_SHARE = 0.02
"""A removed piece may be a broken-off one, rather than stray voxels, from this share of its level on."""
NEAR_WHOLE = 0.01
"""How far a label may lie from a whole number, as they do where a scl_slope stores them."""
BROKEN_FILE = (ImageFileError, nibabel.spatialimages.HeaderDataError, OSError, EOFError, zlib.error)
"""What reading a damaged file raises, beside ValueError and OverflowError."""


@dataclass(frozen=True)
class Mask:
    """A mask on a volume's voxels.

    labels: uint8 (z, y, x): 0 background, 1-7 = C1-C7, 8 = thoracic. removed: level -> voxels of the file that
    lay apart from the level's largest piece and were taken off; only levels that lost some. coverage: what
    `level_coverage` says of the labels. notes: what was removed and what looks wrong, one sentence each.
    """

    labels: np.ndarray
    removed: dict[str, int]
    coverage: dict[str, Any]
    notes: tuple[str, ...]


def read_mask(path: Path | str, volume: Volume) -> Mask:
    """Read a mask, take its stray voxels off on its own grid, lay it over a volume, and measure it.

    The largest piece is found on the file's voxels, where the thin arch of C1 still hangs together; a coarse
    volume may hit or miss it. It is laid over the volume by the affine that its file carries: the nearest
    voxel of the mask, 0 outside of it.

    Parameters
    ----------
    path : Path or str
        A NIfTI file.
    volume : Volume
        The scan that it belongs to, at any spacing.

    Returns
    -------
    Mask
        Labels on the volume's voxels, and what was removed, measured and doubted.

    Raises
    ------
    InputError
        For a file that is no NIfTI label image, has no geometry or does not meet the volume.

    References
    ----------
    The NIfTI-1 header's sform and qform: nifti1.h, "3D image orientation and location in space".
    """
    data, to_lps = _load(Path(path))
    # Stored with the first axis running fastest, so the view with turned axes is the quick one.
    lost = {NAMES[label - 1]: counts for label, counts in keep_largest(data.T, LAST_LABEL).items()}
    labels = _laid_over(data, to_lps, volume, Path(path))
    coverage = level_coverage(labels, volume)
    removed = {name: count for name, (count, _) in lost.items()}
    return Mask(labels, removed, coverage, (*_removal_notes(lost), *doubts(coverage)))


def level_coverage(labels: np.ndarray, volume: Volume | tuple[float, float, float]) -> dict[str, Any]:
    """Say of each level how much of it a label map holds; ready for JSON.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 1-7 = C1-C7, 8 = thoracic.
    volume : Volume or tuple of float
        The volume that they lie on, or its voxel size (z, y, x) in mm.

    Returns
    -------
    dict
        `levels`: name (C1 to C7, T for all thoracic ones) -> `height_mm` along z, first to last slice
        inclusive, `middle_mm`, z of the centre of mass from the volume's upper face, `voxels`, and `cut_off`,
        whether the level touches a face of the volume; and `missing`: those of C1-C7 without a voxel.
    """
    step_mm = float((volume.spacing_mm if isinstance(volume, Volume) else volume)[0])
    ends = np.array(labels.shape)
    levels = {}
    for label, bounds in enumerate(ndimage.find_objects(labels, max_label=THORACIC), start=1):
        if bounds is None:
            continue
        low, high = np.array([part.start for part in bounds]), np.array([part.stop for part in bounds])
        a_slice = (labels[bounds] == label).sum(axis=(1, 2))
        middle = low[0] + 0.5 + (np.arange(len(a_slice)) * a_slice).sum() / a_slice.sum()
        levels["T" if label == THORACIC else LEVELS[label - 1]] = {
            "height_mm": round(float(high[0] - low[0]) * step_mm, 2),
            "middle_mm": round(float(middle) * step_mm, 2),
            "voxels": int(a_slice.sum()),
            "cut_off": bool((low == 0).any() or (high == ends).any()),
        }
    return {"levels": levels, "missing": [name for name in LEVELS if name not in levels]}


def doubts(coverage: dict[str, Any]) -> list[str]:
    """Say what looks wrong in a label map.

    Doubted are levels that do not follow each other from head to feet, that are missing between others, or
    whose height is far from the usual (a level that is cut off may be low).

    Parameters
    ----------
    coverage : dict
        From `level_coverage`.

    Returns
    -------
    list of str
        One sentence each; none for a mask as masks are.
    """
    levels = coverage["levels"]
    there = [name for name in LEVELS if name in levels]
    notes = []
    for upper, lower in zip(there, there[1:], strict=False):
        if levels[lower]["middle_mm"] <= levels[upper]["middle_mm"]:
            notes.append(f"mask: {lower} does not lie below {upper}")
    between = [name for name in coverage["missing"] if there and there[0] < name < there[-1]]
    if between:
        notes.append(f"mask: {', '.join(between)} missing between {there[0]} and {there[-1]}")
    for name in there:
        height, usual = levels[name]["height_mm"], HEIGHTS_MM[name]
        low = height < usual / ODD_HEIGHT and not levels[name]["cut_off"]
        if low or height > usual * ODD_HEIGHT:
            notes.append(f"mask: {name} is {height:.0f} mm high, usual are {usual:.0f} mm")
    return notes


def _removal_notes(lost: dict[str, tuple[int, int]]) -> list[str]:
    if not lost:
        return []
    counts = ", ".join(f"{name} {count}" for name, (count, _) in lost.items())
    notes = [f"mask: {sum(count for count, _ in lost.values())} stray voxels removed ({counts})"]
    large = [f"{count / of:.0%} of {name}" for name, (count, of) in lost.items() if count > LARGE_SHARE * of]
    return notes + ([f"mask: removed {', '.join(large)}, perhaps broken-off pieces"] if large else [])


def _laid_over(data: np.ndarray, to_lps: np.ndarray, volume: Volume, path: Path) -> np.ndarray:
    """Labels of a file, 0 ... 19, on a volume's voxels, 0 ... 8."""
    # NIfTI's millimetres grow to the right, front and head, DICOM's to the left, back and head.
    to_mask = np.linalg.inv(to_lps[[2, 1, 0, 3]]) @ volume.affine
    labels = _sample_nearest(data, to_mask, volume.hu.shape)
    if not labels.any():
        raise InputError(
            f"{path}: found no label inside study {volume.study} ({volume!r}); expected the mask of that "
            "study; check that the file belongs to it"
        )
    return np.minimum(labels, THORACIC, out=labels)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels, uint8 (i, j, k), and float64 (4, 4) from (i, j, k, 1) to DICOM's (x, y, z, 1) in mm."""
    try:
        image = nibabel.load(path, mmap=False, keep_file_open=True)
        if not isinstance(image, nibabel.Nifti1Pair):  # the class below both versions of NIfTI
            raise ImageFileError(f"nibabel takes it for {type(image).__name__}")
        shape, affine = image.shape, np.asarray(image.affine, dtype=np.float64)
        _check_shape(path, shape, image.get_data_dtype())
        labels = _as_labels(image.dataobj, path)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: found no such file; expected a mask; check the path") from error
    except (*BROKEN_FILE, ValueError, OverflowError) as error:
        raise InputError(f"{path}: found no readable NIfTI file ({error}); get it again") from error
    header = image.header
    placed = int(header.get("sform_code", 0)) or int(header.get("qform_code", 0))
    if not placed or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise InputError(
            f"{path}: found no usable sform or qform; expected where its voxels lie; get it again"
        )
    return labels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _check_shape(path: Path, shape: tuple[int, ...], kind: np.dtype) -> None:
    """Refuse what is no label image, before any of it is read: a damaged header may ask for terabytes."""
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise InputError(
            f"{path}: found an image of shape {shape}; expected three axes, at most {MAX_VOXELS} voxels; get it again"
        )
    if kind.kind not in "iuf":
        raise InputError(f"{path}: found values of type {kind}; expected whole numbers; get it again")


def _as_labels(stored: ArrayLike, path: Path) -> np.ndarray:
    """Whole numbers from 0 to 19 as uint8, or InputError.

    Read plane by plane: as stored, the mask of 1,082 slices would take half a gigabyte beside its volume.
    """
    labels = np.empty(stored.shape, np.uint8, order="F")
    found = False
    for k in range(stored.shape[2]):
        plane = np.asarray(stored[..., k])
        low, high = plane.min(), plane.max()
        if plane.dtype.kind == "f":
            nearest = np.rint(plane)
            whole = bool((np.abs(plane - nearest) <= NEAR_WHOLE).all())
            plane, low, high = nearest, nearest.min(), nearest.max()
        else:
            whole = True
        if not (low >= 0 and high <= LAST_LABEL and whole):
            raise InputError(
                f"{path}: found values from {low} to {high}; expected whole numbers from 0 to {LAST_LABEL}; "
                "get it again"
            )
        found |= bool(high > 0)
        labels[..., k] = plane
    if not found:
        raise InputError(
            f"{path}: found no label above 0; expected C1-C7 as 1-7; remove the file or get it again"
        )
    return labels


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
        index = np.rint(middle[axis] + steps * linear[axis, grid_axis])
        index = np.nan_to_num(np.clip(index, -1, data.shape[axis]), nan=-1).astype(int)
        inside.append((index >= 0) & (index < data.shape[axis]))
        lookups.append(np.clip(index, 0, data.shape[axis] - 1))
    labels = data.transpose(axes)[np.ix_(*lookups)]
    for axis, good in enumerate(inside):
        labels[(slice(None),) * axis + (~good,)] = 0
    return labels
