"""The patient's own coordinates on lattices of a few millimetres, and the painter that reads them.

A signed distance a few millimetres apart is enough for a smooth shape: its edge stays sharp at any voxel
size, at a fraction of the work. Every soft tissue and every bone that is no vertebra is described once, for
a standard patient, in u (up from C1), v (behind the column), w (to the left), millimetres; the body bends,
turns and scales that space into the scan's.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from replica.anatomy.build import C7, Anatomy
from replica.anatomy.shapes import Box, Grid, Triple, Vector, coverage, triple

COARSE_MM = (4.0, 2.0, 2.0)
FINE_MM, FINER_MM = (2.5, 1.2, 1.2), (1.5, 0.9, 0.9)
NECK_MM = 107.4  # from C1 to C7 in the standard patient
SWAY_MM, KNOT_MM = 1.1, 24.0
JOIN = 1.1  # how much larger than both boxes together that of two forms painted as one may be
AIR_HU = -1000.0
COARSEST_VOX = (2.0, 1.8, 1.8)  # no lattice needs to be finer than this many of the scan's voxels
GRAIN_MM, GRAINS = 0.6, 48  # of the block of marrow


@dataclass(frozen=True)
class Ink:
    """What fills a shape: tissue, a rim (cortex, wall, skin) below its surface, a grain in its marrow."""

    hu: float
    rim_hu: float | None = None
    rim_mm: float = 0.0
    grain: np.ndarray | None = None  # HU, a block that repeats every GRAINS * GRAIN_MM


@dataclass(frozen=True)
class Layer:
    """One tissue: its distance (mm, negative inside) on a lattice, and its ink."""

    d: np.ndarray  # (z, y, x) float32
    lattice: Grid
    ink: Ink
    shade: np.ndarray | None = None  # HU added to the ink's, on the same lattice
    skin: bool = False  # the patient's own outline
    inside: bool = False  # shows only within the skin painted before


@dataclass(frozen=True)
class Frame:
    """A lattice with the standard patient's coordinates at its nodes, float32 mm."""

    lattice: Grid
    u: np.ndarray  # (z, y, x) above C1
    v: np.ndarray  # (z, y, x) behind the column
    w: np.ndarray  # (z, y, x) to the left
    level: np.ndarray  # (z,) u where a slice meets the column
    lean: np.ndarray  # (z,) how much u falls per mm to the back
    roll: np.ndarray  # (z,) how much u rises per mm to the left

    def u_at(self, v: np.ndarray | float, w: np.ndarray | float = 0.0) -> np.ndarray:
        """The standard height in every slice at a place beside the column.

        Parameters
        ----------
        v, w : float or ndarray of float, shape (z,)
            The place, behind the column and to the left, mm.

        Returns
        -------
        ndarray of float, shape (z,)
            u in millimetres.
        """
        return self.level - self.lean * v + self.roll * w

    def cut(self, part: Box) -> "Frame":
        """A window of this frame, as views.

        Parameters
        ----------
        part : tuple of slice
            Slices of the lattice.

        Returns
        -------
        Frame
            Its arrays share the memory of this frame's.
        """
        u, v, w = self.u[part], self.v[part], self.w[part]
        origin = triple(float(self.lattice.axis(dim, part[dim])[0]) for dim in range(3))
        lattice = Grid(triple(u.shape), self.lattice.spacing_mm, origin)
        return Frame(lattice, u, v, w, self.level[part[0]], self.lean[part[0]], self.roll[part[0]])


@dataclass(frozen=True)
class Form:
    """A shape of the standard patient: its distance in mm within a box of u, v, w, and its ink."""

    low: Triple
    high: Triple
    distance: Callable[[Frame], np.ndarray]
    ink: Ink
    step_mm: Triple = COARSE_MM


class Body:
    """Bends the standard patient into a scan: scale, the column's curve, the head's turn, a gentle sway."""

    def __init__(self, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
        self.grid, self.anatomy, self.k = grid, anatomy, float(anatomy.scale)
        self.top_mm = float(anatomy.poses[0].centre[0])
        self.neck = (self.top_mm - float(anatomy.poses[C7].centre[0])) / NECK_MM  # mm per standard mm
        knots = [int(n * step / KNOT_MM) + 4 for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
        self.waves = np.float32(SWAY_MM / 0.63) * rng.standard_normal([3, *knots], dtype=np.float32)
        atlas = anatomy.poses[0].turn
        self.lean, self.roll, self.twist = -atlas[0, 1], atlas[0, 2], atlas[2, 1]
        nodes = np.arange(-700.0, 700.0, 4.0)
        curve = [
            np.convolve(np.pad(c, 4, mode="edge"), np.ones(9) / 9, "valid") for c in anatomy.spine_at(nodes)
        ]
        self.column = nodes, curve[0], curve[1]
        self.whole = self._frame(self.whole_lattice(COARSE_MM))

    def whole_lattice(self, step_mm: Triple) -> Grid:
        """A lattice over the whole scan.

        Parameters
        ----------
        step_mm : tuple of float
            Distance of the nodes along z, y, x; larger where the scan's voxels are too coarse for it.

        Returns
        -------
        Grid
            Its nodes.
        """
        return self._lattice(step_mm, np.zeros(3), self._extent())

    def lattice(self, step_mm: Triple, box: np.ndarray) -> Grid | None:
        """A lattice over the scan's share of a box.

        Parameters
        ----------
        step_mm : tuple of float
            Distance of the nodes along z, y, x; larger where the scan's voxels are too coarse for it.
        box : ndarray of float, shape (2, 3)
            Lowest and highest z, y, x in millimetres.

        Returns
        -------
        Grid or None
            Its nodes; None where the box lies outside the scan.
        """
        origin, extent = np.array(self.grid.origin_mm), self._extent()
        start = np.maximum(np.r_[origin[0] - box[1, 0], box[0, 1:] - origin[1:]], 0)
        stop = np.minimum(np.r_[origin[0] - box[0, 0], box[1, 1:] - origin[1:]], extent)
        return None if np.any(stop <= start) else self._lattice(step_mm, start, stop)

    def _extent(self) -> np.ndarray:
        """From the scan's first to its last voxel, mm (3,)."""
        return np.array(self.grid.spacing_mm) * (np.array(self.grid.shape) - 1)

    def _lattice(self, step_mm: Triple, start: np.ndarray, stop: np.ndarray) -> Grid:
        """Nodes between two places, (3,) mm from the scan's first voxel along the axes."""
        step = np.maximum(step_mm, np.array(self.grid.spacing_mm) * COARSEST_VOX)
        shape = np.ceil((stop - start) / step).astype(int) + 2
        origin = np.array(self.grid.origin_mm) + start * [-1, 1, 1]
        return Grid(triple(int(n) for n in shape), triple(step.tolist()), triple(origin.tolist()))

    def _tilt(self, z: np.ndarray) -> np.ndarray:
        """Share of the head's lean and turn that the body takes part in at heights z: all above C1."""
        return np.interp((self.top_mm - z) / (self.neck * NECK_MM), [0.0, 0.35, 0.8], [1.0, 0.5, 0.0])

    def frame(self, lattice: Grid) -> Frame:
        """The standard patient's coordinates at a lattice's nodes.

        Parameters
        ----------
        lattice : Grid
            The nodes.

        Returns
        -------
        Frame
            `whole` itself where the nodes are the same.
        """
        return self.whole if lattice == self.whole.lattice else self._frame(lattice)

    def _frame(self, lattice: Grid) -> Frame:
        """Bend, turn and scale the scan's millimetres at a lattice's nodes to the standard patient's."""
        z, y, x = (lattice.axis(dim) for dim in range(3))
        tilt = self._tilt(z).astype(np.float32)
        lean, roll, twist = (np.float32(a) * tilt for a in (self.lean, self.roll, self.twist))
        above = np.maximum(z - np.float32(self.top_mm), 0)
        nodes, y_line, x_line = self.column
        back = y - (np.interp(z, nodes, y_line).astype(np.float32) - lean * above)[:, None]
        left = x - (np.interp(z, nodes, x_line).astype(np.float32) + roll * above)[:, None]
        du, dv, dw = self._sway(lattice)
        v = dv + back[:, :, None] - (twist[:, None] * left)[:, None, :]
        w = dw + left[:, None, :] + (twist[:, None] * back)[:, :, None]
        u = du + ((z - np.float32(self.top_mm))[:, None] - lean[:, None] * back)[:, :, None]
        u += (roll[:, None] * left)[:, None, :]
        u *= np.where(u > 0, np.float32(1 / self.k), np.float32(1 / self.neck))
        level = z - np.float32(self.top_mm)
        level = level / np.where(level > 0, self.k, self.neck)
        scale = np.float32(1 / self.k)
        return Frame(lattice, u, v * scale, w * scale, level, lean, roll)

    def _sway(self, lattice: Grid) -> np.ndarray:
        """Smooth displacements of u, v, w (mm, SD about SWAY_MM): nothing in a neck is exactly mirrored."""
        waves = self.waves
        for dim in range(3):
            offset = (lattice.axis(dim) - np.float32(self.grid.origin_mm[dim])) * (-1 if dim == 0 else 1)
            waves = interpolate(waves, dim + 1, offset / np.float32(KNOT_MM))
        return waves

    def box(self, low: Vector, high: Vector, margin_mm: float = 5.0) -> np.ndarray:
        """The scan's box that holds a box of the standard patient.

        Parameters
        ----------
        low, high : sequence of float
            Lowest and highest u, v, w in millimetres.
        margin_mm : float
            Added on every side.

        Returns
        -------
        ndarray of float, shape (2, 3)
            Lowest and highest z, y, x in millimetres.
        """
        nodes, y_line, x_line = self.column
        u, v, w = np.meshgrid((low[0], (low[0] + high[0]) / 2, high[0]), (low[1], high[1]), (low[2], high[2]))
        rise, v, w = u * np.where(u > 0, self.k, self.neck), v * self.k, w * self.k
        tilt = self._tilt(self.top_mm + rise)
        lean, roll, twist = self.lean * tilt, self.roll * tilt, self.twist * tilt
        above = np.maximum(rise, 0)
        z = self.top_mm + rise + v * lean - w * roll
        y = np.interp(z, nodes, y_line) - lean * above + v + twist * w
        x = np.interp(z, nodes, x_line) + roll * above + w - twist * v
        found = np.stack([z.ravel(), y.ravel(), x.ravel()])
        return np.array([found.min(axis=1) - margin_mm, found.max(axis=1) + margin_mm])

    def cast(self, forms: Iterable[Form], inside: bool = True) -> Iterator[Layer]:
        """Evaluate every form in its box and cut it to the part it touches.

        Parameters
        ----------
        forms : iterable of Form
            In painting order; neighbours of the same ink may become one layer.
        inside : bool
            Whether they show only within the skin painted before.

        Yields
        ------
        Layer
            One after the other, of the forms that lie in the scan.
        """
        for form in _joined(forms):
            lattice = self.lattice(form.step_mm, self.box(form.low, form.high))
            if lattice is None:
                continue
            d = np.asarray(form.distance(self.frame(lattice)), np.float32) * np.float32(self.k)
            layer = trim(Layer(d, lattice, form.ink, inside=inside))
            if layer is not None:
                yield layer


def _joined(forms: Iterable[Form]) -> Iterator[Form]:
    """The forms, neighbours of the same ink united: fewer layers are faster to paint."""
    held = None
    for form in forms:
        joint = _union(held, form) if held is not None else None
        if held is not None and joint is None:
            yield held
        held = form if joint is None else joint
    if held is not None:
        yield held


def _union(a: Form, b: Form) -> Form | None:
    """Both forms as one, None where they differ in ink or lie so far apart that it would cost more."""
    same = (a.ink.hu, a.ink.rim_hu, a.ink.rim_mm) == (b.ink.hu, b.ink.rim_hu, b.ink.rim_mm)
    if not same or a.ink.grain is not b.ink.grain or a.step_mm != b.step_mm:
        return None
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    sizes = [np.prod(np.subtract(form.high, form.low)) for form in (a, b)]
    if np.prod(high - low) > JOIN * sum(sizes):
        return None
    first, second = a.distance, b.distance
    return Form(triple(low), triple(high), lambda f: np.minimum(first(f), second(f)), a.ink, a.step_mm)


def trim(layer: Layer) -> Layer | None:
    """Cut a layer to the part of its lattice where it shows.

    Parameters
    ----------
    layer : Layer
        On any lattice.

    Returns
    -------
    Layer or None
        On the smaller lattice; None where it shows nowhere.
    """
    near = layer.d < 1.5 * max(layer.lattice.spacing_mm[1:])
    part = []
    for dim in range(3):
        hit = np.flatnonzero(near.any(axis=tuple(i for i in range(3) if i != dim)))
        if not len(hit):
            return None
        part.append(slice(max(int(hit[0]) - 1, 0), int(hit[-1]) + 2))
    d = np.ascontiguousarray(layer.d[tuple(part)])
    origin = triple(float(layer.lattice.axis(dim)[part[dim].start]) for dim in range(3))
    shade = None if layer.shade is None else np.ascontiguousarray(layer.shade[tuple(part)])
    return replace(layer, d=d, lattice=Grid(triple(d.shape), layer.lattice.spacing_mm, origin), shade=shade)


def interpolate(values: np.ndarray, dim: int, at: np.ndarray) -> np.ndarray:
    """Values between the knots along one axis, with a smoothstep so that no knot shows.

    Parameters
    ----------
    values : ndarray of float32, any shape
        At the knots.
    dim : int
        The axis.
    at : ndarray of float, shape (n,)
        Places along the axis, in knots; those outside are moved to the end.

    Returns
    -------
    ndarray of float32, shape as `values` with n along the axis
        The values between.
    """
    at = np.clip(at, 0, values.shape[dim] - 1.001)
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    share = (share * share * (3 - 2 * share)).reshape([-1 if i == dim else 1 for i in range(values.ndim)])
    a = np.take(values, low, axis=dim)
    return a + (np.take(values, low + 1, axis=dim) - a) * share


def noise(lattice: Grid, knot_mm: Triple, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of SD about 1 on a lattice.

    Parameters
    ----------
    lattice : Grid
        The nodes.
    knot_mm : tuple of float
        Length of the grain along z, y, x.
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        One value a node.
    """
    ratio = [step / knot for step, knot in zip(lattice.spacing_mm, knot_mm, strict=True)]
    knots = [int(n * r) + 3 for n, r in zip(lattice.shape, ratio, strict=True)]
    wave = rng.standard_normal(knots, dtype=np.float32)
    for dim in range(3):
        wave = interpolate(wave, dim, np.arange(lattice.shape[dim]) * ratio[dim] + rng.random())
    return wave * np.float32(1 / 0.63)


def paint_slices(grid: Grid, layers: list[Layer], edge_mm: float) -> Callable[[int], np.ndarray]:
    """Prepare to paint the slices of a scan one by one.

    Parameters
    ----------
    grid : Grid
        The scan's voxels.
    layers : list of Layer
        In painting order.
    edge_mm : float
        Width over which a surface is antialiased.

    Returns
    -------
    callable
        Takes a slice's index from the top; returns the slice in HU, ndarray of float32, shape (y, x).
    """

    def span(layer: Layer, dim: int) -> Span:
        """The fine indices a layer covers along an axis, with their lattice neighbour and its weight."""
        sign = -1 if dim == 0 else 1
        at = (grid.axis(dim) - layer.lattice.origin_mm[dim]) * (sign / layer.lattice.spacing_mm[dim])
        inside = np.flatnonzero((at >= 0) & (at < layer.d.shape[dim] - 1))
        if not len(inside):
            return slice(0, 0), np.zeros(0, int), np.zeros(0, np.float32)
        at = at[inside]
        low = at.astype(int)
        return slice(inside[0], inside[-1] + 1), low, (at - low).astype(np.float32)

    grains = [np.round(grid.axis(dim) / GRAIN_MM).astype(int) % GRAINS for dim in range(3)]
    spans = [[span(layer, dim) for dim in range(3)] for layer in layers]
    nearest = [layer.d.min(axis=(1, 2)) for layer in layers]

    def paint(k: int) -> np.ndarray:
        image = np.full(grid.shape[1:], AIR_HU, np.float32)
        patient = np.ones(grid.shape[1:], np.float32)
        for layer, (zs, ys, xs), near in zip(layers, spans, nearest, strict=True):
            if not zs[0].start <= k < zs[0].stop or not len(ys[1]) or not len(xs[1]):
                continue
            low, share = zs[1][k - zs[0].start], zs[2][k - zs[0].start]
            if min(near[low], near[low + 1]) > edge_mm:
                continue
            hu: np.ndarray | np.floating = np.float32(layer.ink.hu)
            if layer.ink.grain is not None:
                hu = hu + layer.ink.grain[grains[0][k]][grains[1][ys[0], None], grains[2][xs[0]]]
            if layer.shade is not None:
                hu = hu + _resample(layer.shade, low, share, ys, xs)
            part = (ys[0], xs[0])
            d = _resample(layer.d, low, share, ys, xs)
            cover = _fill(image[part], d, hu, layer.ink, edge_mm, patient[part] if layer.inside else None)
            if layer.skin:
                patient = cover
        return image

    return paint


Span = tuple[slice, np.ndarray, np.ndarray]  # as `paint_slices` finds it for a layer along an axis


def _resample(values: np.ndarray, low: int, share: np.float32, ys: Span, xs: Span) -> np.ndarray:
    """A lattice's values at the pixels of one slice."""
    flat = values[low] + (values[low + 1] - values[low]) * share
    rows = flat[ys[1]] + (flat[ys[1] + 1] - flat[ys[1]]) * ys[2][:, None]
    a = np.take(rows, xs[1], axis=1)
    return a + (np.take(rows, xs[1] + 1, axis=1) - a) * xs[2]


def _fill(
    view: np.ndarray,
    d: np.ndarray,
    hu: np.ndarray | np.floating,
    ink: Ink,
    edge_mm: float,
    within: np.ndarray | None,
) -> np.ndarray:
    """Paint one tissue into a view of the slice, in place; returns its share of each pixel."""
    cover = coverage(d, edge_mm)
    if within is not None:
        cover *= within
    if ink.rim_hu is None:
        view += (hu - view) * cover
        return cover
    core = coverage(d + np.float32(ink.rim_mm), edge_mm)
    view += (ink.rim_hu - view) * cover
    view += (hu - view) * (core if within is None else core * within)
    return cover
