"""Label maps without stray voxels: of each level the largest connected piece stays."""

import numpy as np
from scipy import ndimage

from cspine.competition.labels import LEVELS

LAST_LABEL = 19
"""T12, the last label that the competition's masks use."""
BLOCK_VOX = 4
"""Side of the blocks in which pieces of a label are looked for first."""
TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels that touch by a corner are connected."""


def largest_components(labels: np.ndarray) -> np.ndarray:
    """Keep, of each of C1-C7, the largest connected piece.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        A copy in which all other pieces are 0; voxels that touch by a corner are connected, label 8 (several
        vertebrae) is left alone.
    """
    return remove_strays(labels)[0]


def remove_strays(labels: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Keep the largest pieces as `largest_components` does, and count the voxels that this took off.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.

    Returns
    -------
    cleaned : ndarray of uint8, shape (z, y, x)
        As from `largest_components`.
    removed : dict of str to int
        Level -> count of voxels, for levels that lost some.
    """
    cleaned = np.ascontiguousarray(labels).copy()
    removed = keep_largest(cleaned, len(LEVELS))
    return cleaned, {LEVELS[label - 1]: count for label, (count, _) in removed.items()}


def keep_largest(labels: np.ndarray, last: int) -> dict[int, tuple[int, int]]:
    """Set to 0, in the array itself, what lies apart from the largest piece of each label 1 ... last.

    Voxels that touch lie in blocks that touch, so pieces are looked for among blocks first and voxel by voxel
    only inside of these: a whole scan takes about a second, not ten.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map, changed in place.
    last : int
        The last label that is looked at.

    Returns
    -------
    dict of int to tuple of int
        Label -> voxels set to 0 and voxels before, for labels that lost some.
    """
    blocks, removed = _blocks(labels), {}
    for label in range(1, last + 1):
        groups, _ = ndimage.label(blocks >> label & 1, structure=TOUCHING)
        total, size, largest = 0, 0, None
        for number, bounds in enumerate(ndimage.find_objects(groups), start=1):
            part = labels[tuple(slice(axis.start * BLOCK_VOX, axis.stop * BLOCK_VOX) for axis in bounds)]
            here = groups[bounds] == number
            for axis, length in enumerate(part.shape):
                here = here.repeat(BLOCK_VOX, axis).take(range(length), axis)
            here &= part == label
            count = int(here.sum())
            total += count
            if count > size:
                pieces, _ = ndimage.label(here, structure=TOUCHING)
                sizes = np.bincount(pieces.ravel())[1:]
                if sizes.max() > size:
                    size, largest = int(sizes.max()), (part, pieces == sizes.argmax() + 1)
            part[here] = 0
        if largest is not None:
            largest[0][largest[1]] = label
        if total > size:
            removed[label] = (total - size, total)
    return removed


def _blocks(labels: np.ndarray) -> np.ndarray:
    """Which labels occur in each block: bit n is set for label n, uint32 of a `BLOCK_VOX`th of the size."""
    starts = [np.arange(0, length, BLOCK_VOX) for length in labels.shape]
    bit_of = np.left_shift(np.uint32(1), np.arange(LAST_LABEL + 1, dtype=np.uint32))
    blocks = np.empty([len(axis) for axis in starts], np.uint32)
    for row, start in enumerate(starts[0]):
        bits = np.bitwise_or.reduce(bit_of[labels[start : start + BLOCK_VOX]], axis=0)
        bits = np.bitwise_or.reduceat(bits, starts[1], axis=0)
        blocks[row] = np.bitwise_or.reduceat(bits, starts[2], axis=1)
    return blocks
