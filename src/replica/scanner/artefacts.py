"""What starved, hardened and saturated rays leave in the image, and where how much noise lies.

Only the rays' errors are filtered and projected back, on coarse pixels, and added to the painted image.
Source: Barrett and Keat, Radiographics 2004;24:1679 (artefacts and their causes); Kak and Slaney (1988), ch. 4
(beam hardening: the missing attenuation grows with the square of the bone on the way; noise: a ray's variance
grows with the exponential of its attenuation).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import triple
from replica.scanner.projections import Rays, beyond_mm, humeri_mm, make_rays
from replica.scanner.protocol import Protocol

SLAB_MM = 1.25  # artefacts are worked out this far apart
FINEST, COARSEST, SHARE = 128, 32, 0.4  # coarse pixels a side, as a share of the matrix
WATER_PER_MM = 0.0195  # attenuation at the mean energy of 120 kV
METAL_HU = 2600.0  # above every tooth
BONE_FROM_HU, BONE_UPTO_HU = 150.0, 1200.0
HARDENING = 1.5e-4  # missing attenuation a square millimetre of compact bone on the way
METAL_PER_MM, METAL_SATURATION = 0.45, 2.2
STARVED_FROM, STARVED_UPTO = 4.6, 9.5  # attenuation of a ray at which the detector's own noise begins to tell
STARVED_NOISE, METAL_NOISE = 0.015, 0.05
NOISE_GROWTH = 0.7  # of a ray's variance with its attenuation; bow-tie filter and smoothing temper it
EXPOSURE = 0.75  # how far the tube's current follows the attenuation from slice to slice
CALM = 3.2  # attenuation through the middle of a neck, where the noise is what the protocol says
SHOULDER_BONE, HUMERUS_BONE = 0.07, 0.38  # compact bone in the way through a shoulder and an arm
BODY_BEHIND_MM = 6.0  # the body's middle lies behind the vertebral bodies
LATERAL_MEAN = 3 / 8  # of sin^4 over half a turn
STRONGEST_HU = 900.0


@dataclass(frozen=True)
class Artefacts:
    """Coarse images of every slab, float32 (slabs, pixels, pixels), and how they become a slice's."""

    slabs: np.ndarray  # index of the slice in each slab's middle
    error_hu: np.ndarray
    lateral: np.ndarray  # SD of the noise from lateral rays, and from the others; 1 in the middle of a neck
    other: np.ndarray
    rows: sparse.csr_array
    columns: sparse.csr_array

    def at(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors and noise of one slice.

        Parameters
        ----------
        k : int
            The slice's index from the top.

        Returns
        -------
        error : ndarray of float32, shape (y, x)
            HU.
        lateral, other : ndarray of float32, shape (y, x)
            SD of the noise from lateral rays and from the others; 1 in the middle of a neck.
        """
        after = min(int(np.searchsorted(self.slabs, k, side="right")), len(self.slabs) - 1)
        before = max(after - 1, 0)
        gap = max(int(self.slabs[after] - self.slabs[before]), 1)
        share = np.float32(np.clip((k - self.slabs[before]) / gap, 0, 1))
        coarse = (
            a[before] + (a[after] - a[before]) * share for a in (self.error_hu, self.lateral, self.other)
        )
        return triple(self._enlarge(image) for image in coarse)

    def _enlarge(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((self.columns @ (self.rows @ image).T).T)


def make_artefacts(
    hu: np.ndarray, protocol: Protocol, anatomy: Anatomy, rng: np.random.Generator
) -> Artefacts:
    """Send rays through painted tissue and project their errors and their noise back.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
        Painted tissue, HU.
    protocol : Protocol
        The study's, with the grid of `hu`.
    anatomy : Anatomy
        The patient, for what lies outside the picture.
    rng : numpy.random.Generator
        Of the scan.

    Returns
    -------
    Artefacts
        Coarse images of every slab.
    """
    grid = protocol.grid
    side = max(grid.shape[1:])
    pixels = int(np.clip(round(SHARE * side / 8) * 8, COARSEST, FINEST))
    rays = make_rays(pixels, 2 * round(0.45 * pixels))
    pixel_mm = grid.spacing_mm[1] * side / pixels
    slabs = np.unique(
        np.append(np.arange(0, len(hu), max(round(SLAB_MM / grid.spacing_mm[0]), 1)), len(hu) - 1)
    )
    tissue, bone, metal = (rays.forward(i) * np.float32(pixel_mm) for i in _coarse(hu, slabs, pixels))
    z = grid.axis(0)[slabs]
    y, x = anatomy.spine_at(z)
    middle = [grid.origin_mm[dim] + grid.spacing_mm[dim] * (grid.shape[dim] - 1) / 2 for dim in (1, 2)]
    centre = np.stack([y + BODY_BEHIND_MM - middle[0], x - middle[1]], axis=1)
    beyond = beyond_mm(rays, pixel_mm, centre, anatomy.level_at(z))
    arms = np.float32(HUMERUS_BONE) * humeri_mm(rays, pixel_mm, centre, anatomy.level_at(z))
    tissue += beyond + arms
    bone += np.float32(SHOULDER_BONE) * beyond + arms
    tissue *= np.float32(WATER_PER_MM)
    error = _errors(tissue, bone, metal, rng)
    image = rays.filtered_back(error) * np.float32(1000 / WATER_PER_MM / pixel_mm)
    image = STRONGEST_HU * np.tanh(image / STRONGEST_HU)
    lateral, other = _noise_maps(rays, tissue)
    coarse = (
        np.ascontiguousarray(a.T).reshape(-1, pixels, pixels).astype(np.float32)
        for a in (image, lateral, other)
    )
    return Artefacts(slabs, *coarse, *(_enlarger(n, side, pixels) for n in grid.shape[1:]))


def _coarse(hu: np.ndarray, slabs: np.ndarray, pixels: int) -> list[np.ndarray]:
    """Water-equivalent density, compact bone and metal on coarse pixels, float32 (pixels * pixels, slabs)."""
    rows, columns = (_shrinker(n, max(hu.shape[1:]), pixels) for n in hu.shape[1:])
    found = [np.empty((pixels * pixels, len(slabs)), np.float32) for _ in range(3)]
    for i, k in enumerate(slabs):
        image = np.clip(hu[k], -1000, METAL_HU)
        parts = (
            image * np.float32(0.001) + 1,
            np.clip(image - BONE_FROM_HU, 0, BONE_UPTO_HU) * np.float32(0.001),
            (hu[k] > METAL_HU).astype(np.float32) if hu[k].max() > METAL_HU else None,
        )
        for target, part in zip(found, parts, strict=True):
            target[:, i] = 0 if part is None else (columns @ (rows @ part).T).T.ravel()
    return found


def _errors(tissue: np.ndarray, bone: np.ndarray, metal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What each ray's attenuation is measured too large or too low, float32 (views, bins, slabs)."""
    error = _inconsistent(-np.float32(HARDENING) * bone**2, bone)
    starved = np.clip(tissue, STARVED_FROM, STARVED_UPTO) - np.float32(STARVED_FROM)
    sd = np.float32(STARVED_NOISE) * np.expm1(starved / 2)
    hit = np.flatnonzero(metal.max(axis=(0, 1)) > 0)
    if len(hit):
        way = metal[..., hit] * np.float32(METAL_PER_MM)
        seen = METAL_SATURATION * (1 - np.exp(-way / METAL_SATURATION))
        error[..., hit] += _inconsistent(seen - way, way)
        sd[..., hit] += np.float32(METAL_NOISE) * np.expm1(np.minimum(way, 4) / 2)
    error += sd * rng.standard_normal(sd.shape, dtype=np.float32)
    return error


def _inconsistent(error: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The part of an error that no other density of the same object explains: what makes streaks."""
    slope = (error * way).sum(axis=(0, 1)) / np.maximum((way * way).sum(axis=(0, 1)), 1e-6)
    return error - slope * way


def _noise_maps(rays: Rays, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SD of the noise that lateral and other rays bring to each pixel, float32 (pixels * pixels, slabs)."""
    quarter = rays.bins // 4
    thick = tissue[:, quarter:-quarter].mean(axis=(0, 1))
    variance = np.exp(
        np.float32(NOISE_GROWTH) * (tissue - CALM - np.float32(EXPOSURE) * np.maximum(thick - CALM, 0))
    )
    lateral = (np.sin(rays.angles()) ** 4)[:, None, None]
    return (
        np.sqrt(rays.back(variance * lateral) / np.float32(LATERAL_MEAN)),
        np.sqrt(rays.back(variance * (1 - lateral)) / np.float32(1 - LATERAL_MEAN)),
    )


def _shrinker(fine: int, side: int, pixels: int) -> sparse.csr_array:
    """Matrix that averages `fine` pixels to `pixels` coarse ones that cover `side`, both centred."""
    edges = np.arange(fine + 1) - fine / 2
    coarse = (np.arange(pixels + 1) - pixels / 2) * side / pixels
    overlap = np.minimum(coarse[1:, None], edges[None, 1:]) - np.maximum(coarse[:-1, None], edges[None, :-1])
    return sparse.csr_array((np.maximum(overlap, 0) * pixels / side).astype(np.float32))


def _enlarger(fine: int, side: int, pixels: int) -> sparse.csr_array:
    """Matrix that interpolates coarse pixels at the fine ones (cubic convolution, Keys 1981)."""
    at = (np.arange(fine) - (fine - 1) / 2) * pixels / side + (pixels - 1) / 2
    t = np.abs(at[:, None] - np.arange(-2, pixels + 2)[None, :])
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    inner = weights[:, 2:-2].copy()
    inner[:, 0] += weights[:, :2].sum(axis=1)  # beyond the edge the outermost pixel goes on
    inner[:, -1] += weights[:, -2:].sum(axis=1)
    return sparse.csr_array(inner.astype(np.float32))
