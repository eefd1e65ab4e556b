"""From painted tissue to stored slices: partial volume, kernel, noise, artefacts, rounding."""

from collections.abc import Iterator

import numpy as np
from scipy import fft

from replica.anatomy.build import Anatomy
from replica.scanner.artefacts import METAL_HU, make_artefacts
from replica.scanner.grain import amplitudes, frequencies, noise_pairs, transfer
from replica.scanner.protocol import Protocol

LOWEST_HU, HIGHEST_HU = -1024, 3071  # what 12 bits hold
BRIGHTEST_HU = 4000.0  # metal before the kernel: its overshoot stays within reason


def scan(
    hu: np.ndarray, protocol: Protocol, anatomy: Anatomy, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Turn painted tissue into stored slices.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
        Painted tissue, HU.
    protocol : Protocol
        The study's, with the grid of `hu`.
    anatomy : Anatomy
        The patient.
    rng : numpy.random.Generator
        Of the scan.

    Yields
    ------
    ndarray of int16 or uint16, shape (y, x)
        Stored values, slice after slice from the top; value + intercept = HU.
    """
    grid = protocol.grid
    shape, pixel_mm = grid.shape[1:], grid.spacing_mm[1]
    artefacts = make_artefacts(hu, protocol, anatomy, rng)
    sharpen = transfer(protocol.kernel, *frequencies(shape, pixel_mm))
    # overlapping slices share noise
    keep = float(np.exp(-grid.spacing_mm[0] / (0.8 * protocol.thickness_mm)))
    noise = noise_pairs(shape, amplitudes(shape, pixel_mm, protocol.kernel), keep, rng)
    for k in range(grid.shape[0]):
        thick = _average(hu, protocol, k)
        image = fft.irfft2(fft.rfft2(thick) * sharpen, s=shape, overwrite_x=True)
        error, lateral, other = artefacts.at(k)
        grains = next(noise)
        lateral *= grains[0]
        other *= grains[1]
        lateral += other
        image += np.float32(protocol.noise_hu) * lateral
        error[thick > METAL_HU] = 0
        image += error
        yield _store(image, protocol)


def _average(hu: np.ndarray, protocol: Protocol, k: int) -> np.ndarray:
    """The mean over slice k's thickness, at its place on the table, float32 HU (y, x)."""
    step = protocol.grid.spacing_mm[0]
    middle = -protocol.uneven_mm[k] / step if protocol.uneven_mm else 0.0
    half = max(protocol.thickness_mm / step, 1.0) / 2
    total, weight = np.zeros(hu.shape[1:], np.float32), 0.0
    for j in range(int(np.floor(middle - half)), int(np.ceil(middle + half)) + 1):
        share = min(middle + half, j + 0.5) - max(middle - half, j - 0.5)
        if share > 1e-6 and 0 <= k + j < len(hu):
            total += np.float32(share) * hu[k + j]
            weight += share
    return np.minimum(total / np.float32(weight), np.float32(BRIGHTEST_HU))


def _store(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Round to the stored integers: value * 1 + intercept = HU."""
    values = np.rint(np.clip(image, LOWEST_HU, HIGHEST_HU)) - protocol.intercept
    return values.astype(np.int16 if protocol.signed else np.uint16)
