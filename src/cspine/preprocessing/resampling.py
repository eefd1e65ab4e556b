"""Volumes at other spacings, and Hounsfield units as grey values."""

from dataclasses import replace

import numpy as np
from scipy import sparse

from cspine.dicom.volume import Volume

BLOCK_ROWS = 16
"""New voxels along x that are computed by one small matrix product when an array is resampled."""


def window(hu: np.ndarray, level: float, width: float) -> np.ndarray:
    """Map Hounsfield units to grey values through a fixed window.

    Parameters
    ----------
    hu : ndarray of any real dtype and shape
        Hounsfield units.
    level : float
        Centre of the window in HU.
    width : float
        Size of the window in HU.

    Returns
    -------
    ndarray of uint8, of the same shape
        0 at level - width / 2 and below, 255 at level + width / 2 and above, linear between.
    """
    grey = np.subtract(hu, level - width / 2, dtype=np.float32)
    grey *= 255.0 / width
    np.clip(grey, 0, 255, out=grey)
    return np.rint(grey, out=grey).astype(np.uint8)


def resample(volume: Volume, spacing_mm: float | tuple[float, float, float]) -> Volume:
    """Give a volume other voxels.

    The new grid shares its centre and its axes with the old one and covers it to within half a voxel. Values
    are linear between voxel centres, averaged over a new voxel where that is larger than an old one.

    Parameters
    ----------
    volume : Volume
        The scan.
    spacing_mm : float or tuple of float
        Exact new voxel size along (z, y, x), or one for all.

    Returns
    -------
    Volume
        A volume without file numbers.

    Raises
    ------
    ValueError
        If a size is not above 0.
    """
    wanted = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    if not (wanted > 0).all():
        raise ValueError(f"spacing_mm: found {spacing_mm}; expected sizes above 0")
    grids = [_grid(*axis) for axis in zip(volume.hu.shape, volume.spacing_mm, wanted, strict=True)]
    values = resample_array(volume.hu, [positions for positions, _ in grids], [ratio for _, ratio in grids])
    affine = volume.affine.copy()
    affine[:3, 3] = volume.mm_of(np.array([positions[0] for positions, _ in grids]))
    affine[:3, :3] *= wanted / np.array(volume.spacing_mm)
    np.clip(np.rint(values, out=values), -32768, 32767, out=values)
    numbers = np.full(values.shape[0], -1, np.int64)
    return replace(volume, hu=values.astype(np.int16), affine=affine, file_numbers=numbers, files=None)


def resample_array(array: np.ndarray, positions: list[np.ndarray], ratios: list[float]) -> np.ndarray:
    """Sample an array on a rectangular grid.

    Parameters
    ----------
    array : ndarray, shape (z, y, x)
        Values of any real dtype.
    positions : list of ndarray, shapes (new z,), (new y,), (new x,)
        For each axis the fractional indices of the new voxels' centres.
    ratios : list of float
        New voxel size by the old one, for each axis.

    Returns
    -------
    ndarray of float32, shape (new z, new y, new x)
        The values at the new voxels.

    Raises
    ------
    ValueError
        If a new voxel lies outside of the array.
    """
    along_z, along_y, along_x = (
        _weights(count, where, ratio)
        for count, where, ratio in zip(array.shape, positions, ratios, strict=True)
    )
    planes = np.empty((len(array), along_y.shape[0], along_x.shape[0]), np.float32)
    blocks = _blocks(along_x)
    whole = np.empty(array.shape[1:], np.float32)
    for z, plane in enumerate(array):  # one by one, since a whole scan in float32 takes 0.3-1 GB
        np.copyto(whole, plane)
        rows = along_y @ whole
        for new, old, shares in blocks:
            np.matmul(rows[:, old], shares, out=planes[z, :, new])
    return (along_z @ planes.reshape(len(array), -1)).reshape(-1, *planes.shape[1:])


def _blocks(weights: sparse.csr_array) -> list[tuple[slice, slice, np.ndarray]]:
    """Cut a banded matrix into small dense ones: (its rows, its columns, float32 (columns, rows)).

    Along x, the last axis, these products take a third of the time of the sparse one, which has to turn the
    plane first.
    """
    blocks = []
    for start in range(0, weights.shape[0], BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, weights.shape[0]))
        part = weights[rows]
        columns = slice(int(part.indices.min()), int(part.indices.max()) + 1)
        blocks.append((rows, columns, np.ascontiguousarray(part[:, columns].toarray().T)))
    return blocks


def _grid(count: int, old_mm: float, new_mm: float) -> tuple[np.ndarray, float]:
    """Centres of the new voxels as old indices, around the same middle; and the ratio of the sizes."""
    ratio = new_mm / old_mm
    size = max(round(count / ratio), 1)
    return (count - 1) / 2 + (np.arange(size) - (size - 1) / 2) * ratio, ratio


def _weights(count: int, positions: np.ndarray, ratio: float) -> sparse.csr_array:
    """Share of each old voxel (columns) in each new one (rows), float32.

    A new voxel is the mean of the linear interpolant over its own width (a point if it is smaller than an
    old voxel). So a linear ramp stays exactly what it was, and nothing between two samples is missed.
    """
    width = ratio if ratio > 1 + 1e-6 else 0.0
    reach = int(np.ceil(width / 2)) + 1
    old = np.rint(positions).astype(int)[:, None] + np.arange(-reach, reach + 1)  # (new, candidates)
    distance = positions[:, None] - old
    if width:
        share = _hat_integral(distance + width / 2) - _hat_integral(distance - width / 2)
    else:
        share = np.clip(1 - np.abs(distance), 0, None)
    share[(old < 0) | (old >= count)] = 0
    total = share.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("positions: a new voxel lies outside of the array")
    rows = np.broadcast_to(np.arange(len(positions))[:, None], old.shape)
    used = share > 0
    parts = ((share / total)[used].astype(np.float32), (rows[used], old[used]))
    return sparse.csr_array(parts, shape=(len(positions), count))


def _hat_integral(t: np.ndarray) -> np.ndarray:
    """Integral of the linear interpolation kernel 1 - |t| from the left up to t."""
    t = np.clip(t, -1, 1)
    return np.where(t < 0, (1 + t) ** 2 / 2, 1 - (1 - t) ** 2 / 2)
