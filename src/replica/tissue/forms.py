"""Signed distances (mm, negative inside) in the standard patient's coordinates, on a frame's lattice."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from replica.anatomy.shapes import smooth_union
from replica.tissue.painter import Form, Frame, Ink

MARGIN_MM = 2.0


def oval(f: Frame, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Distance to an ellipsoid (centre and radii in u, v, w)."""
    k = slope = np.float32(0)
    for at, c, r in zip((f.u, f.v, f.w), centre, radii, strict=True):
        part = (at - np.float32(c)) * np.float32(1 / r)
        k = k + part * part
        slope = slope + (part * np.float32(1 / r)) ** 2
    k = np.sqrt(k)
    return k * (k - 1) / np.sqrt(np.maximum(slope, np.float32(1e-6)))


def chain(f: Frame, nodes: Sequence[Sequence[float]], tall: float = 0.0, blend_mm: float = 0.0) -> np.ndarray:
    """Distance to a rod through nodes of (u, v, w, radius), stretched up and down by `tall` mm."""
    nodes = np.asarray(nodes, np.float32)
    best = None
    for a, b in zip(nodes[:-1], nodes[1:], strict=True):
        axis = (b - a)[:3]
        du, dv, dw = f.u - a[0], f.v - a[1], f.w - a[2]
        t = np.clip((du * axis[0] + dv * axis[1] + dw * axis[2]) / np.float32(axis @ axis), 0, 1)
        du = du - t * axis[0]
        if tall:
            du = du - np.clip(du, -np.float32(tall), np.float32(tall))
        d = np.sqrt(du**2 + (dv - t * axis[1]) ** 2 + (dw - t * axis[2]) ** 2) - (a[3] + t * (b[3] - a[3]))
        join = np.minimum if not blend_mm else partial(smooth_union, blend_mm=np.float32(blend_mm))
        best = d if best is None else join(best, d)
    return best


def stack(f: Frame, rows: np.ndarray, side: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """An oval in every slice, rows of (u, v, w, radius v, radius w, tilt in degrees) from head to feet.

    Returns the distance, float32 (z, y, x), and how far a slice lies beyond the ends, mm (z,).
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


def tube(rows: Sequence[Sequence[float]], ink: Ink, step_mm: tuple | None = None) -> Form:
    """An upright tube: rows of (u, v, w, radius v, radius w) from head to feet."""
    rows = np.asarray(rows, float)

    def distance(f: Frame) -> np.ndarray:
        d, beyond = stack(f, rows)
        return np.maximum(d, beyond[:, None, None])

    reach = np.c_[np.zeros(len(rows)), rows[:, 3:5]].max(axis=0) + MARGIN_MM
    return _form(rows[:, :3], reach, distance, ink, step_mm)


def rod(nodes: Sequence[Sequence[float]], ink: Ink, tall: float = 0.0, step_mm: tuple | None = None) -> Form:
    """A chain as a form."""
    nodes = np.asarray(nodes, float)
    reach = nodes[:, 3].max() + MARGIN_MM + np.array([tall, 0, 0])
    return _form(nodes[:, :3], reach, lambda f: chain(f, nodes, tall), ink, step_mm)


def egg(centre: Sequence[float], radii: Sequence[float], ink: Ink, step_mm: tuple | None = None) -> Form:
    """An ellipsoid as a form."""
    points = np.array([centre], float)
    return _form(points, np.array(radii) + MARGIN_MM, lambda f: oval(f, centre, radii), ink, step_mm)


def _form(points: np.ndarray, reach: np.ndarray, distance, ink: Ink, step_mm: tuple | None) -> Form:
    low, high = tuple(points.min(axis=0) - reach), tuple(points.max(axis=0) + reach)
    return Form(low, high, distance, ink) if step_mm is None else Form(low, high, distance, ink, step_mm)


def smooth_max(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The section of two distances with a fillet of six millimetres."""
    return -smooth_union(-a, -b, np.float32(6))


def mirror(nodes: Sequence[Sequence[float]], side: float) -> np.ndarray:
    """Nodes of the left side on the wanted side (w times 1 or -1)."""
    nodes = np.array(nodes, float)
    nodes[:, 2] *= side
    return nodes


def smooth(nodes: np.ndarray) -> np.ndarray:
    """Twice the nodes along a rounded path (Chaikin's corner cutting), ends kept."""
    first, second = 0.75 * nodes[:-1] + 0.25 * nodes[1:], 0.25 * nodes[:-1] + 0.75 * nodes[1:]
    inner = np.stack([first, second], axis=1).reshape(-1, 4)
    return np.concatenate([nodes[:1], inner[1:-1], nodes[-1:]])
