"""Opens a fracture's cuts in a bone's distance field: gaps, moved fragments, pressed marrow, buckled cortex."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from replica.anatomy.shapes import Box, LocalField, frame_box, shared_box
from replica.injuries.fractures import Cut, Injury

WAVES = ((16.0, 0.9), (6.0, 0.45), (2.6, 0.2))  # length and height in mm of a broken surface's unevenness
BAND_MM = 2.2  # half the depth of pressed struts
FRINGE_MM = 0.6  # bone this near to the surface still belongs to the fracture
FRAGMENT_MM = 6.0  # a moved fragment is marked this far from its broken face


@dataclass
class _State:
    """A bone while it breaks, in its field's box."""

    field: LocalField
    gap: np.ndarray  # share of the voxel
    dense: np.ndarray  # share of pressed struts
    natural: np.ndarray  # distance to the surface that has a cortex, mm


def break_bone(
    field: LocalField, injury: Injury, scale: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """Open an injury's cuts in a bone's distance field, in place.

    Parameters
    ----------
    field : LocalField
        The whole bone; what is broken and moved is changed in it.
    injury : Injury
        The level's fractures, in millimetres of the plain vertebra.
    scale : float
        Size of this vertebra.
    rng : numpy.random.Generator
        Draws the unevenness of the broken faces.

    Returns
    -------
    gap : ndarray of float32, the shape of the field's box
        Share of every voxel that lies in a gap.
    dense : ndarray of float32, the same shape
        Share of pressed struts.
    regions : list of ndarray of bool, the same shape
        One for each of the injury's parts: bone in or near a gap, fragments that moved.
    natural : ndarray of float32, the same shape
        Distance in millimetres to the bone's natural surface, which a broken face is not.
    """
    state = _State(field, np.zeros_like(field.d), np.zeros_like(field.d), field.d.copy())
    regions = []
    for part in injury.parts:
        region = np.zeros(field.d.shape, bool)
        for cut in part.cuts:
            _open(state, cut, scale, region, rng)
        regions.append(region)
    return state.gap, state.dense, regions, state.natural


def _open(state: _State, cut: Cut, scale: float, region: np.ndarray, rng: np.random.Generator) -> None:
    """Open one cut within its reach, and mark it in the region."""
    field = state.field
    point = scale * np.array(cut.point)
    reach = cut.reach_mm + 3 + np.abs(cut.shift).max()
    whole = frame_box(field.grid, field.centre, field.turn, point - reach, point + reach)
    part, here = shared_box(whole, field.part)
    d, gap, natural = field.d[here], state.gap[here], state.natural[here]
    if not d.size:
        return
    distance, depth, wave = _surface(cut, point, field, part, rng)
    bone = d < FRINGE_MM
    moved = np.zeros(d.shape, bool)
    if np.linalg.norm(cut.shift) > 0.2:
        moved = _move(field, (d, gap, natural), (distance, depth), cut)
    if cut.buckle_mm:
        bulge = np.exp(-((distance / 1.6) ** 2)) * np.clip(depth / 3, 0, 1) * (np.abs(natural) < 2.5)
        d -= np.float32(cut.buckle_mm) * bulge
        natural -= np.float32(cut.buckle_mm) * bulge
    if cut.pressed:
        band = np.clip(2 - np.abs(distance + 1.2) / BAND_MM, 0, 1) * np.clip(depth / 2, 0, 1)
        dense = state.dense[here]
        np.maximum(dense, np.float32(cut.pressed) * band, out=dense)
    opening = _gap_share(distance, cut, field, wave) * np.clip(depth / 2.5, 0, 1)
    np.maximum(gap, opening, out=gap)
    region[here] |= moved | ((bone | (d < FRINGE_MM)) & (opening > 0.05))


def _surface(
    cut: Cut, point: np.ndarray, field: LocalField, part: Box, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to a cut's wavy surface, depth inside the cut's reach (mm), and a wave along it (-1..1)."""
    normal = np.array(cut.normal, np.float32)
    normal /= np.linalg.norm(normal)
    p = [c - np.float32(o) for c, o in zip(field.coordinates(part), point, strict=True)]
    distance = normal[0] * p[0] + normal[1] * p[1] + normal[2] * p[2]
    waves = []
    for length, height in WAVES:
        k = rng.normal(0, 1, 3)
        k = (k * 2 * np.pi / length / np.linalg.norm(k)).astype(np.float32)
        waves.append(np.sin(k[0] * p[0] + k[1] * p[1] + k[2] * p[2] + np.float32(rng.uniform(0, 6))))
        distance = distance + np.float32(height) * waves[-1]
    depth = np.float32(cut.reach_mm) - np.sqrt(p[0] ** 2 + p[1] ** 2 + p[2] ** 2)
    # no crack ends on a sphere
    return distance, depth + np.float32(1.3) * waves[0] + np.float32(0.7) * waves[1], waves[1]


def _gap_share(distance: np.ndarray, cut: Cut, field: LocalField, wave: np.ndarray) -> np.ndarray:
    """Share of a voxel inside the opening: a box of the gap's width averaged over the voxel."""
    normal = np.abs(np.array(cut.normal) @ field.turn / np.linalg.norm(cut.normal))
    width = np.float32(max(normal @ np.array(field.grid.spacing_mm), 0.2))
    half = np.float32(cut.gap_mm / 2) * (1 + np.float32(0.25) * wave)
    upper = np.minimum(distance + width / 2, half)
    lower = np.maximum(distance - width / 2, -half)
    return np.clip(upper - lower, 0, None) / width


def _move(
    field: LocalField,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    surface: tuple[np.ndarray, np.ndarray],
    cut: Cut,
) -> np.ndarray:
    """Carry the fragment (beyond the surface, within reach), in place; returns where it lies now."""
    d, gap, natural = arrays
    world = np.array(cut.shift) @ field.turn
    steps = world / np.array(field.grid.spacing_mm) * np.array([-1, 1, 1])
    piece = np.minimum(*surface)  # > 0 inside the fragment before it moved

    def carry(values: np.ndarray) -> np.ndarray:
        return ndimage.shift(values, steps, order=1, mode="nearest")

    moved, here = carry(d), carry(piece)
    come = np.maximum(moved, -here)
    natural[...] = np.where(here > 0, carry(natural), natural)
    gap[...] = np.where(here > 0, carry(gap), gap * (piece < 0))
    d[...] = np.minimum(np.maximum(d, piece), come)
    return (come < FRINGE_MM) & (np.abs(surface[0]) < FRAGMENT_MM)
