"""Scans as NIfTI files become volumes, and label maps become NIfTI files."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from cspine import storage
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.preprocessing.masks import BROKEN_FILE, MAX_VOXELS

SUFFIXES = (".nii", ".nii.gz")
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's millimetres grow to the right, front and head, DICOM's to the left, back and head."""


def is_nifti(path: Path) -> bool:
    """Tell a NIfTI file by its name.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        Whether it ends in .nii or .nii.gz.
    """
    return path.name.lower().endswith(SUFFIXES)


def read_nifti(path: Path) -> Volume:
    """Read a CT scan in Hounsfield units, turned so that z runs from head to feet.

    Parameters
    ----------
    path : Path
        A .nii or .nii.gz file.

    Returns
    -------
    Volume
        Without file numbers.

    Raises
    ------
    InputError
        For a file that is no three-dimensional NIfTI image, has no geometry, or holds no Hounsfield units.

    References
    ----------
    The NIfTI-1 header's sform and qform: nifti1.h, "3D image orientation and location in space".
    """
    try:
        image = nibabel.load(path, mmap=False)
        if not isinstance(image, nibabel.Nifti1Pair):  # the class below both versions of NIfTI
            raise ImageFileError(f"nibabel takes it for {type(image).__name__}")
        shape, affine = image.shape, np.asarray(image.affine, dtype=np.float64)
        shape = shape[:3] if len(shape) == 4 and shape[3] == 1 else shape
        if len(shape) != 3 or min(shape) < 2 or np.prod(shape, dtype=float) > MAX_VOXELS:
            raise InputError(f"{path}: found an image of shape {shape}; expected a CT with three axes")
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: found no such file; expected a NIfTI file; check the path") from error
    except (*BROKEN_FILE, ValueError, OverflowError) as error:
        raise InputError(f"{path}: found no readable NIfTI file ({error}); get it again") from error
    placed = int(image.header.get("sform_code", 0)) or int(image.header.get("qform_code", 0))
    if not placed or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise InputError(
            f"{path}: found no usable sform or qform; expected where its voxels lie; get it again"
        )
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "I")))
    values, affine = apply_orientation(values, turn), affine @ inv_ornt_aff(turn, shape)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not np.isfinite(values).all() or high - low < 200 or low > 0:
        raise InputError(
            f"{path}: found values from {low:.0f} to {high:.0f}; expected Hounsfield units, with air at -1000"
        )
    to_lps = (TO_LPS @ affine)[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    hu = np.clip(np.rint(values.transpose(2, 1, 0)), -1024, 32767).astype(np.int16)
    name = path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
    return Volume(np.ascontiguousarray(hu), to_lps, np.full(len(hu), -1, np.int64), name)


def write_label_map(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    """Write a label map as NIfTI, with the geometry that it has in the patient.

    Parameters
    ----------
    path : Path
        A file that ends in .nii.gz.
    labels : ndarray of uint8, shape (z, y, x)
        0 background, 1-7 = C1-C7, 8 = thoracic.
    affine : ndarray of float64, shape (4, 4)
        From (z, y, x) index to DICOM's patient millimetres (z, y, x).
    """
    to_ras = TO_LPS @ affine[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(np.ascontiguousarray(labels.transpose(2, 1, 0)), to_ras)
    image.set_qform(to_ras, code=1)
    image.set_sform(to_ras, code=1)
    image.header.set_xyzt_units("mm")
    storage.write_bytes(path, gzip.compress(image.to_bytes(), mtime=0))
