"""Periodic blocks of noise in millimetres: the same bone has the same grain on any voxel grid."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from replica.anatomy import Anatomy
from replica.shapes import Box, Grid

TILE_MM, TILE = 0.45, 72
FINE_MM, COARSE_MM = 0.55, 3.2


@dataclass(frozen=True)
class Texture:
    """Grains, float32 (z, y, x)."""

    fine: np.ndarray  # trabeculae, SD 1 before a voxel averages over them
    coarse: np.ndarray  # patches, SD 1
    fibres: np.ndarray  # soft tissue, HU


def make_texture(anatomy: Anatomy, grid: Grid) -> Texture:
    """Draw one patient's blocks; the fine one loses contrast where a voxel averages over its grain."""
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 3]))
    white = rng.standard_normal((TILE, TILE, TILE), dtype=np.float32)
    sharp = ndimage.gaussian_filter(white, FINE_MM / TILE_MM, mode="wrap")
    blur = max(FINE_MM, 0.45 * grid.voxel_mm) / TILE_MM
    fine = ndimage.gaussian_filter(white, blur, mode="wrap") / sharp.std()
    coarse = ndimage.gaussian_filter(white, COARSE_MM / TILE_MM, mode="wrap")
    coarse /= coarse.std()
    return Texture(fine, coarse, 6 * coarse + 8 * fine)


def lookup(block: np.ndarray, grid: Grid, part: Box) -> np.ndarray:
    """A block's values at the voxels of a box, by their position in mm."""
    values = block
    for dim in range(3):
        index = np.round(grid.axis(dim, part[dim]) / TILE_MM).astype(int) % TILE
        values = np.take(values, index, axis=dim)
    return values
