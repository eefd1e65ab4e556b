"""Signed distances (mm, negative inside) in the standard patient's coordinates, on a frame's lattice."""

from collections.abc import Callable, Sequence
from functools import partial, reduce

import numpy as np

from replica.anatomy.shapes import Triple, Vector, smooth_union, triple
from replica.tissue.painter import Form, Frame, Ink

MARGIN_MM = 2.0
Nodes = Sequence[Sequence[float]] | np.ndarray  # one row a node or a slice


def oval(f: Frame, centre: Vector, radii: Vector) -> np.ndarray:
    """Distance to an ellipsoid.

    Parameters
    ----------
    f : Frame
        Where it is evaluated.
    centre, radii : sequence of float
        Along u, v, w in millimetres.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Standard millimetres, negative inside.
    """
    a, b, c = (np.float32(1 / r) for r in radii)
    u, v, w = (at - np.float32(middle) for at, middle in zip((f.u, f.v, f.w), centre, strict=True))
    u, v, w = u * a, v * b, w * c
    k = np.sqrt(u * u + v * v + w * w)
    slope = (u * a) ** 2 + (v * b) ** 2 + (w * c) ** 2
    return k * (k - 1) / np.sqrt(np.maximum(slope, np.float32(1e-6)))


def chain(f: Frame, nodes: Nodes, tall: float = 0.0, blend_mm: float = 0.0) -> np.ndarray:
    """Distance to a rod through nodes.

    Parameters
    ----------
    f : Frame
        Where it is evaluated.
    nodes : sequence of sequences of float, or ndarray, shape (n, 4)
        u, v, w and radius in millimetres; two nodes at least.
    tall : float
        By how much the rod is stretched up and down, mm.
    blend_mm : float
        Fillet between two pieces; without one they just meet.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Standard millimetres, negative inside.
    """
    points = np.asarray(nodes, np.float32)

    def piece(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        axis = (b - a)[:3]
        du, dv, dw = f.u - a[0], f.v - a[1], f.w - a[2]
        t = np.clip((du * axis[0] + dv * axis[1] + dw * axis[2]) / np.float32(axis @ axis), 0, 1)
        du = du - t * axis[0]
        if tall:
            du = du - np.clip(du, -np.float32(tall), np.float32(tall))
        return np.sqrt(du**2 + (dv - t * axis[1]) ** 2 + (dw - t * axis[2]) ** 2) - (a[3] + t * (b[3] - a[3]))

    join = np.minimum if not blend_mm else partial(smooth_union, blend_mm=np.float32(blend_mm))
    return reduce(join, (piece(a, b) for a, b in zip(points[:-1], points[1:], strict=True)))


def stack(f: Frame, rows: np.ndarray, side: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """An oval in every slice, between rows from head to feet.

    Parameters
    ----------
    f : Frame
        Where it is evaluated.
    rows : ndarray of float, shape (n, 5) or (n, 6)
        Of the left side: u, v, w, radius along v, radius along w in millimetres, and the tilt in degrees if
        there is one.
    side : float
        1 for the left side, -1 for the right.

    Returns
    -------
    distance : ndarray of float32, shape (z, y, x)
        Standard millimetres, negative inside.
    beyond : ndarray of float32, shape (z,)
        How far each slice lies beyond the ends, mm.
    """
    rows = np.asarray(rows, float)[::-1]
    at = f.u_at(np.interp(f.level, rows[:, 0], rows[:, 1]), side * np.interp(f.level, rows[:, 0], rows[:, 2]))
    v, w, rv, rw = (
        np.interp(at, rows[:, 0], rows[:, i])[:, None, None].astype(np.float32) for i in (1, 2, 3, 4)
    )
    dv, dw = f.v - v, f.w - np.float32(side) * w
    if rows.shape[1] > 5 and rows[:, 5].any():
        tilt = np.deg2rad(np.interp(at, rows[:, 0], rows[:, 5]))[:, None, None]
        c, s = np.cos(tilt).astype(np.float32), (side * np.sin(tilt)).astype(np.float32)
        dv, dw = c * dv + s * dw, c * dw - s * dv
    r = np.sqrt((dv / rv) ** 2 + (dw / rw) ** 2)
    beyond = np.maximum(rows[0, 0] - at, at - rows[-1, 0]).astype(np.float32)
    return (r - 1) * np.sqrt(rv * rw), beyond


def tube(rows: Nodes, ink: Ink, step_mm: Triple | None = None) -> Form:
    """An upright tube.

    Parameters
    ----------
    rows : sequence of sequences of float, or ndarray, shape (n, 5)
        u, v, w, radius along v and radius along w in millimetres, from head to feet.
    ink : Ink
        What fills it.
    step_mm : tuple of float, optional
        Of its lattice along z, y, x; by default COARSE_MM.

    Returns
    -------
    Form
        The tube.
    """
    table = np.asarray(rows, float)

    def distance(f: Frame) -> np.ndarray:
        d, beyond = stack(f, table)
        return np.maximum(d, beyond[:, None, None])

    reach = np.c_[np.zeros(len(table)), table[:, 3:5]].max(axis=0) + MARGIN_MM
    return _form(table[:, :3], reach, distance, ink, step_mm)


def rod(nodes: Nodes, ink: Ink, tall: float = 0.0, step_mm: Triple | None = None) -> Form:
    """A chain as a form.

    Parameters
    ----------
    nodes : sequence of sequences of float, or ndarray, shape (n, 4)
        u, v, w and radius in millimetres; two nodes at least.
    ink : Ink
        What fills it.
    tall : float
        By how much the rod is stretched up and down, mm.
    step_mm : tuple of float, optional
        Of its lattice along z, y, x; by default COARSE_MM.

    Returns
    -------
    Form
        The rod.

    See Also
    --------
    chain : Its distance.
    """
    points = np.asarray(nodes, float)
    reach = points[:, 3].max() + MARGIN_MM + np.array([tall, 0, 0])
    return _form(points[:, :3], reach, lambda f: chain(f, points, tall), ink, step_mm)


def egg(centre: Vector, radii: Vector, ink: Ink, step_mm: Triple | None = None) -> Form:
    """An ellipsoid as a form.

    Parameters
    ----------
    centre, radii : sequence of float
        Along u, v, w in millimetres.
    ink : Ink
        What fills it.
    step_mm : tuple of float, optional
        Of its lattice along z, y, x; by default COARSE_MM.

    Returns
    -------
    Form
        The ellipsoid.

    See Also
    --------
    oval : Its distance.
    """
    points = np.array([centre], float)
    return _form(points, np.array(radii) + MARGIN_MM, lambda f: oval(f, centre, radii), ink, step_mm)


def _form(
    points: np.ndarray,
    reach: np.ndarray,
    distance: Callable[[Frame], np.ndarray],
    ink: Ink,
    step_mm: Triple | None,
) -> Form:
    low, high = triple(points.min(axis=0) - reach), triple(points.max(axis=0) + reach)
    return Form(low, high, distance, ink) if step_mm is None else Form(low, high, distance, ink, step_mm)


def smooth_max(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The section of two distances with a fillet of six millimetres.

    Parameters
    ----------
    a, b : ndarray of float, any shape, the same for both
        Distances in millimetres.

    Returns
    -------
    ndarray of float, shape as `a`
        Distance to what lies in both, mm.
    """
    return -smooth_union(-a, -b, np.float32(6))


def mirror(nodes: Nodes, side: float) -> np.ndarray:
    """Nodes of the left side on the wanted side.

    Parameters
    ----------
    nodes : sequence of sequences of float, or ndarray, shape (n, 3) or wider
        u, v, w and what else there is.
    side : float
        1 for the left side, -1 for the right.

    Returns
    -------
    ndarray of float, shape as `nodes`
        A copy with w times `side`.
    """
    copy = np.array(nodes, float)
    copy[:, 2] *= side
    return copy


def smooth(nodes: np.ndarray) -> np.ndarray:
    """Twice the nodes along a rounded path (Chaikin's corner cutting), ends kept.

    Parameters
    ----------
    nodes : ndarray of float, shape (n, 4)
        u, v, w and radius.

    Returns
    -------
    ndarray of float, shape (2 * n - 2, 4)
        The rounded path.
    """
    first, second = 0.75 * nodes[:-1] + 0.25 * nodes[1:], 0.25 * nodes[:-1] + 0.75 * nodes[1:]
    inner = np.stack([first, second], axis=1).reshape(-1, 4)
    return np.concatenate([nodes[:1], inner[1:-1], nodes[-1:]])
