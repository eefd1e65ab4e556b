"""Noise with the grain of a filtered back-projection, and the kernel that shapes it and the edges alike.

Source: Riederer, Pelc, Chesler, Phys Med Biol 1978;23:446 (the noise power of CT rises with frequency like the
ramp filter and falls with the kernel's transfer function); Boedeker, Cooper, McNitt-Gray, Phys Med Biol
2007;52:4027 (spectra of clinical kernels).
"""

from collections.abc import Iterator

import numpy as np
from scipy import fft

from replica.scanner.sites import Kernel

FLOOR_PER_MM = 0.02  # the spectrum's rest at frequency 0: interpolation between projections fills the hole
LATERAL_POWER = 4  # how narrow the fan of directions is that counts as lateral: cos to this power


def frequencies(shape: tuple[int, int], pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies of an image's half spectrum.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the image.
    pixel_mm : float
        Size of a pixel.

    Returns
    -------
    fy : ndarray of float32, shape (y, 1)
        Cycles per millimetre.
    fx : ndarray of float32, shape (1, x // 2 + 1)
        Cycles per millimetre.
    """
    fy = fft.fftfreq(shape[0], pixel_mm).astype(np.float32)[:, None]
    fx = fft.rfftfreq(shape[1], pixel_mm).astype(np.float32)[None, :]
    return fy, fx


def transfer(kernel: Kernel, fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
    """What the kernel leaves of each frequency.

    Parameters
    ----------
    kernel : Kernel
        Of the reconstruction.
    fy : ndarray of float32, shape (y, 1)
        Cycles per millimetre along y.
    fx : ndarray of float32, shape (1, x)
        Cycles per millimetre along x.

    Returns
    -------
    ndarray of float32, shape (y, x)
        1 at frequency 0.
    """
    t = (fy**2 + fx**2) * np.float32(kernel.cutoff_per_mm**-2)
    return (1 + np.float32(kernel.boost) * t) * np.exp(-t)


def lateral_weight(fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
    """Share of each frequency's noise that rays from side to side bring in.

    A view's noise varies only across its rays, so that of lateral rays varies along y.

    Parameters
    ----------
    fy : ndarray of float32, shape (y, 1)
        Cycles per millimetre along y.
    fx : ndarray of float32, shape (1, x)
        Cycles per millimetre along x.

    Returns
    -------
    ndarray of float32, shape (y, x)
        0 to 1.
    """
    square = fy**2 + fx**2
    return np.where(square > 0, (fy**2 / np.maximum(square, 1e-12)) ** (LATERAL_POWER // 2), np.float32(0.5))


def amplitudes(shape: tuple[int, int], pixel_mm: float, kernel: Kernel) -> list[np.ndarray]:
    """Amplitude spectra of unit-variance noise from lateral and from all other rays.

    Their sum of squares has variance 1. What lies beyond a coarse pixel's Nyquist frequency is folded back.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the image.
    pixel_mm : float
        Size of a pixel.
    kernel : Kernel
        Of the reconstruction.

    Returns
    -------
    list of ndarray of float32, each of shape (y, x // 2 + 1)
        Lateral, then all others.
    """
    fy, fx = frequencies(shape, pixel_mm)
    power = [np.zeros(np.broadcast_shapes(fy.shape, fx.shape), np.float32) for _ in range(2)]
    for n in (-1, 0, 1):
        for m in (-1, 0, 1):
            gy, gx = fy + np.float32(n / pixel_mm), fx + np.float32(m / pixel_mm)
            ramp = np.sqrt(gy**2 + gx**2) + np.float32(FLOOR_PER_MM)
            whole = ramp * transfer(kernel, gy, gx) ** 2
            lateral = lateral_weight(gy, gx)
            power[0] += whole * lateral
            power[1] += whole * (1 - lateral)
    # the columns between the first and the last stand for two frequencies, +f and -f; of the others' waves
    # only the real part counts, half of their power
    twice = np.full(power[0].shape[1], 2.0, np.float32)
    twice[[0, -1] if shape[1] % 2 == 0 else 0] = 1.0
    total = float(((power[0] + power[1]) * twice).sum())
    scale = shape[0] * shape[1] / np.sqrt(total)  # irfft2 divides by the number of pixels
    return [np.sqrt(p * (2 / twice)) * np.float32(scale) for p in power]


def noise_pairs(
    shape: tuple[int, int], spectra: list[np.ndarray], keep: float, rng: np.random.Generator
) -> Iterator[list[np.ndarray]]:
    """Noise, slice after slice, without end.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of a slice.
    spectra : list of ndarray of float32, each of shape (y, x // 2 + 1)
        The two parts of `amplitudes`.
    keep : float
        Correlation of a slice's noise with its neighbour's.
    rng : numpy.random.Generator
        Of the scan.

    Yields
    ------
    list of ndarray of float32, each of shape (y, x)
        The two parts as images of one slice.
    """
    size = (2, *spectra[0].shape, 2)
    white, fresh = np.empty(size, np.float32), np.empty(size, np.float32)
    rng.standard_normal(out=white, dtype=np.float32)
    while True:
        waves = white.view(np.complex64)[..., 0] * np.float32(np.sqrt(0.5))
        yield [
            fft.irfft2(wave * spectrum, s=shape, overwrite_x=True)
            for wave, spectrum in zip(waves, spectra, strict=True)
        ]
        rng.standard_normal(out=fresh, dtype=np.float32)
        white *= np.float32(keep)
        white += np.float32(np.sqrt(1 - keep**2)) * fresh
