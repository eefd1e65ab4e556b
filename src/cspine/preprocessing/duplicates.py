"""Scans that are nearly the same: one patient under two names would be on both sides of a split."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from cspine import cli
from cspine.competition.checks import UID_COLUMN
from cspine.execution.store import SETTINGS, StudyStore

GRID = (24, 16, 16)
"""Every small volume becomes so many values (z, y, x), whatever its size."""
WINDOW_HU = (-200.0, 1000.0)
ALIKE = 0.9
"""Correlation from which two scans are called near-duplicates. Of the 41,328 pairs of a replica's 288 patients the
most alike has 0.84; copies that lack 4 mm at both ends, have their slices in the other order or another spacing
have at least 0.92, and of those with noise of 40 HU 98 % are found (`make bench-splits`). A copy that lacks 12 mm
at one end is missed."""
BLOCK = 512
"""Studies whose correlations are computed at once."""


def fingerprint(volume: np.ndarray) -> np.ndarray:
    """Reduce a scan to a few thousand numbers that survive another crop, noise, and another scale of HU.

    Parameters
    ----------
    volume : ndarray of int16, shape (z, y, x)
        Hounsfield units at any spacing.

    Returns
    -------
    ndarray of float32, shape (6144,)
        The body's box on a fixed grid, each value less the mean of its place in the box's plane, of length 1.
        A scan of one value gives zeros.
    """
    body = volume > WINDOW_HU[0]
    box = ndimage.find_objects(body.astype(np.int8))
    inside = volume[box[0]] if box else volume
    windowed = np.clip(inside.astype(np.float32), *WINDOW_HU)
    shape = windowed.shape
    smooth = ndimage.uniform_filter(
        windowed, [max(size // cells, 1) for size, cells in zip(shape, GRID, strict=True)]
    )
    factors = [cells / size for size, cells in zip(shape, GRID, strict=True)]
    small = ndimage.zoom(smooth, factors, order=1, grid_mode=True, mode="nearest")
    values = (small - small.mean(axis=0)).ravel()
    values -= values.mean()
    length = float(np.linalg.norm(values))
    return (values / length if length > 1e-6 else np.zeros_like(values)).astype(np.float32)


def find_duplicates(folder: Path | str, alike: float = ALIKE) -> pd.DataFrame:
    """Compare every pair of prepared scans.

    Parameters
    ----------
    folder : Path or str
        CACHE/volumes.
    alike : float
        Correlation from which a pair is listed.

    Returns
    -------
    DataFrame
        A row a pair: StudyInstanceUID, other, correlation; the most alike first. Empty where the folder is
        missing.
    """
    folder = Path(folder)
    columns = [UID_COLUMN, "other", "correlation"]
    if not (folder / SETTINGS).is_file():
        return pd.DataFrame(columns=columns)
    store = StudyStore.of(folder)
    uids = store.uids()
    bar = cli.progress(uids, unit="study", what="near-duplicates")
    prints = (
        np.stack([fingerprint(np.asarray(store.read(uid)[0]["volume"])) for uid in bar]) if uids else None
    )
    pairs = []
    for start in range(0, len(uids), BLOCK):
        assert prints is not None
        for other in (prints, _upside_down(prints)):
            found = prints[start : start + BLOCK] @ other.T
            for row, column in np.argwhere(found >= alike):
                one, two = start + int(row), int(column)
                if one < two:
                    pairs.append((uids[one], uids[two], float(found[row, column])))
    table = pd.DataFrame(pairs, columns=columns).sort_values("correlation", ascending=False, kind="stable")
    return table.drop_duplicates([UID_COLUMN, "other"]).reset_index(drop=True)


def _upside_down(prints: np.ndarray) -> np.ndarray:
    """Fingerprints (n, values) of the same scans with their slices in the other order."""
    return prints.reshape(len(prints), *GRID)[:, ::-1].reshape(len(prints), -1)
