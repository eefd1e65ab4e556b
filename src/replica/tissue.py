"""Smooth tissue shapes on a coarse grid, and the painter that interpolates them slice by slice.

A signed distance a few millimetres apart is enough for a smooth shape: its edge stays sharp at any voxel
size, at a fraction of the work.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from replica.anatomy import Anatomy
from replica.shapes import Box, Grid, coverage

COARSE_MM = (4.0, 2.0, 2.0)
SWAY_MM, KNOT_MM = 1.1, 26.0
AIR_HU = -1000.0


@dataclass(frozen=True)
class Layer:
    """One tissue: a distance on the coarse grid from its first coarse slice on, and what fills it."""

    d: np.ndarray  # (z, y, x) float32 mm, a window of the coarse grid
    corner: tuple[int, int, int]
    hu: float
    rim_hu: float | None = None  # bone's cortex, trachea's wall
    rim_mm: float = 0.0


@dataclass(frozen=True)
class Frame:
    """A window of the coarse grid with the patient's own coordinates: heights, and v, w from the column."""

    grid: Grid
    part: Box  # the window
    column: tuple[np.ndarray, np.ndarray]  # (z,) mm, y and x of the column's line
    z: np.ndarray  # (z, 1, 1) mm
    v: np.ndarray  # (z, y, x) mm behind the bodies
    w: np.ndarray  # (z, y, x) mm to the left of them
    height: np.ndarray  # (z,) 0 at C1, 1 at C7

    def cut(self, part: Box) -> "Frame":
        """A smaller window of a frame that covers the whole grid."""
        z = part[0]
        column = (self.column[0][z], self.column[1][z])
        return Frame(self.grid, part, column, self.z[z], self.v[part], self.w[part], self.height[z])

    def around(self, rows: np.ndarray, reach_mm: float, above: float) -> "Frame | None":
        """The window within `reach_mm` of a path of (height, back, left), `above` heights beyond its ends."""
        zs = np.flatnonzero((self.height > rows[0, 0] - above) & (self.height < rows[-1, 0] + above))
        if not len(zs):
            return None
        parts = [slice(int(zs[0]), int(zs[-1]) + 1)]
        for dim in (1, 2):
            centre = self.column[dim - 1][zs] + np.interp(self.height[zs], rows[:, 0], rows[:, dim])
            axis = self.grid.axis(dim)
            hit = np.flatnonzero((axis > centre.min() - reach_mm) & (axis < centre.max() + reach_mm))
            if not len(hit):
                return None
            parts.append(slice(int(hit[0]), int(hit[-1]) + 1))
        return self.cut(tuple(parts))

    def between(self, low_mm: float, high_mm: float) -> "Frame | None":
        """The slices between two heights in mm."""
        zs = np.flatnonzero((self.z[:, 0, 0] > low_mm) & (self.z[:, 0, 0] < high_mm))
        whole = slice(0, None)
        return self.cut((slice(int(zs[0]), int(zs[-1]) + 1), whole, whole)) if len(zs) else None


def make_frame(grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> Frame:
    """The coarse grid over a scan's field of view, in the patient's swaying coordinates."""
    fine = np.array(grid.spacing_mm) * (np.array(grid.shape) - 1)
    shape = tuple(int(np.ceil(extent / step)) + 2 for extent, step in zip(fine, COARSE_MM, strict=True))
    coarse = Grid(shape, COARSE_MM, grid.origin_mm)
    z = coarse.axis(0)
    y0, x0 = (line.astype(np.float32) for line in anatomy.spine_at(z))
    y0 = np.convolve(np.pad(y0, 3, mode="edge"), np.ones(7, np.float32) / 7, "valid")
    v = coarse.axis(1)[None, :, None] - y0[:, None, None] + sway(shape, rng)
    w = coarse.axis(2)[None, None, :] - x0[:, None, None] + sway(shape, rng)
    part = tuple(slice(0, n) for n in shape)
    return Frame(coarse, part, (y0, x0), z[:, None, None], v, w, anatomy.level_at(z))


def sway(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A smooth displacement (mm, SD about SWAY_MM): nothing in a neck is exactly oval or mirrored."""
    steps = [mm / KNOT_MM for mm in COARSE_MM]
    wave = rng.standard_normal(
        [int(n * step) + 2 for n, step in zip(shape, steps, strict=True)], dtype=np.float32
    )
    for dim in range(3):
        at = np.arange(shape[dim]) * steps[dim]
        low = at.astype(int)
        share = (at - low).astype(np.float32)
        share = (share * share * (3 - 2 * share)).reshape([-1 if i == dim else 1 for i in range(3)])
        a = np.take(wave, low, axis=dim)
        wave = a + (np.take(wave, low + 1, axis=dim) - a) * share
    return np.float32(SWAY_MM / 0.63) * wave


Shape = tuple[Frame | None, Callable[[Frame], np.ndarray], float, float | None, float]


def make_windows(shapes: Iterator[Shape]) -> Iterator[Layer]:
    """Evaluate every shape in its window and cut that to the part it touches."""
    for f, distance, hu, rim_hu, rim_mm in shapes:
        if f is None:
            continue
        d = np.asarray(distance(f), np.float32)
        near = d < 3.0
        if not near.any():
            continue
        part = []
        for dim in range(3):
            hit = np.flatnonzero(near.any(axis=tuple(i for i in range(3) if i != dim)))
            part.append(slice(max(hit[0] - 1, 0), hit[-1] + 2))
        corner = tuple(int(p.start) + q.start for p, q in zip(part, f.part, strict=True))
        yield Layer(np.ascontiguousarray(d[tuple(part)]), corner, hu, rim_hu, rim_mm)


def paint_slices(grid: Grid, layers: list[Layer], edge_mm: float) -> Callable[[int], np.ndarray]:
    """A function that paints slice k (index from the top) in HU, float32 (y, x)."""
    ratio = [grid.spacing_mm[dim] / COARSE_MM[dim] for dim in range(3)]

    def span(layer: Layer, dim: int) -> tuple[slice, np.ndarray, np.ndarray]:
        """The fine indices a layer covers along an axis, with their coarse neighbour and its weight."""
        at = np.arange(grid.shape[dim]) * ratio[dim] - layer.corner[dim]
        inside = np.flatnonzero((at >= 0) & (at < layer.d.shape[dim] - 1))
        if not len(inside):
            return slice(0, 0), np.zeros(0, int), np.zeros(0, np.float32)
        at = at[inside]
        low = at.astype(int)
        return slice(inside[0], inside[-1] + 1), low, (at - low).astype(np.float32)

    spans = [[span(layer, dim) for dim in range(3)] for layer in layers]

    def paint(k: int) -> np.ndarray:
        image = np.full(grid.shape[1:], AIR_HU, np.float32)
        for layer, (zs, ys, xs) in zip(layers, spans, strict=True):
            if not zs[0].start <= k < zs[0].stop or not len(ys[1]) or not len(xs[1]):
                continue
            low, share = zs[1][k - zs[0].start], zs[2][k - zs[0].start]
            flat = layer.d[low] + (layer.d[low + 1] - layer.d[low]) * share
            rows = flat[ys[1]] + (flat[ys[1] + 1] - flat[ys[1]]) * ys[2][:, None]
            a = np.take(rows, xs[1], axis=1)
            fine = a + (np.take(rows, xs[1] + 1, axis=1) - a) * xs[2]
            _fill(image[ys[0], xs[0]], fine, layer, edge_mm)
        return image

    return paint


def _fill(view: np.ndarray, d: np.ndarray, layer: Layer, edge_mm: float) -> None:
    """Paint one tissue into a view of the slice, in place."""
    cover = coverage(d, edge_mm)
    if layer.rim_hu is None:
        view += (layer.hu - view) * cover
        return
    core = coverage(d + np.float32(layer.rim_mm), edge_mm)
    view += (layer.rim_hu - view) * cover
    view += (layer.hu - view) * core
