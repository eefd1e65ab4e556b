"""Signed distances (mm, negative inside) of simple solids, evaluated in a box of voxels around each.

A solid lives in its bone's own frame: u up the spine, v to the back, w to the patient's left.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

OUTSIDE = np.float32(50.0)
Box = tuple[slice, slice, slice]
Triple = tuple[float, float, float]
Vector = Sequence[float] | np.ndarray  # three numbers
Scalar = float | np.floating
T = TypeVar("T")


def triple(values: Iterable[T]) -> tuple[T, T, T]:
    """Three values as a tuple of three.

    Parameters
    ----------
    values : iterable
        Exactly three.

    Returns
    -------
    tuple
        The same values.
    """
    first, second, third = values
    return first, second, third


@dataclass(frozen=True)
class Grid:
    """A regular, axis-aligned voxel grid in (z up, y back, x left) mm; z index 0 is the top slice."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]  # (z, y, x)
    origin_mm: tuple[float, float, float]  # centre of voxel (0, 0, 0)

    def axis(self, dim: int, part: slice = slice(None)) -> np.ndarray:
        """Voxel centres along one axis; z falls with the index.

        Parameters
        ----------
        dim : int
            The axis: 0 is z, 1 is y, 2 is x.
        part : slice
            Which voxels; by default all.

        Returns
        -------
        ndarray of float32, shape (n,)
            Millimetres.
        """
        sign = -1.0 if dim == 0 else 1.0
        index = np.arange(self.shape[dim], dtype=np.float64)[part]
        return (self.origin_mm[dim] + sign * self.spacing_mm[dim] * index).astype(np.float32)

    def box(self, low_mm: np.ndarray, high_mm: np.ndarray) -> Box:
        """Slices of the voxels between two corners, cut to the grid.

        Parameters
        ----------
        low_mm, high_mm : ndarray of float, shape (3,)
            Lowest and highest (z, y, x) in millimetres.

        Returns
        -------
        tuple of slice
            One slice an axis (z, y, x), empty where the corners miss the grid.
        """
        parts = []
        for dim in range(3):
            if dim == 0:
                first, last = self.origin_mm[0] - high_mm[0], self.origin_mm[0] - low_mm[0]
            else:
                first, last = low_mm[dim] - self.origin_mm[dim], high_mm[dim] - self.origin_mm[dim]
            start = int(np.clip(np.floor(first / self.spacing_mm[dim]), 0, self.shape[dim]))
            stop = int(np.clip(np.ceil(last / self.spacing_mm[dim]) + 1, start, self.shape[dim]))
            parts.append(slice(start, stop))
        return triple(parts)

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
    a: Vector, b: Vector, r_a: float, r_b: float | None = None, tall: float = 0.0, taper: float = 0.0,
    lean: float = 0.0, blend_mm: float = 1.2, hole: bool = False,
) -> Solid:  # fmt: skip
    """A rod between two points, as thick as wanted at either end.

    Parameters
    ----------
    a, b : sequence of float
        The ends, (u, v, w) in millimetres.
    r_a, r_b : float
        Radius at either end, mm; without `r_b` that at `a`.
    tall : float
        By how much the rod is stretched up and down, mm.
    taper : float
        Share of `tall` that is gone at `b`.
    lean : float
        How far the stretched part falls to the back, mm a mm.
    blend_mm : float
        Fillet where the rod meets other solids.
    hole : bool
        Whether the rod is cut out.

    Returns
    -------
    Solid
        The rod.
    """
    start, end = np.array(a, np.float32), np.array(b, np.float32)
    r_b = r_a if r_b is None else r_b
    axis = end - start
    length2 = np.float32(max(float(axis @ axis), 1e-6))

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        u, v, w = u - start[0], v - start[1], w - start[2]
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
    return Solid(distance, np.minimum(start, end) - reach, np.maximum(start, end) + reach, blend_mm, hole)


def ellipsoid(centre: Vector, radii: Vector, blend_mm: float = 1.2, hole: bool = False) -> Solid:
    """An ellipsoid along the frame's axes.

    Parameters
    ----------
    centre : sequence of float or ndarray, shape (3,)
        u, v, w in millimetres.
    radii : sequence of float or ndarray, shape (3,)
        Half axes along u, v, w in millimetres.
    blend_mm : float
        Fillet where the ellipsoid meets other solids.
    hole : bool
        Whether the ellipsoid is cut out.

    Returns
    -------
    Solid
        The ellipsoid.
    """
    c, r = np.array(centre, np.float32), np.array(radii, np.float32)

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        u, v, w = (u - c[0]) / r[0], (v - c[1]) / r[1], (w - c[2]) / r[2]
        k = np.sqrt(u**2 + v**2 + w**2)
        slope = np.sqrt((u / r[0]) ** 2 + (v / r[1]) ** 2 + (w / r[2]) ** 2)
        return k * (k - 1) / np.maximum(slope, 1e-3)

    return Solid(distance, c - r, c + r, blend_mm, hole)


def slab(
    centre: Vector, half: Vector, round_mm: float, lean: float = 0.0, tilt: float = 0.0,
    blend_mm: float = 1.2, hole: bool = False,
) -> Solid:  # fmt: skip
    """A rounded block whose top and bottom may slope.

    Parameters
    ----------
    centre : sequence of float
        u, v, w in millimetres.
    half : sequence of float
        Half of the extent along u, v, w in millimetres.
    round_mm : float
        Radius of the edges.
    lean, tilt : float
        How far top and bottom fall to the back and to the left, mm a mm.
    blend_mm : float
        Fillet where the block meets other solids.
    hole : bool
        Whether the block is cut out.

    Returns
    -------
    Solid
        The block.
    """
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
    return Solid(distance, c - reach, c + reach, blend_mm, hole)


def bow(
    centre: Vector, axes: tuple[float, float], v_from: float, radius: float, tall: float, side: int,
    blend_mm: float = 1.2, hole: bool = False,
) -> Solid:  # fmt: skip
    """The front or rear part of an oval hoop.

    Parameters
    ----------
    centre : sequence of float
        u, v, w of the hoop's middle in millimetres.
    axes : tuple of float
        Half axes along v and w, mm.
    v_from : float
        v of the plane at which the hoop is cut, mm.
    radius : float
        Of the rod that is bent to the hoop, mm.
    tall : float
        By how much that rod is stretched up and down, mm.
    side : int
        -1 keeps what lies in front of the plane, 1 what lies behind it.
    blend_mm : float
        Fillet where the hoop meets other solids.
    hole : bool
        Whether the hoop is cut out.

    Returns
    -------
    Solid
        The part of the hoop.
    """
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
    return Solid(distance, low, high, blend_mm, hole)


def smooth_union(a: np.ndarray, b: np.ndarray, blend_mm: Scalar) -> np.ndarray:
    """The union of two distances with a fillet (polynomial smooth minimum).

    Parameters
    ----------
    a, b : ndarray of float, any shape, the same for both
        Distances in millimetres.
    blend_mm : float
        Radius of the fillet.

    Returns
    -------
    ndarray of float, shape as `a`
        Distance to the union, mm.
    """
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
        """The frame's coordinates of some voxels.

        Parameters
        ----------
        part : tuple of slice
            Slices of the grid.

        Returns
        -------
        list of ndarray of float32, each of shape (z, y, x)
            u, v and w in millimetres.
        """
        offset = [self.grid.axis(dim, part[dim]) - np.float32(self.centre[dim]) for dim in range(3)]
        turn = self.turn.astype(np.float32)
        return [
            (row[0] * offset[0])[:, None, None] + (row[1] * offset[1])[None, :, None] + row[2] * offset[2]
            for row in turn
        ]

    def add(self, solid: Solid) -> None:
        """Unite the field with a solid, or cut it out where the solid is a hole.

        Parameters
        ----------
        solid : Solid
            In the bone's frame.
        """
        around = frame_box(self.grid, self.centre, self.turn, solid.low - 2.5, solid.high + 2.5)
        part, here = shared_box(around, self.part)
        if any(p.stop <= p.start for p in part):
            return
        new = solid.distance(*self.coordinates(part)).astype(np.float32)
        old = self.d[here]
        self.d[here] = (
            np.maximum(old, -new) if solid.hole else smooth_union(old, new, np.float32(solid.blend_mm))
        )


def shared_box(part: Box, whole: Box) -> tuple[Box, Box]:
    """The voxels that two boxes of a grid share.

    Parameters
    ----------
    part, whole : tuple of slice
        Slices of the grid.

    Returns
    -------
    shared : tuple of slice
        Slices of the grid, empty where the boxes do not meet.
    here : tuple of slice
        The same voxels counted from the start of `whole`.
    """
    shared = triple(
        slice(max(p.start, q.start), max(min(p.stop, q.stop), max(p.start, q.start)))
        for p, q in zip(part, whole, strict=True)
    )
    here = triple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(shared, whole, strict=True))
    return shared, here


def frame_box(grid: Grid, centre: np.ndarray, turn: np.ndarray, low: np.ndarray, high: np.ndarray) -> Box:
    """Voxels that hold a box given in a bone's frame.

    Parameters
    ----------
    grid : Grid
        The voxels.
    centre : ndarray of float, shape (3,)
        z, y, x of the frame's origin in millimetres.
    turn : ndarray of float, shape (3, 3)
        Rows are the frame's axes u, v, w in (z, y, x).
    low, high : ndarray of float, shape (3,)
        The box's lowest and highest u, v, w in millimetres.

    Returns
    -------
    tuple of slice
        Slices of the grid, empty where the box misses it.
    """
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
    """Share of each voxel that lies inside a surface: a smoothstep over the voxel's width.

    Parameters
    ----------
    d : ndarray of float, any shape
        Signed distance of the voxels' centres to the surface, mm, negative inside.
    width_mm : float
        Width of a voxel.

    Returns
    -------
    ndarray of float, shape as `d`
        0 outside to 1 inside.
    """
    t = np.clip(0.5 - d * np.float32(1 / (1.3 * width_mm)), 0, 1)
    return t * t * (3 - 2 * t)
