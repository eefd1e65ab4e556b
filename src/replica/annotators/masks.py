"""Label maps on disk: vertebra masks as a network and its annotators left them, and the fractures' truth."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from replica.anatomy.shapes import triple
from replica.scanner.protocol import Protocol
from replica.study import Study

ROUGH_MM, BUMP_MM = 0.7, 2.5  # how far an edited edge strays, over which length
SPECKS = (2, 7)  # from and below
GZIP_LEVEL = 4


def write_mask(path: Path, study: Study, rng: np.random.Generator) -> None:
    """Write the vertebrae as the original does: uint16, uncompressed; edges a little off, specks far away.

    Parameters
    ----------
    path : Path
        A file that ends in .nii.
    study : Study
        Painted, with its label map.
    rng : numpy.random.Generator
        Of the study's annotators.
    """
    labels = _edited(study, rng)
    found = np.unique(labels[labels > 0])
    for _ in range(int(rng.integers(*SPECKS)) if len(found) else 0):
        z, y, x = (int(rng.integers(n - 3)) for n in labels.shape)
        high, wide, deep = rng.integers(1, 4, 3)
        speck = labels[z : z + high, y : y + wide, x : x + deep]
        speck[speck == 0] = rng.choice(found)
    path.write_bytes(_image(labels.astype(np.uint16), study.protocol).to_bytes())


def write_fractures(path: Path, study: Study) -> None:
    """Write where each fracture lies: uint8, n for the study's n-th fracture; gzip, the same bytes always.

    Parameters
    ----------
    path : Path
        A file that ends in .nii.gz.
    study : Study
        Painted, with its fractures.
    """
    labels = np.zeros(study.hu.shape, np.uint8)
    for number, wound in enumerate(study.wounds, start=1):
        view = labels[wound.part]
        view[wound.region & (view == 0)] = number
    data = _image(labels, study.protocol).to_bytes()
    path.write_bytes(gzip.compress(data, compresslevel=GZIP_LEVEL, mtime=0))


def _edited(study: Study, rng: np.random.Generator) -> np.ndarray:
    """The label map read through a small smooth displacement: nobody draws a bone's edge exactly."""
    labels, grid = study.labels, study.protocol.grid
    where = np.nonzero(labels)
    if not len(where[0]):
        return labels.copy()
    part = tuple(slice(max(int(w.min()) - 2, 0), int(w.max()) + 3) for w in where)
    view = labels[part]
    # only at an edge does it matter where a label is read
    edge = np.nonzero(ndimage.maximum_filter(view, 5) != ndimage.minimum_filter(view, 5))
    at = np.array([e * (mm / BUMP_MM) for e, mm in zip(edge, grid.spacing_mm, strict=True)], np.float32)
    index = []
    for dim in range(3):
        wave = rng.standard_normal((at.max(axis=1).astype(int) + 2).tolist(), dtype=np.float32)
        step = np.rint(ROUGH_MM / grid.spacing_mm[dim] * ndimage.map_coordinates(wave, at, order=1))
        index.append(np.clip(edge[dim] + step.astype(int), 0, view.shape[dim] - 1))
    edited = labels.copy()
    edited[part][edge] = view[tuple(index)]
    return edited


def _image(labels: np.ndarray, protocol: Protocol) -> nib.Nifti1Image:
    """A NIfTI image in sagittal storage with the true affine.

    With slices from head to feet, stored[:, ::-1, ::-1].transpose(2, 1, 0) is the (z, y, x) label map.
    """
    stored = np.ascontiguousarray(labels.transpose(2, 1, 0)[:, ::-1, ::-1])
    image = nib.Nifti1Image(stored, nifti_affine(protocol))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    return image


def nifti_affine(protocol: Protocol) -> np.ndarray:
    """From a stored voxel (i, j, k) to NIfTI's millimetres.

    DICOM's x and y point left and back, NIfTI's right and front: both change their sign.

    Parameters
    ----------
    protocol : Protocol
        The study's, with its grid and its place in the scanner.

    Returns
    -------
    ndarray of float, shape (4, 4)
        To (x, y, z) with x to the right, y to the front, z to the head.
    """
    grid = protocol.grid
    (z, y, x), last = grid.origin_mm, (np.array(grid.shape) - 1) * grid.spacing_mm
    # of the stored array: the lowest slice, its last row, its first column
    first = (z - last[0], y + last[1], x)
    origin = np.array(protocol.patient_mm(first))
    affine = np.eye(4)
    affine[:3, 3] = origin
    for column, (dim, sign) in enumerate(((2, 1), (1, -1), (0, 1))):
        step = np.array(first)
        step[dim] += sign * grid.spacing_mm[dim]
        affine[:3, column] = np.array(protocol.patient_mm(triple(step))) - origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
