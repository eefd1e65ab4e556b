"""The bones around the neck's upper end and the couch: skull, jaw, teeth, hyoid, clavicles."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy import Anatomy
from replica.tissue import Frame, Shape

BRAIN_HU, TOOTH_HU, DIPLOE_HU = 34.0, 1900.0, 420.0
BONE = (320.0, 1150.0, 1.3)  # inside HU, cortex HU, cortex mm


def _oval(f: Frame, centre: tuple, radii: tuple) -> np.ndarray:
    """Distance to an ellipsoid; centre in mm (z, back, left)."""
    z, v, w = (
        (at - np.float32(c)) / np.float32(r) for at, c, r in zip((f.z, f.v, f.w), centre, radii, strict=True)
    )
    return (np.sqrt(z**2 + v**2 + w**2) - 1) * np.float32(min(radii))


def head_shapes(f: Frame, anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Shape]:
    """Bones from the skull's base down to the clavicles, in painting order; heights count from C1."""
    z0, k = float(anatomy.poses[0].centre[0]), anatomy.scale
    jaw, teeth = z0 + rng.uniform(-7, 5), rng.random() > 0.3 * anatomy.wear
    wide = np.float32(k * rng.uniform(0.92, 1.06))
    yield from _vault(f, z0, k)
    yield f.between(z0 + 14, z0 + 52), lambda g: _clivus(g, z0), *BONE
    for side in (-1, 1):
        condyle, mastoid = (z0 + 13.5 * k, 2, side * 18 * k), (z0 + 24, 4, side * 54 * k)
        yield f.between(z0, z0 + 28), lambda g, c=condyle: _oval(g, c, (6.5, 11, 6.5)), *BONE
        yield f.between(z0, z0 + 48), lambda g, c=mastoid: _oval(g, c, (18, 13, 10)), 60.0, 900.0, 1.4
        yield f.between(z0 - 34, z0 + 34), lambda g, s=side: _ramus(g, z0, k, s), *BONE
        yield f.between(z0 - 175 * k, z0 - 110 * k), lambda g, s=side: _clavicle(g, z0, k, s), *BONE
    yield f.between(jaw - 50, jaw), lambda g: _jaw(g, jaw, wide), *BONE
    if teeth:
        yield f.between(jaw - 16, jaw + 12), lambda g: _teeth(g, jaw, wide), TOOTH_HU, None, 0
    yield f.between(jaw + 2, jaw + 26), lambda g: _palate(g, jaw, wide), *BONE
    yield f.between(z0 - 70 * k, z0 - 46 * k), lambda g: _hyoid(g, z0, k), *BONE


def _vault(f: Frame, z0: float, k: float) -> Iterator[Shape]:
    """Brain and the shell around it, with the foramen magnum."""

    def outer(g: Frame) -> np.ndarray:
        return _oval(g, (z0 + 72 * k, 14, 0), (60 * k, 88 * k, 70 * k))

    def shell(g: Frame) -> np.ndarray:
        vault = outer(g)
        tunnel = np.sqrt((g.v - 14) ** 2 + g.w**2) - 16 * k
        return np.maximum(
            np.maximum(vault, -(vault + 5.0 * k)), np.where(g.z < z0 + 40, -tunnel, np.float32(-9))
        )

    window = f.between(z0, z0 + 400)
    yield window, lambda g: outer(g) + 5.0 * k, BRAIN_HU, None, 0
    yield window, shell, DIPLOE_HU, 1250.0, 1.6


def _clivus(f: Frame, z0: float) -> np.ndarray:
    slope = (f.v + 5) + 0.75 * (f.z - z0 - 17)
    return np.maximum(np.abs(slope * 0.8) - 4.5, np.maximum(np.abs(f.w) - 12, np.abs(f.z - z0 - 33) - 17))


def _ramus(f: Frame, z0: float, k: float, side: int) -> np.ndarray:
    """The upright part of the jaw."""
    flat = np.maximum(np.abs(f.v + 38 + 0.12 * (f.z - z0)) - 15, np.abs(f.z - z0 - 2) - 28)
    return np.maximum(flat, np.abs(f.w - side * 46 * k) - 4.0)


def _clavicle(f: Frame, z0: float, k: float, side: int) -> np.ndarray:
    out = np.abs(f.w)
    rod = np.sqrt((f.z - z0 + 150 * k - 0.12 * out) ** 2 + (f.v + 42 - 0.15 * out) ** 2) - 5.5
    return np.maximum(rod, 14 - side * f.w)


def _horseshoe(f: Frame, wide: float) -> np.ndarray:
    return np.abs(np.sqrt((f.w / (0.86 * wide)) ** 2 + np.minimum(f.v + 42, 0) ** 2 * 0.8) - 47) - 5.0


def _jaw(f: Frame, z0: float, wide: float) -> np.ndarray:
    front = f.v + 40
    return np.maximum(np.maximum(_horseshoe(f, wide), front), np.abs(f.z - z0 + 26 + 0.1 * front) - 13)


def _palate(f: Frame, z0: float, wide: float) -> np.ndarray:
    return np.maximum(np.maximum(_horseshoe(f, wide) + 0.5, f.v + 40), np.abs(f.z - z0 - 14) - 7)


def _teeth(f: Frame, z0: float, wide: float) -> np.ndarray:
    row = np.maximum(np.maximum(_horseshoe(f, wide) + 1.2, f.v + 46), np.abs(f.z - z0 + 2) - 9)
    angle = np.arctan2(f.w, -(f.v + 42)) * 9
    return np.maximum(row, np.where(np.abs(np.sin(angle)) < 0.25, np.float32(1), np.float32(-1)))


def _hyoid(f: Frame, z0: float, k: float) -> np.ndarray:
    bow = np.abs(np.sqrt(f.w**2 + (np.minimum(f.v + 36, 0) * 1.1) ** 2) - 17) - 2.0
    return np.maximum(np.maximum(bow, f.v + 32), np.abs(f.z - z0 + 58 * k) - 3.5)


def table_shapes(f: Frame, anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Shape]:
    """The curved couch behind the patient: two thin shells with foam between."""
    y, x = f.grid.axis(1)[None, :, None], f.grid.axis(2)[None, None, :]
    top = np.float32(anatomy.girth * 86 + anatomy.fat_mm / 2 + rng.uniform(2, 12))

    def sheet(depth: float, half: float, bend: float):
        return lambda g: np.broadcast_to(
            np.abs(y - top - depth + np.float32(bend) * x**2) - half, g.grid.shape
        )

    yield f, sheet(0, 1.2, 0.0009), 150.0, None, 0
    yield f, sheet(14, 6.0, 0.0006), -900.0, None, 0
    yield f, sheet(22, 1.5, 0.0009), 250.0, None, 0
