"""Fractures as surfaces that open a gap and move a fragment."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from replica.shapes import LocalField
from replica.vertebrae import BODY_MM, CANAL_MM, SPINOUS

# kind and weight by level; C3 stands for C3-C5
KINDS = {
    "C1": {"ring_burst": 0.5, "posterior_arch": 0.3, "lateral_mass": 0.2},
    "C2": {"dens": 0.5, "hangman": 0.25, "teardrop": 0.15, "lamina": 0.1},
    "C3": {"body_line": 0.2, "compression": 0.2, "teardrop": 0.15, "facet": 0.2, "lamina": 0.15,
           "transverse": 0.1},
    "C6": {"body_line": 0.15, "compression": 0.15, "facet": 0.2, "lamina": 0.15, "transverse": 0.15,
           "spinous": 0.2},
    "C7": {"body_line": 0.1, "compression": 0.15, "facet": 0.2, "lamina": 0.1, "transverse": 0.2,
           "spinous": 0.25},
}  # fmt: skip
EVERY_KIND = tuple(sorted({kind for kinds in KINDS.values() for kind in kinds}))


@dataclass(frozen=True)
class Cut:
    """A wavy fracture surface: where, which way, how far, how wide, and where the piece went."""

    point: tuple[float, float, float]  # u, v, w mm
    normal: tuple[float, float, float]  # towards the fragment
    reach_mm: float
    gap_mm: float
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the fragment, u, v, w mm


@dataclass(frozen=True)
class Injury:
    """One level's fracture."""

    level: str
    kind: str
    severity: float
    cuts: tuple[Cut, ...]
    wedge: float = 0.0


def draw_injury(level: str, severity: float, rng: np.random.Generator, kind: str | None = None) -> Injury:
    """Choose a kind that happens at this level and shape it; severity widens, moves and extends it."""
    kinds = KINDS["C3" if level in ("C4", "C5") else level]
    if kind is None:
        kind = str(rng.choice(list(kinds), p=np.array(list(kinds.values())) / sum(kinds.values())))
    side = float(rng.choice([-1.0, 1.0]))
    gap = 0.45 + 2.8 * severity
    shift = max(0.0, severity - 0.25) * 4.5
    maker = {
        "ring_burst": _ring_burst, "posterior_arch": _posterior_arch, "lateral_mass": _lateral_mass,
        "dens": _dens, "hangman": _hangman, "teardrop": _teardrop, "lamina": _lamina, "body_line": _body_line,
        "compression": _compression, "facet": _facet, "transverse": _transverse, "spinous": _spinous,
    }[kind]  # fmt: skip
    cuts, wedge = maker(level, gap, shift, side, severity, rng)
    return Injury(level, kind, severity, tuple(cuts), wedge)


def _dims(level: str) -> tuple[float, float, float]:
    return BODY_MM.get(level, (15.5, 17.5, 17.0))


def _ring_burst(level, gap, shift, side, severity, rng):
    cuts = [
        Cut((0.5, 15.0, 16.5 * side), (0, 0.9, 0.3 * side), 9, gap, (0, 0.5 * shift, 0)),
        Cut((0.5, 16.0, -16.0 * side), (0, 0.9, -0.3 * side), 9, gap, (0, 0.3 * shift, 0)),
        Cut((0.5, -10.0, 7.0 * side), (0, 0.2, side), 8, gap, (0, 0, 0)),
    ]
    if severity > 0.5:
        cuts.append(Cut((0.5, -10.0, -7.0 * side), (0, 0.2, -side), 8, gap))
    return cuts, 0.0


def _posterior_arch(level, gap, shift, side, severity, rng):
    return [
        Cut((1.0, 12.5 + rng.normal(0, 1), 17.0 * s), (0.2, 0.95, 0), 9, gap, (-0.3 * shift, 0.5 * shift, 0))
        for s in ((-1, 1) if severity > 0.3 or side > 0 else (1,))
    ], 0.0


def _lateral_mass(level, gap, shift, side, severity, rng):
    return [Cut((0, 1.0, 18.5 * side), (0.1, 0.3, side), 14, gap, (-0.4 * shift, 0, 0.7 * shift))], 0.0


def _dens(level, gap, shift, side, severity, rng):
    height = 8.5 if rng.random() < 0.65 else 3.5  # through the base of the dens, or into the body
    lean = rng.normal(0, 0.2)
    gap *= 1.25  # it lies flat, and slices are thicker than pixels are wide
    return [
        Cut((height, 0, 0), (1.0, lean, rng.normal(0, 0.1)), 11, gap, (0.15 * shift, side * 0.9 * shift, 0))
    ], 0.0


def _hangman(level, gap, shift, side, severity, rng):
    return [
        Cut((-1.0, 10.0, 14.0 * s), (0.25, 1.0, 0.1 * s), 11, gap, (0, 0.5 * shift + 0.3, 0)) for s in (-1, 1)
    ], 0.0


def _teardrop(level, gap, shift, side, severity, rng):
    depth, _, height = _dims(level)
    point = (-0.28 * height, -0.22 * depth, 0.0)
    return [Cut(point, (-0.75, -0.8, 0.1 * side), 14, gap, (-0.5 * shift, -0.9 * shift, 0))], 0.0


def _lamina(level, gap, shift, side, severity, rng):
    depth, width, _ = _dims(level)
    v = depth / 2 + 0.75 * CANAL_MM + (3 if level == "C2" else 0)
    cut = Cut((-3, v, 0.33 * width * side), (0.1, 0.35, -side), 11, gap, (0, 0.7 * shift, 0))
    return [cut], 0.0


def _body_line(level, gap, shift, side, severity, rng):
    """Through the body from top to bottom, in the sagittal or the coronal plane, or aslant."""
    angle = rng.uniform(0, np.pi)
    normal = (rng.normal(0, 0.35), np.cos(angle), np.sin(angle))
    point = (0.0, rng.uniform(-2, 2), rng.uniform(-3, 3))
    push = 0.45 * shift
    return [Cut(point, normal, 13 + 3 * severity, gap, (0, push * normal[1], push * normal[2]))], 0.0


def _compression(level, gap, shift, side, severity, rng):
    """The front loses height and the upper plate breaks in."""
    depth, _, height = _dims(level)
    point = (0.12 * height, -0.2 * depth, 0.0)
    return [
        Cut(point, (1.0, 0.25, 0.1 * side), 9 + 3 * severity, gap, (0, -0.4 * shift, 0))
    ], 0.1 + 0.3 * severity


def _facet(level, gap, shift, side, severity, rng):
    depth, width, _ = _dims(level)
    point = (1.0, depth / 2 + 6.5, (width / 2 + 4.6) * side)
    return [
        Cut(point, (1.0, -0.35 + rng.normal(0, 0.2), 0.3 * side), 9.5, gap, (0.5 * shift, -0.5 * shift, 0))
    ], 0.0


def _transverse(level, gap, shift, side, severity, rng):
    _, width, _ = _dims(level)
    point = (-1.5, 2.5, (width / 2 + (8.5 if level == "C7" else 4.0)) * side)
    return [Cut(point, (-0.1, rng.normal(0, 0.2), side), 11, gap, (-0.6 * shift, 0, 0.4 * shift))], 0.0


def _spinous(level, gap, shift, side, severity, rng):
    depth, _, _ = _dims(level)
    length, fall, *_ = SPINOUS[level]
    along = rng.uniform(0.35, 0.6) * length
    point = (-4 - fall * along, depth / 2 + CANAL_MM + 1 + along, 0.0)
    return [Cut(point, (-0.35, 1.0, 0.1 * side), 24, gap, (-1.0 * shift, 0.2 * shift, 0))], 0.0


def break_bone(field: LocalField, cuts: tuple[Cut, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Open the cuts in a bone's distance field, in place.

    Returns, all in the field's box: the share of every voxel that lies in a gap (float32); the fracture's
    region (bool: bone in or near a gap, fragments that moved); the distance to the bone's natural surface
    (float32 mm), which a broken face is not.
    """
    u, v, w = field.coordinates(field.part)
    gap = np.zeros_like(field.d)
    natural = field.d.copy()
    region = np.zeros(field.d.shape, bool)
    for cut in cuts:
        distance, depth = _surface(cut, u, v, w, rng)
        bone = field.d < 0.6
        if np.linalg.norm(cut.shift) > 0.2:
            gap, natural, wandered = _move(field, gap, natural, (distance, depth), cut)
            bone |= field.d < 0.6
            region |= wandered
        opening = _gap_share(distance, cut, field) * np.clip(depth / 1.5, 0, 1)
        gap = np.maximum(gap, opening)
        region |= bone & (opening > 0.05)
    return gap, region, natural


def _surface(cut: Cut, u: np.ndarray, v: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> tuple:
    """Distance to a cut's wavy surface, and depth inside the cut's reach; both mm."""
    normal = np.array(cut.normal, np.float32)
    normal /= np.linalg.norm(normal)
    p = [c - np.float32(o) for c, o in zip((u, v, w), cut.point, strict=True)]
    distance = normal[0] * p[0] + normal[1] * p[1] + normal[2] * p[2]
    for length, height in ((16.0, 0.9), (6.0, 0.3)):
        k = rng.normal(0, 1, 3)
        k = (k * 2 * np.pi / length / np.linalg.norm(k)).astype(np.float32)
        distance = distance + np.float32(height) * np.sin(
            k[0] * p[0] + k[1] * p[1] + k[2] * p[2] + rng.uniform(0, 6)
        )
    return distance, np.float32(cut.reach_mm) - np.sqrt(p[0] ** 2 + p[1] ** 2 + p[2] ** 2)


def _gap_share(distance: np.ndarray, cut: Cut, field: LocalField) -> np.ndarray:
    """Share of a voxel inside the opening: a box of the gap's width averaged over the voxel."""
    normal = np.abs(np.array(cut.normal) @ field.turn / np.linalg.norm(cut.normal))
    width = np.float32(max(normal @ np.array(field.grid.spacing_mm), 0.2))
    half = np.float32(cut.gap_mm / 2)
    upper = np.minimum(distance + width / 2, half)
    lower = np.maximum(distance - width / 2, -half)
    return np.clip(upper - lower, 0, None) / width


def _move(field: LocalField, gap: np.ndarray, natural: np.ndarray, surface: tuple, cut: Cut) -> tuple:
    """Carry the fragment (beyond the surface, within reach); returns gap, natural, region."""
    world = np.array(cut.shift) @ field.turn
    steps = world / np.array(field.grid.spacing_mm) * np.array([-1, 1, 1])
    piece = np.minimum(*surface)  # > 0 inside the fragment before it moved

    def carry(values: np.ndarray) -> np.ndarray:
        return ndimage.shift(values, steps, order=1, mode="nearest")

    moved, here = carry(field.d), carry(piece)
    come = np.maximum(moved, -here)
    wandered = (come < 0.6) & (np.abs(surface[0]) < 6)
    field.d = np.minimum(np.maximum(field.d, piece), come)
    natural = np.where(here > 0, carry(natural), natural)
    gap = np.where(here > 0, carry(gap), gap * (piece < 0))
    return gap, natural, wandered
