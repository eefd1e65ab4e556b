"""Signed distances (mm, negative inside) of simple solids, evaluated in a box of voxels around each.

A solid lives in its bone's own frame: u up the spine, v to the back, w to the patient's left.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

OUTSIDE = np.float32(50.0)
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """A regular, axis-aligned voxel grid in (z up, y back, x left) mm; z index 0 is the top slice."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]  # (z, y, x)
    origin_mm: tuple[float, float, float]  # centre of voxel (0, 0, 0)

    def axis(self, dim: int, part: slice = slice(None)) -> np.ndarray:
        """Voxel centres along one axis, mm float32; z falls with the index."""
        sign = -1.0 if dim == 0 else 1.0
        index = np.arange(self.shape[dim], dtype=np.float64)[part]
        return (self.origin_mm[dim] + sign * self.spacing_mm[dim] * index).astype(np.float32)

    def box(self, low_mm: np.ndarray, high_mm: np.ndarray) -> Box:
        """Slices of the voxels between two corners, cut to the grid (empty slices where they miss it)."""
        parts = []
        for dim in range(3):
            if dim == 0:
                first, last = self.origin_mm[0] - high_mm[0], self.origin_mm[0] - low_mm[0]
            else:
                first, last = low_mm[dim] - self.origin_mm[dim], high_mm[dim] - self.origin_mm[dim]
            start = int(np.clip(np.floor(first / self.spacing_mm[dim]), 0, self.shape[dim]))
            stop = int(np.clip(np.ceil(last / self.spacing_mm[dim]) + 1, start, self.shape[dim]))
            parts.append(slice(start, stop))
        return tuple(parts)

    @property
    def voxel_mm(self) -> float:
        """Geometric mean of the spacings: the width over which a surface is antialiased."""
        return float(np.prod(self.spacing_mm) ** (1 / 3))


@dataclass(frozen=True)
class Solid:
    """A signed distance in a bone's frame and the box (u, v, w from and to, mm) that holds it."""

    distance: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    low: np.ndarray
    high: np.ndarray
    blend_mm: float = 1.2
    hole: bool = False


def capsule(
    a: tuple, b: tuple, r_a: float, r_b: float | None = None, tall: float = 0.0, taper: float = 0.0,
    lean: float = 0.0, **how: float,
) -> Solid:  # fmt: skip
    """A rod from a to b with radii r_a and r_b, stretched by `tall` mm up and down, less by `taper` at b.

    What is stretched falls to the back by `lean` mm a mm.
    """
    a, b = np.array(a, np.float32), np.array(b, np.float32)
    r_b = r_a if r_b is None else r_b
    axis = b - a
    length2 = np.float32(max(float(axis @ axis), 1e-6))

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        u, v, w = u - a[0], v - a[1], w - a[2]
        t = np.clip((u * axis[0] + v * axis[1] + w * axis[2]) / length2, 0, 1)
        du = u - t * axis[0]
        if tall:
            reach_u = tall * (1 - taper * t)
            along = np.clip(du, -reach_u, reach_u)
            du = du - along
            v = v + np.float32(lean) * along
        square = du**2 + (v - t * axis[1]) ** 2 + (w - t * axis[2]) ** 2
        return np.sqrt(square) - (r_a + (r_b - r_a) * t)

    reach = max(r_a, r_b) + np.array([tall, abs(lean) * tall, 0])
    return Solid(distance, np.minimum(a, b) - reach, np.maximum(a, b) + reach, **how)


def ellipsoid(centre: tuple, radii: tuple, **how: float) -> Solid:
    """An ellipsoid along the frame's axes."""
    c, r = np.array(centre, np.float32), np.array(radii, np.float32)

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        u, v, w = (u - c[0]) / r[0], (v - c[1]) / r[1], (w - c[2]) / r[2]
        k = np.sqrt(u**2 + v**2 + w**2)
        slope = np.sqrt((u / r[0]) ** 2 + (v / r[1]) ** 2 + (w / r[2]) ** 2)
        return k * (k - 1) / np.maximum(slope, 1e-3)

    return Solid(distance, c - r, c + r, **how)


def slab(
    centre: tuple, half: tuple, round_mm: float, lean: float = 0.0, tilt: float = 0.0, **how: float
) -> Solid:
    """A rounded block whose top and bottom fall by `lean` mm a mm to the back and `tilt` to the left."""
    c, h = np.array(centre, np.float32), np.array(half, np.float32)
    flatten = np.float32(1 / np.sqrt(1.0 + lean**2 + tilt**2))

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        v, w = v - c[1], w - c[2]
        fall = u - c[0] + lean * v
        if tilt:
            fall = fall + tilt * w
        du = (np.abs(fall) - h[0]) * flatten + round_mm
        dv, dw = np.abs(v) - h[1] + round_mm, np.abs(w) - h[2] + round_mm
        far = np.sqrt(np.maximum(du, 0) ** 2 + np.maximum(dv, 0) ** 2 + np.maximum(dw, 0) ** 2)
        return far + np.minimum(np.maximum(np.maximum(du, dv), dw), 0) - round_mm

    reach = h + np.array([abs(lean) * h[1] + abs(tilt) * h[2], 0, 0])
    return Solid(distance, c - reach, c + reach, **how)


def bow(
    centre: tuple, axes: tuple[float, float], v_from: float, radius: float, tall: float, side: int,
    **how: float,
) -> Solid:  # fmt: skip
    """The part of an oval hoop (half axes v and w) in front of (side -1) or behind (1) the plane v_from."""
    c, (av, aw) = np.array(centre, np.float32), axes

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        u, v, w = u - c[0], v - c[1], w - c[2]
        level = np.sqrt((v / av) ** 2 + (w / aw) ** 2)
        slope = np.sqrt((v / av**2) ** 2 + (w / aw**2) ** 2)
        off = (level - 1) * level / np.maximum(slope, 1e-3)
        du = u - np.clip(u, -tall, tall)
        return np.maximum(np.sqrt(off**2 + du**2) - radius, side * (v_from - c[1] - v))

    ends = (v_from, c[1] + side * (av + radius))
    low = np.array([c[0] - tall - radius, min(ends), c[2] - aw - radius])
    high = np.array([c[0] + tall + radius, max(ends), c[2] + aw + radius])
    return Solid(distance, low, high, **how)


def smooth_union(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """The union of two distances with a fillet of `blend_mm` (polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 * (a - b) / blend_mm, 0, 1)
    return a + (b - a) * h - blend_mm * h * (1 - h)


@dataclass
class LocalField:
    """The distance field of one bone in a box of the grid, filled solid by solid."""

    grid: Grid
    part: Box
    centre: np.ndarray  # mm (z, y, x) of the frame's origin
    turn: np.ndarray  # (3, 3): rows are the frame's u, v, w axes in (z, y, x)
    d: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.d = np.full([s.stop - s.start for s in self.part], OUTSIDE, np.float32)

    def coordinates(self, part: Box) -> list[np.ndarray]:
        """u, v, w of the voxels of `part` (slices of the grid), mm float32, each (z, y, x)."""
        offset = [self.grid.axis(dim, part[dim]) - np.float32(self.centre[dim]) for dim in range(3)]
        turn = self.turn.astype(np.float32)
        return [
            (row[0] * offset[0])[:, None, None] + (row[1] * offset[1])[None, :, None] + row[2] * offset[2]
            for row in turn
        ]

    def add(self, solid: Solid) -> None:
        """Unite the field with a solid, or cut it out where the solid is a hole."""
        part = frame_box(self.grid, self.centre, self.turn, solid.low - 2.5, solid.high + 2.5)
        part = tuple(
            slice(max(p.start, q.start), max(min(p.stop, q.stop), max(p.start, q.start)))
            for p, q in zip(part, self.part, strict=True)
        )
        if any(p.stop <= p.start for p in part):
            return
        here = tuple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(part, self.part, strict=True))
        new = solid.distance(*self.coordinates(part)).astype(np.float32)
        old = self.d[here]
        self.d[here] = (
            np.maximum(old, -new) if solid.hole else smooth_union(old, new, np.float32(solid.blend_mm))
        )


def frame_box(grid: Grid, centre: np.ndarray, turn: np.ndarray, low: np.ndarray, high: np.ndarray) -> Box:
    """Voxels that hold a box given in a bone's frame."""
    corners = np.array(
        [
            [(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]]
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ]
    )
    world = corners @ turn + centre
    return grid.box(world.min(axis=0), world.max(axis=0))


def coverage(d: np.ndarray, width_mm: float) -> np.ndarray:
    """Share of a voxel that lies inside a surface at distance d: a smoothstep over the voxel's width."""
    t = np.clip(0.5 - d * np.float32(1 / (1.3 * width_mm)), 0, 1)
    return t * t * (3 - 2 * t)
