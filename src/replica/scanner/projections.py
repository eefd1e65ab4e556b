"""Rays through coarse slices and back: a parallel-beam sinogram of all slices at once, by one sparse matrix.

Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), ch. 3 (filtered back-projection).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, sparse

# half width and half depth of the body where it reaches beyond the picture, by height (0 is C1, 1 is C7)
SHOULDERS_MM = np.array([[0.7, 60, 56], [1.0, 118, 64], [1.2, 172, 74], [1.5, 212, 84], [2.2, 224, 98]])
HUMERUS_MM, HUMERUS_HEIGHT = (25.0, 165.0), 1.35  # its head's radius and place beside the spine
NECK_MM = 100.0  # from C1 to C7, give or take


@dataclass(frozen=True)
class Rays:
    """The system matrix of a square of `pixels` a side seen from `views` directions over half a turn."""

    pixels: int
    views: int
    bins: int
    matrix: sparse.csr_array  # (views * bins, pixels * pixels) float32, lengths in pixels

    def angles(self) -> np.ndarray:
        """Direction of each view's detector, radians, float32 (views,); near 0 rays run along y."""
        return view_angles(self.views).astype(np.float32)

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Sum slices along the rays.

        Parameters
        ----------
        image : ndarray of float32, shape (pixels * pixels, slices)
            The slices.

        Returns
        -------
        ndarray of float32, shape (views, bins, slices)
            Their sinogram.
        """
        return (self.matrix @ image).reshape(self.views, self.bins, -1)

    def back(self, sinogram: np.ndarray) -> np.ndarray:
        """The mean over the views of what lies on each pixel's rays.

        Parameters
        ----------
        sinogram : ndarray of float, shape (views, bins, slices)
            A value a ray.

        Returns
        -------
        ndarray of float32, shape (pixels * pixels, slices)
            A value a pixel.
        """
        flat = np.ascontiguousarray(sinogram, np.float32).reshape(self.views * self.bins, -1)
        return (self.matrix.T @ flat) * np.float32(1 / self.views)

    def filtered_back(self, sinogram: np.ndarray) -> np.ndarray:
        """Reconstruct slices from their sinogram.

        Parameters
        ----------
        sinogram : ndarray of float32, shape (views, bins, slices)
            Sums along the rays.

        Returns
        -------
        ndarray of float32, shape (pixels * pixels, slices)
            In the sinogram's units a pixel.
        """
        length = fft.next_fast_len(2 * self.bins, real=True)
        f = fft.rfftfreq(length).astype(np.float32)
        ramp = (f * np.cos(np.pi * f))[None, :, None]  # the cosine spares the coarse pixels their ringing
        wave = fft.rfft(sinogram, n=length, axis=1)
        return np.float32(np.pi) * self.back(fft.irfft(wave * ramp, n=length, axis=1)[:, : self.bins])


def view_angles(views: int) -> np.ndarray:
    """Directions over half a turn; with an even number none runs along an axis.

    Parameters
    ----------
    views : int
        How many.

    Returns
    -------
    ndarray of float64, shape (views,)
        Radians.
    """
    return (np.arange(views) + 0.5) * np.pi / views


@lru_cache(maxsize=2)
def make_rays(pixels: int, views: int) -> Rays:
    """Build the matrix: every pixel falls on the two nearest rays of each view, by its distance to them.

    Parameters
    ----------
    pixels : int
        A side of the square.
    views : int
        Directions over half a turn.

    Returns
    -------
    Rays
        With as many bins as the diagonal needs.
    """
    bins = int(np.ceil(pixels * np.sqrt(2))) + 3
    at = np.arange(pixels) - (pixels - 1) / 2
    y, x = (a.ravel() for a in np.meshgrid(at, at, indexing="ij"))
    angles = view_angles(views)[:, None]
    u = x * np.cos(angles) + y * np.sin(angles) + (bins - 1) / 2
    low = np.floor(u).astype(np.int32)
    share = (u - low).astype(np.float32)
    rows = np.arange(views, dtype=np.int32)[:, None] * bins + low
    pixel = np.broadcast_to(np.arange(pixels**2, dtype=np.int32), rows.shape)
    matrix = sparse.csr_array(
        (
            np.concatenate([1 - share, share], axis=None),
            (np.concatenate([rows, rows + 1], axis=None), np.concatenate([pixel, pixel], axis=None)),
        ),
        shape=(views * bins, pixels**2),
        dtype=np.float32,
    )
    return Rays(pixels, views, bins, matrix)


def beyond_mm(rays: Rays, pixel_mm: float, centre_mm: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Length of each ray within the shoulders but outside the picture.

    Parameters
    ----------
    rays : Rays
        Through the picture.
    pixel_mm : float
        Size of a coarse pixel.
    centre_mm : ndarray of float, shape (slices, 2)
        y and x of the body's middle from the picture's.
    heights : ndarray of float, shape (slices,)
        Share of the neck, 0 at C1, 1 at C7.

    Returns
    -------
    ndarray of float32, shape (views, bins, slices)
        Millimetres.
    """
    angles = rays.angles()[:, None, None]
    c, s = np.cos(angles), np.sin(angles)
    half = np.float32(rays.pixels * pixel_mm / 2)
    u = ((np.arange(rays.bins) - (rays.bins - 1) / 2) * pixel_mm).astype(np.float32)[None, :, None]
    # the ray is u * (c, s) + t * (-s, c) in (x, y): where does it enter and leave the square?
    a, b = sorted_pair((u * c - half) / s, (u * c + half) / s)
    d, e = sorted_pair((-half - u * s) / c, (half - u * s) / c)
    enter, leave = np.maximum(a, d), np.minimum(b, e)
    wide, deep = (
        np.interp(heights, SHOULDERS_MM[:, 0], SHOULDERS_MM[:, i]).astype(np.float32) for i in (1, 2)
    )
    y, x = centre_mm.T.astype(np.float32)
    # and where the ellipse, a quadratic in t
    px, py = (u * c - x) / wide, (u * s - y) / deep
    qx, qy = -s / wide, c / deep
    q = qx * qx + qy * qy
    mid = -(px * qx + py * qy) / q
    root = np.sqrt(np.maximum(mid * mid - (px * px + py * py - 1) / q, 0))
    shared = np.minimum(mid + root, leave) - np.maximum(mid - root, enter)
    return 2 * root - np.clip(shared, 0, 2 * root)


def humeri_mm(rays: Rays, pixel_mm: float, centre_mm: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Length of each ray within the heads of both upper arms.

    Parameters
    ----------
    rays : Rays
        Through the picture.
    pixel_mm : float
        Size of a coarse pixel.
    centre_mm : ndarray of float, shape (slices, 2)
        y and x of the body's middle from the picture's.
    heights : ndarray of float, shape (slices,)
        Share of the neck, 0 at C1, 1 at C7.

    Returns
    -------
    ndarray of float32, shape (views, bins, slices)
        Millimetres.
    """
    angles = rays.angles()[:, None, None]
    u = ((np.arange(rays.bins) - (rays.bins - 1) / 2) * pixel_mm).astype(np.float32)[None, :, None]
    square = HUMERUS_MM[0] ** 2 - ((heights - HUMERUS_HEIGHT) * NECK_MM) ** 2
    y, x = centre_mm.T.astype(np.float32)
    total = np.zeros((rays.views, rays.bins, len(heights)), np.float32)
    hit = np.flatnonzero(square > 0)
    for side in (-1, 1):
        off = u - ((x[hit] + side * HUMERUS_MM[1]) * np.cos(angles) + y[hit] * np.sin(angles))
        total[..., hit] += 2 * np.sqrt(np.maximum(square[hit].astype(np.float32) - off**2, 0))
    return total


def sorted_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smaller and the larger of two arrays, element by element.

    Parameters
    ----------
    a, b : ndarray, any shape, the same for both
        The arrays.

    Returns
    -------
    smaller, larger : ndarray, shape as `a`
        The sorted elements.
    """
    return np.minimum(a, b), np.maximum(a, b)
