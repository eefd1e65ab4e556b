"""Periodic blocks of noise in millimetres: the same bone has the same grain on any voxel grid."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import Box, Grid

TILE_MM, TILE = 0.3, 108
ROUGH = 3  # the coarse block is drawn on every third knot
FINE_MM, COARSE_MM = 0.36, 3.2
STRAND = 2.2  # trabeculae run up and down


@dataclass(frozen=True)
class Texture:
    """Grains, float32 (z, y, x)."""

    fine: np.ndarray  # trabeculae, SD 1 before a voxel averages over them
    coarse: np.ndarray  # patches, SD 1
    fibres: np.ndarray  # soft tissue, HU


def make_texture(anatomy: Anatomy, grid: Grid) -> Texture:
    """Draw one patient's blocks; the fine one loses contrast where a voxel averages over its grain.

    Parameters
    ----------
    anatomy : Anatomy
        The patient, whose seed fixes the blocks.
    grid : Grid
        The scan's voxels.

    Returns
    -------
    Texture
        Blocks of TILE voxels of TILE_MM a side.
    """
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 3]))
    white = rng.standard_normal((TILE, TILE, TILE), dtype=np.float32)
    unit = np.array([STRAND, 1.0, 1.0]) * FINE_MM / TILE_MM
    blur = np.maximum(unit, 0.45 * np.array(grid.spacing_mm) / TILE_MM)
    fine = ndimage.gaussian_filter(white, blur, mode="wrap", truncate=2.5)
    fine *= np.float32(np.sqrt(np.prod(2 * np.sqrt(np.pi) * unit)))  # SD 1 before the voxel's blur
    # marrow's holes are wider than the struts between them are
    fine += np.float32(0.3) * (fine**2 - (fine**2).mean())
    knots = rng.standard_normal((TILE // ROUGH,) * 3, dtype=np.float32)
    knots = ndimage.gaussian_filter(knots, COARSE_MM / (TILE_MM * ROUGH), mode="wrap")
    coarse = knots / knots.std()
    for dim in range(3):
        coarse = _between(coarse, dim)
    return Texture(fine, coarse, 6 * coarse + 8 * fine)


def _between(knots: np.ndarray, dim: int) -> np.ndarray:
    """Interpolate ROUGH - 1 values between a periodic block's knots along one axis."""
    after = np.roll(knots, -1, axis=dim)
    parts = [knots + np.float32(i / ROUGH) * (after - knots) for i in range(ROUGH)]
    shape = list(knots.shape)
    shape[dim] *= ROUGH
    return np.stack(parts, axis=dim + 1).reshape(shape)


def lookup(block: np.ndarray, grid: Grid, part: Box, stretch: float = 1.0) -> np.ndarray:
    """A block's values at the voxels of a box, by their position in millimetres.

    Parameters
    ----------
    block : ndarray, shape (TILE, TILE, TILE)
        A periodic block.
    grid : Grid
        The scan's voxels.
    part : tuple of slice
        The box, as slices of the grid.
    stretch : float
        By how much the grain is coarsened.

    Returns
    -------
    ndarray, shape (z, y, x) of the box
        The block's values.
    """
    values = block
    for dim in range(3):
        values = np.take(values, _index(grid, part, dim, stretch), axis=dim)
    return values


def lookup_at(
    block: np.ndarray, grid: Grid, part: Box, where: tuple[np.ndarray, ...], stretch: float = 1.0
) -> np.ndarray:
    """A block's values at some voxels of a box alone.

    Parameters
    ----------
    block : ndarray, shape (TILE, TILE, TILE)
        A periodic block.
    grid : Grid
        The scan's voxels.
    part : tuple of slice
        The box, as slices of the grid.
    where : tuple of ndarray of int, each of shape (n,)
        z, y, x of the voxels within the box, as np.nonzero gives them.
    stretch : float
        By how much the grain is coarsened.

    Returns
    -------
    ndarray, shape (n,)
        The block's values.

    See Also
    --------
    lookup : All voxels of a box.
    """
    return block[tuple(_index(grid, part, dim, stretch)[where[dim]] for dim in range(3))]


def _index(grid: Grid, part: Box, dim: int, stretch: float) -> np.ndarray:
    return np.round(grid.axis(dim, part[dim]) / (TILE_MM * stretch)).astype(int) % TILE
