"""How a site scans: voxel grid, sharpness, noise, streaks at the shoulders, and how it stores the result."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from replica.anatomy import C7, Anatomy
from replica.settings import ReplicaSettings
from replica.shapes import Grid

EXPLICIT_LE, IMPLICIT_LE, JPEG_LOSSLESS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"
COLUMN_MARGIN_MM = 8.0
METAL_HU = 1650.0
# site: (step, thickness, share) in mm, mean spacing mm, sharpness, noise HU, signed, intercept, syntax,
# share of series numbered from the feet
_SITES = {
    1: (((0.625, 0.625, 0.8), (0.3125, 0.625, 0.2)), 0.36, 0.9, 38, True, -1024, EXPLICIT_LE, 0.05),
    2: (((0.4, 0.5, 0.5), (0.5, 0.5, 0.5)), 0.40, 0.6, 42, True, 0, EXPLICIT_LE, 0.0),
    3: (((0.8, 1.0, 0.7), (1.0, 1.0, 0.3)), 0.43, 0.7, 30, False, -1024, IMPLICIT_LE, 0.1),
    4: (((0.625, 0.625, 1.0),), 0.39, 1.1, 46, True, -1024, EXPLICIT_LE, 0.15),
    5: (((0.4, 0.6, 0.8), (0.45, 0.6, 0.2)), 0.37, 0.8, 44, False, -1024, EXPLICIT_LE, 0.0),
    6: (((1.0, 1.0, 0.8), (2.0, 2.0, 0.2)), 0.46, 0.3, 26, False, -1024, EXPLICIT_LE, 0.4),
    7: (((0.625, 0.625, 0.7), (1.0, 1.0, 0.3)), 0.38, 1.0, 40, True, -1024, EXPLICIT_LE, 0.05),
    8: (((0.8, 1.0, 0.6), (0.5, 1.0, 0.4)), 0.44, 0.5, 28, True, 0, JPEG_LOSSLESS, 0.1),
    9: (((1.0, 1.0, 1.0),), 0.49, 0.2, 24, False, -1024, IMPLICIT_LE, 0.3),
    10: (((0.625, 0.625, 0.5), (0.9, 0.9, 0.5)), 0.35, 0.9, 36, True, -1024, JPEG_LOSSLESS, 0.1),
    11: (((0.625, 0.625, 0.8), (0.3125, 0.625, 0.2)), 0.41, 1.2, 48, True, -1024, EXPLICIT_LE, 0.1),
    12: (((0.4, 0.5, 0.3), (1.0, 1.0, 0.3), (0.625, 0.625, 0.4)), 0.42, 0.8, 40, False, -1024, JPEG_LOSSLESS,
         0.15),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """One series as scanned and stored."""

    grid: Grid
    thickness_mm: float
    sharpness: float
    noise_hu: float
    grain_mm: float
    signed: bool
    intercept: int
    syntax: str
    feet_first: bool  # file numbers rise from the feet to the head
    first_number: int
    window: tuple[tuple[int, ...], tuple[int, ...]]  # centres, widths
    offset_mm: tuple[float, float, float]  # from the grid's millimetres to the scanner's, (z, y, x)

    def file_numbers(self) -> np.ndarray:
        """Number in each slice's file name, top slice first, int (z,)."""
        numbers = np.arange(self.grid.shape[0]) + self.first_number
        return numbers[::-1] if self.feet_first else numbers

    def position_mm(self, k: int) -> tuple[float, float, float]:
        """ImagePositionPatient (x, y, z) of slice k from the top: the centre of its first pixel."""
        g, (dz, dy, dx) = self.grid, self.offset_mm
        z = g.origin_mm[0] + dz - k * g.spacing_mm[0]
        return round(g.origin_mm[2] + dx, 4), round(g.origin_mm[1] + dy, 4), round(z, 4)


def choose_protocol(
    site: int, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Draw a protocol from the site's habits and place the field of view around this patient's neck."""
    steps, spacing, sharpness, noise, signed, intercept, syntax, feet = _SITES[site]
    step, thickness, _ = steps[int(rng.choice(len(steps), p=[s[2] for s in steps]))]
    spacing = float(np.clip(rng.normal(spacing, 0.045), 0.28, 0.6))
    scale = 512 / settings.matrix
    spacing, step = round(spacing * scale, 6), round(step / settings.size, 6)
    grid = _place(anatomy, spacing, step, settings.matrix, rng)
    windows = [((400,), (2000,)), ((500,), (2500,)), ((400, 50), (2000, 400))]
    return Protocol(
        grid=grid,
        thickness_mm=round(thickness / settings.size, 6),
        sharpness=sharpness,
        noise_hu=float(np.clip(noise * np.exp(0.2 * rng.standard_normal()), 18, 85)) * settings.size**0.45,
        grain_mm=float(rng.uniform(0.38, 0.6)),
        signed=signed,
        intercept=intercept,
        syntax=syntax,
        feet_first=bool(rng.random() < feet),
        first_number=int(rng.choice([1, 2, 59], p=[0.993, 0.006, 0.001])),
        window=windows[int(rng.integers(3))],
        offset_mm=(
            round(rng.uniform(-900, 300), 2),
            round(rng.uniform(-180, -60), 2),
            round(rng.normal(0, 8), 2),
        ),
    )


def _place(anatomy: Anatomy, spacing: float, step: float, matrix: int, rng: np.random.Generator) -> Grid:
    """A grid that holds C1 to C7 in z and the column a little behind the middle of the picture."""
    top = anatomy.poses[0].centre[0] + 12 * anatomy.scale
    bottom = anatomy.poses[C7].centre[0] - 32 * anatomy.scale
    need = top - bottom + 2 * COLUMN_MARGIN_MM
    extent = max(float(np.clip(rng.normal(198, 26), 154, 248)), need)
    above = COLUMN_MARGIN_MM + (extent - need) * rng.uniform(0.25, 0.6)
    middle_y = -rng.uniform(0, 26)
    half = spacing * (matrix - 1) / 2
    origin = (round(top + above, 3), round(middle_y - half, 3), round(rng.normal(0, 5) - half, 3))
    return Grid((int(extent / step) + 1, matrix, matrix), (step, spacing, spacing), origin)


def scan(
    hu: np.ndarray, protocol: Protocol, anatomy: Anatomy, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Turn painted tissue (z, y, x) float32 HU into stored slices, int16 or uint16 (y, x), top first."""
    grid = protocol.grid
    blur_vox = max(0.45 / grid.spacing_mm[1], 0.35)
    grain_vox = max(protocol.grain_mm / grid.spacing_mm[1], 0.45)
    unit = _unit(grain_vox, grain_vox, grid.shape[1:])
    streak_vox = 9.0 / grid.spacing_mm[1]
    streak_unit = _unit(0.6, streak_vox, grid.shape[1:])
    keep = np.float32(np.exp(-grid.spacing_mm[0] / 0.6))
    fresh = np.sqrt(1 - keep**2)
    heights = anatomy.level_at(grid.axis(0))
    grain = None
    for k in range(grid.shape[0]):
        image = hu[k]
        soft = ndimage.gaussian_filter(image, blur_vox, truncate=2.5)
        image = soft + np.float32(protocol.sharpness) * (image - soft)
        new = _noise(rng, grid.shape[1:], (grain_vox, grain_vox)) / unit
        grain = new if grain is None else keep * grain + fresh * new
        shoulder = float(np.clip((heights[k] - 0.7) / 0.45, 0, 1))
        image += np.float32(protocol.noise_hu * (1 + 1.3 * shoulder)) * grain
        if anatomy.fillings and image.max() > METAL_HU:
            image += _metal(image, protocol, anatomy.fillings)
        if shoulder > 0:
            streak = _noise(rng, grid.shape[1:], (0.6, streak_vox)) / streak_unit
            image += np.float32(1.1 * shoulder * protocol.noise_hu) * streak
        yield _store(image, protocol)


def _metal(image: np.ndarray, protocol: Protocol, fillings: int) -> np.ndarray:
    """Streaks fanning out from dental fillings, HU (y, x): bright and dark rays that fade with distance."""
    y, x = np.nonzero(image > METAL_HU)
    mm = np.float32(protocol.grid.spacing_mm[1])
    streaks = np.zeros_like(image)
    for i in range(fillings):
        at = int((i + 0.5) / fillings * len(y))
        dy = (np.arange(image.shape[0], dtype=np.float32) - y[at])[:, None] * mm
        dx = (np.arange(image.shape[1], dtype=np.float32) - x[at])[None, :] * mm
        angle = np.arctan2(dy, dx)
        rays = np.sin((9 + 2 * i) * angle + i) + np.sin((23 - 3 * i) * angle)
        streaks += 260 * rays * np.exp(-np.sqrt(dy**2 + dx**2) / 28)
    return streaks * (image > -600)


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> np.ndarray:
    white = rng.standard_normal(shape, dtype=np.float32)
    return ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=2.5)


def _unit(sigma_y: float, sigma_x: float, shape: tuple[int, int]) -> np.float32:
    """Standard deviation left when white noise of 1 is smoothed."""
    dot = np.zeros(shape, np.float32)
    dot[shape[0] // 2, shape[1] // 2] = 1
    return np.float32(
        np.sqrt((ndimage.gaussian_filter(dot, (sigma_y, sigma_x), mode="wrap", truncate=2.5) ** 2).sum())
    )


def _store(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Round to the stored integers: value * 1 + intercept = HU."""
    values = np.rint(np.clip(image, -1024, 3071)) - protocol.intercept
    return values.astype(np.int16 if protocol.signed else np.uint16)
