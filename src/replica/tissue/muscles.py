"""The muscles of neck, face and shoulders: ovals that share the space, with fat where two meet."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from replica.anatomy.flesh import Flesh
from replica.anatomy.shapes import Box, Grid
from replica.tissue.forms import MARGIN_MM, Nodes, stack
from replica.tissue.painter import Body, Frame, Ink, Layer, noise, trim

MUSCLE_MM = (2.2, 1.2, 1.2)
MUSCLE_HU, DENT_MM = 56.0, 1.3
# of the left side, from head to feet: u, v, w of the centre, radii in v and w, tilt in degrees (> 0: its left
# end comes forward)
PAIRS: dict[str, Nodes] = {
    "longus colli": [[-12, -11, 6, 3, 5, 0], [-55, -12, 7, 3.5, 6, 0], [-150, -15, 8, 4, 6, 0]],
    "longus capitis": [[18, -15, 9, 4, 7, 0], [-20, -12, 14, 4, 6, 10], [-62, -9, 16, 3, 4, 20]],
    "scalenus anterior": [[-40, -4, 22, 4, 4, 0], [-80, -4, 27, 7, 6, 0], [-130, -18, 38, 6, 9, 0]],
    "scalenus medius": [[-25, 4, 24, 5, 5, 20], [-75, 7, 33, 9, 7, 25], [-132, 2, 46, 10, 9, 0]],
    "levator": [[5, 8, 38, 7, 6, 0], [-40, 18, 41, 9, 6, 20], [-90, 30, 46, 10, 7, 30],
                [-135, 42, 62, 8, 9, 30]],
    "mastoid": [[18, 18, 60, 9, 5, 40], [-15, 8, 57, 13, 6, 45], [-60, -17, 47, 14, 6, 50],
                [-100, -38, 30, 9, 8, 50], [-145, -52, 17, 5, 7, 0]],
    "multifidus": [[-25, 26, 8, 5, 5, 0], [-70, 28, 11, 8, 8, 0], [-125, 30, 13, 9, 9, 0],
                   [-240, 32, 14, 8, 9, 0]],
    "semispinalis cervicis": [[-24, 33, 8, 6, 6, 0], [-60, 36, 10, 6, 8, 20], [-115, 40, 12, 6, 8, 0]],
    "semispinalis capitis": [[28, 62, 14, 5, 13, 20], [0, 50, 14, 8, 13, 15], [-55, 45, 15, 7, 12, 25],
                             [-120, 46, 20, 6, 9, 20], [-190, 44, 20, 5, 8, 0]],
    "longissimus": [[10, 22, 44, 5, 4, 40], [-50, 24, 29, 7, 5, 30], [-110, 28, 28, 8, 7, 20],
                    [-240, 36, 34, 9, 13, 0]],
    "splenius": [[30, 44, 50, 4, 12, 50], [0, 44, 38, 5, 18, 40], [-55, 47, 24, 5, 17, 32],
                 [-100, 52, 14, 4, 10, 20], [-150, 50, 9, 3, 6, 10]],
    "trapezius": [[25, 76, 14, 3, 9, 12], [-40, 57, 15, 4, 15, 22], [-64, 56, 24, 5, 20, 28],
                  [-84, 48, 48, 8, 40, 32], [-110, 52, 62, 8, 44, 28], [-150, 60, 58, 7, 50, 12],
                  [-240, 66, 40, 6, 36, 5]],
    "rectus major": [[16, 48, 16, 5, 9, 20], [-6, 38, 13, 6, 8, 20], [-22, 32, 7, 4, 4, 0]],
    "obliquus inferior": [[2, 22, 34, 5, 8, 50], [-10, 29, 24, 6, 10, 50], [-22, 34, 10, 5, 6, 40]],
    "obliquus superior": [[24, 40, 38, 5, 9, 40], [2, 24, 38, 5, 6, 40]],
    "digastric back": [[8, 6, 47, 5, 3, 60], [-20, -14, 44, 5, 4, 60], [-40, -34, 32, 4, 4, 60]],
    "digastric front": [[-44, -86, 9, 9, 5, 0], [-52, -62, 14, 9, 5, 0]],
    "mylohyoid": [[-36, -68, 14, 18, 10, -20], [-46, -62, 11, 16, 9, -20]],
    "masseter": [[24, -48, 58, 12, 5, -8], [-5, -44, 57, 16, 7, -8], [-30, -38, 52, 13, 5, -8]],
    "pterygoid medial": [[14, -44, 26, 8, 5, -20], [-10, -40, 35, 12, 6, -15], [-28, -34, 42, 9, 4, -10]],
    "pterygoid lateral": [[34, -36, 34, 10, 10, -35], [8, -36, 34, 11, 7, -35]],
    "temporalis": [[70, -35, 62, 30, 5, -14], [30, -48, 54, 16, 7, -10], [2, -50, 45, 7, 4, -10]],
    "cheek": [[10, -84, 40, 8, 4, -40], [-30, -78, 38, 10, 4, -45]],
    "lip": [[14, -101, 14, 4, 16, -14], [-30, -98, 14, 4, 16, -14]],
    "strap": [[-50, -49, 7, 3, 6, -15], [-100, -46, 12, 3.5, 11, -15], [-150, -54, 13, 3, 10, 0]],
    "thyrohyoid": [[-48, -42, 17, 6, 3, 40], [-84, -42, 17, 7, 3, 40]],
    "constrictor": [[10, -18, 12, 4, 5, 0], [-40, -17, 15, 5, 4, 40], [-80, -19, 14, 4, 5, 30]],
    "omohyoid": [[-110, -20, 52, 3, 7, 0], [-128, 2, 78, 3, 10, 0]],
    "supraspinatus": [[-118, 26, 92, 12, 30, 15], [-142, 28, 92, 14, 34, 15]],
    "infraspinatus": [[-138, 56, 96, 9, 38, 20], [-240, 62, 92, 12, 40, 15]],
    "subscapularis": [[-138, 22, 100, 12, 30, 25], [-240, 34, 98, 12, 32, 25]],
    "deltoid": [[-122, 0, 176, 34, 10, 0], [-240, -8, 184, 36, 14, 0], [-480, 4, 204, 26, 12, 0]],
    "pectoralis": [[-138, -52, 96, 7, 44, 10], [-240, -74, 80, 12, 60, 10]],
    "pectoralis minor": [[-140, -38, 100, 6, 18, 20], [-240, -58, 80, 7, 26, 15]],
    "serratus": [[-128, 16, 70, 22, 6, 10], [-240, 16, 104, 40, 6, 0]],
    "rhomboid": [[-110, 50, 26, 4, 20, 10], [-240, 56, 40, 5, 30, 10]],
    "spine of the back": [[-120, 40, 28, 8, 12, 0], [-240, 46, 24, 12, 20, 0], [-480, 44, 24, 14, 22, 0]],
    "flank": [[-240, -8, 122, 70, 6, 0], [-480, -8, 118, 70, 8, 0]],
}  # fmt: skip
MIDDLE: dict[str, Nodes] = {
    "tongue": [[8, -72, 0, 16, 18, 0], [0, -70, 0, 25, 23, 0], [-14, -66, 0, 29, 24, 0],
               [-32, -59, 0, 26, 20, 0], [-44, -52, 0, 14, 13, 0]],
    "prevertebral": [[18, -13, 0, 4, 14, 0], [-50, -11.5, 0, 2.5, 14, 0], [-85, -13, 0, 4, 14, 0],
                     [-170, -18, 0, 5, 14, 0]],
    "genioglossus": [[-24, -78, 0, 12, 9, 0], [-44, -74, 0, 14, 7, 0]],
    "soft palate": [[12, -44, 0, 5, 12, 0], [2, -36, 0, 5, 11, 0], [-8, -30, 0, 4, 7, 0],
                    [-16, -28, 0, 3, 4, 0]],
    "rectus minor": [[14, 38, 0, 5, 9, 0], [-2, 30, 0, 5, 8, 0]],
    "trachea's bed": [[-82, -28, 0, 12, 13, 0], [-120, -29, 1, 12, 13, 0], [-170, -36, 2, 12, 14, 0]],
}  # fmt: skip
MOVES = ("tongue", "genioglossus", "mylohyoid", "digastric front", "cheek", "lip")  # with the jaw


def muscle_layer(
    body: Body, below_fat: Callable[[Frame], np.ndarray], rng: np.random.Generator
) -> Layer | None:
    """The muscle mass: each point goes to its nearest muscle, every muscle has its own grey.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    below_fat : callable
        Distance to the fat's inner surface, from a Frame to float32 (z, y, x) standard millimetres.
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    Layer or None
        None where the scan shows no muscle.
    """
    flesh = body.anatomy.flesh
    f = body.frame(body.whole_lattice(MUSCLE_MM))
    uneven = replace(f, v=f.v + _dents(f, rng), w=f.w + _dents(f, rng))
    first = np.full(f.lattice.shape, 9.0, np.float32)
    second, tone = first.copy(), np.zeros_like(first)
    for name, rows, side in _jobs(flesh):
        rows = np.array(rows, float)
        rows[:, 3:5] *= flesh.bulk * np.exp(0.09 * rng.standard_normal(2))
        rows[:, 1:3] += rng.normal(0, 0.8, 2)
        rows[:, 5] += rng.normal(0, 5)
        if name in MOVES:
            rows[:, 0] -= flesh.gape * np.clip(-rows[:, 1] - 12, 0, 90)
        grey = rng.normal(0, 2.5)
        part = _part(body, f.lattice, rows, side)
        if part is None:
            continue
        d, beyond = stack(uneven.cut(part), rows, side)
        d += np.maximum(beyond, 0)[:, None, None] * np.float32(0.45)
        nearest, runner_up = first[part], second[part]
        np.minimum(runner_up, np.maximum(nearest, d), out=runner_up)
        tone[part][d < nearest] = grey
        np.minimum(nearest, d, out=nearest)
    d = np.maximum(_fat(f, first, second, body, rng), below_fat(f))
    shade = tone + 4.0 * noise(f.lattice, (30, 5, 5), rng)
    hu = MUSCLE_HU - 4 * min(body.anatomy.wear, 1.0)
    return trim(Layer((d * np.float32(body.k)).astype(np.float32), f.lattice, Ink(hu), shade))


def _dents(f: Frame, rng: np.random.Generator) -> np.ndarray:
    """How far (mm) muscles bulge and dent each other."""
    return np.float32(DENT_MM) * noise(f.lattice, (22, 9, 9), rng)


def _jobs(flesh: Flesh) -> list[tuple[str, np.ndarray, float]]:
    pairs = [(name, rows, side) for name, rows in PAIRS.items() for side in (-1.0, 1.0)]
    jobs = pairs + [(name, rows, 1.0) for name, rows in MIDDLE.items()]
    return [(name, _shrugged(rows, flesh.shrug_mm), side) for name, rows, side in jobs]


def _shrugged(rows: Nodes, shrug_mm: float) -> np.ndarray:
    """Rows with the shoulder's part moved up or down: the more, the farther out."""
    moved = np.array(rows, float)
    share = np.clip((np.abs(moved[:, 2]) - 15) / 35, 0, 1) * np.clip((-moved[:, 0] - 58) / 45, 0, 1)
    moved[:, 0] += shrug_mm * share
    return moved


def _part(body: Body, lattice: Grid, rows: np.ndarray, side: float) -> Box | None:
    """The window of a lattice that holds a muscle and its surroundings, None outside the scan."""
    points = rows[:, :3] * [1, 1, side]
    reach = rows[:, 3:5].max() + 4 + MARGIN_MM
    low, high = points.min(axis=0) - [12, reach, reach], points.max(axis=0) + [12, reach, reach]
    part = lattice.box(*body.box(tuple(low), tuple(high)))
    return None if any(p.stop <= p.start for p in part) else part


def _fat(f: Frame, first: np.ndarray, second: np.ndarray, body: Body, rng: np.random.Generator) -> np.ndarray:
    """Where fat replaces muscle (> 0): between two of them, beyond all, in streaks, and below the skin."""
    anatomy, flesh = body.anatomy, body.anatomy.flesh
    stout = np.float32(np.clip(np.sqrt(anatomy.fat_mm / 8), 0.6, 1.5))
    width = stout * (0.1 + 0.7 * noise(f.lattice, (40, 14, 14), rng)) + np.float32(0.25 + 0.8 * flesh.streaks)
    plane = (width - (second - first)) * np.float32(0.6)
    # a lean patient's muscles fill the space between them
    face = np.clip((f.u + 50) / 20, 0, 1) * np.clip((-f.v - 15) / 20, 0, 1)
    trunk = np.interp(f.level, [-105, -72], [1.3, 0.0]).astype(np.float32)[:, None, None]
    reach = np.float32(11.0 - 2.3 * stout - 1.5 * flesh.streaks) * (1 + np.float32(0.7) * face + trunk)
    beyond = first - reach * (1 + np.float32(0.3) * noise(f.lattice, (30, 15, 15), rng))
    # feathers: thin lines along the fibres, in patches, more of them with age
    patch = noise(f.lattice, (35, 9, 9), rng) - np.float32(1.4 - 2.0 * flesh.streaks)
    feather = np.float32(0.22) - np.abs(noise(f.lattice, (24, 4.5, 4.5), rng))
    streak = np.minimum(patch, feather * np.float32(2.5))
    return np.maximum(np.maximum(plane, beyond), streak)
