"""The soft tissue around the vertebrae: skin, fat, muscles, airway, vessels, lungs, cord."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy import Anatomy
from replica.head import head_shapes, table_shapes
from replica.shapes import Grid
from replica.tissue import AIR_HU, Frame, Layer, Shape, make_frame, make_windows, sway

LUNG_HU, FAT_HU, MUSCLE_HU, CORD_HU, CSF_HU = -820.0, -100.0, 55.0, 36.0, 20.0
BLOOD_HU, CONTRAST_HU, THYROID_HU, GULLET_HU, SKIN_HU, DISC_HU = 45.0, 220.0, 105.0, 40.0, 20.0, 88.0

# by height (0 = C1, 1 = C7): half width, distance to the skin behind and before the bodies, mm
OUTLINE = np.array(
    [
        [-0.9, 76, 98, 92], [-0.5, 78, 94, 98], [-0.2, 75, 80, 100], [0.0, 70, 68, 100], [0.2, 64, 62, 98],
        [0.36, 60, 60, 80], [0.5, 58, 59, 60], [0.65, 60, 60, 54], [0.8, 72, 64, 54], [1.0, 118, 70, 60],
        [1.2, 175, 78, 70], [1.5, 215, 86, 84], [2.2, 225, 95, 105],
    ]
)  # fmt: skip
# muscles of the left side: rows of (height, back, left) of the centre; radii (back, left); tilt in degrees
MUSCLES = {
    "longus": ([[-0.1, -10, 8], [1.2, -12, 9]], (4, 7), 0),
    "multifidus": ([[0.1, 27, 9], [1.2, 30, 11]], (9, 8), 0),
    "semispinalis": ([[-0.2, 40, 12], [0.5, 38, 11], [1.2, 42, 13]], (9, 10), -15),
    "splenius": ([[-0.2, 40, 34], [0.5, 44, 24], [1.2, 48, 16]], (6, 15), -35),
    "longissimus": ([[-0.1, 22, 36], [0.5, 24, 30], [1.2, 30, 30]], (9, 8), -20),
    "levator": ([[0.0, 14, 44], [0.5, 22, 40], [1.2, 36, 52]], (8, 9), 0),
    "scalenes": ([[0.1, 2, 34], [0.6, 0, 30], [1.2, 8, 44]], (11, 9), 20),
    "trapezius": ([[-0.2, 52, 16], [0.5, 53, 26], [0.8, 52, 44], [1.2, 46, 90]], (6, 22), -20),
    "mastoid": ([[-0.2, 12, 55], [0.2, -2, 50], [0.6, -22, 40], [1.1, -44, 22]], (12, 8), 50),
    "shoulder": ([[0.8, 30, 90], [1.2, 25, 110], [2.0, 20, 130]], (24, 40), 0),
    "chest": ([[0.9, -20, 90], [1.3, -30, 100], [2.0, -50, 110]], (22, 40), 0),
    "masseter": ([[-0.5, -55, 56], [-0.1, -50, 56], [0.2, -55, 50]], (16, 8), 0),
    "pterygoid": ([[-0.5, -40, 32], [0.0, -42, 34], [0.2, -48, 32]], (14, 9), 0),
}
SIDELESS = {
    "tongue": ([[-0.1, -62, 0], [0.1, -62, 0], [0.35, -52, 0]], (22, 22), 0),
    "pharynx": ([[-0.4, -24, 0], [0.3, -22, 0], [0.6, -26, 0]], (9, 20), 0),
    "strap": ([[0.4, -44, 0], [0.7, -42, 0], [1.1, -46, 0]], (7, 22), 0),
}


def make_layers(grid: Grid, anatomy: Anatomy) -> list[Layer]:
    """All soft tissue and the bones that are no vertebrae, in painting order."""
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 1]))
    f = make_frame(grid, anatomy, rng)
    skin = _outline(f, anatomy)
    layers = [Layer(skin, (0, 0, 0), FAT_HU, SKIN_HU, 1.6)]
    layers.append(Layer(_muscles(f, skin, anatomy, rng), (0, 0, 0), MUSCLE_HU - 12 * min(anatomy.wear, 1)))
    layers += list(make_windows(_organs(f, anatomy, rng)))
    layers += list(make_windows(_canal(f, anatomy)))
    layers += list(make_windows(head_shapes(f, anatomy, rng)))
    layers += list(make_windows(table_shapes(f, anatomy, rng)))
    return layers


def _table_at(height: np.ndarray, rows: np.ndarray, column: int) -> np.ndarray:
    return np.interp(height, rows[:, 0], rows[:, column])[:, None, None].astype(np.float32)


def _outline(f: Frame, anatomy: Anatomy) -> np.ndarray:
    """Distance to the skin: an oval around the column, longer in front at the jaw, wide at the shoulders."""
    k = np.float32(anatomy.girth)
    wide, back, front = (k * _table_at(f.height, OUTLINE, i) for i in (1, 2, 3))
    v = np.where(f.v > 0, f.v / (back + 0.5 * anatomy.fat_mm), f.v / front)
    power = np.interp(f.height, [-0.2, 0.6, 1.0], [2.2, 2.3, 2.7])[:, None, None].astype(np.float32)
    r = (np.abs(v) ** power + np.abs(f.w / wide) ** power) ** (1 / power)
    return (r - 1) * np.minimum(np.minimum(wide, 75), np.where(f.v > 0, back, front))


def _blob(f: Frame, rows: np.ndarray, radii: tuple[float, float], tilt: float, side: float) -> np.ndarray:
    """Normalised radius (1 at the surface) of a muscle's oval in every slice, growing beyond its ends."""
    v = f.v - _table_at(f.height, rows, 1)
    w = f.w - side * _table_at(f.height, rows, 2)
    c, s = np.cos(np.deg2rad(tilt)), side * np.sin(np.deg2rad(tilt))
    a, b = (
        (np.float32(c / radii[0]), np.float32(s / radii[0])),
        (np.float32(c / radii[1]), np.float32(s / radii[1])),
    )
    r = np.sqrt((a[0] * v + a[1] * w) ** 2 + (b[0] * w - b[1] * v) ** 2)
    beyond = np.maximum(rows[0, 0] - f.height, f.height - rows[-1, 0])
    return r + np.clip(beyond * 6, 0, None)[:, None, None].astype(np.float32)


def _muscles(f: Frame, skin: np.ndarray, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Distance to the muscle mass: every point goes to its nearest muscle, fat shows where two meet."""
    first = np.full(f.grid.shape, 3.0, np.float32)
    second = first.copy()
    jobs = [(MUSCLES[name], side) for name in MUSCLES for side in (-1.0, 1.0)] + [
        (m, 1.0) for m in SIDELESS.values()
    ]
    for (rows, radii, tilt), side in jobs:
        rows = np.array(rows, float)
        vary = 1 + 0.08 * rng.standard_normal(2)
        radii, tilt = (radii[0] * vary[0], radii[1] * vary[1]), tilt + rng.normal(0, 4)
        window = f.around(rows * [1, 1, side], 2.3 * max(radii) + 4, 0.25)
        if window is None:
            continue
        r = _blob(window, rows, radii, tilt, side)
        nearest, runner_up = first[window.part], second[window.part]
        np.minimum(runner_up, np.maximum(nearest, r), out=runner_up)
        np.minimum(nearest, r, out=nearest)
    width = 0.10 + 0.06 * anatomy.wear + 0.06 * sway(f.grid.shape, rng)
    plane = (width - (second - first)) * 6.0  # > 0 within a plane of fat
    beyond = (first - 1.75) * 7.0
    fat = anatomy.fat_mm * np.where(f.v > 10, np.float32(1.0), np.float32(0.55))
    return np.maximum(np.maximum(plane, beyond), skin + fat).astype(np.float32)


def _rod(whole: Frame, rows: list, radii: tuple[float, float]) -> tuple:
    """An upright tube whose oval centre follows rows of (height, back, left): its window and its distance."""
    rows = np.array(rows, float)

    def distance(f: Frame) -> np.ndarray:
        beyond = (
            np.maximum(rows[0, 0] - f.height, f.height - rows[-1, 0])[:, None, None].astype(np.float32) * 110
        )
        return np.maximum((_blob(f, rows, radii, 0.0, 1.0) - 1) * np.float32(min(radii)), beyond)

    return whole.around(rows, max(radii) + 10, 0.06), distance


def _organs(f: Frame, anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Shape]:
    """Airway, gullet, gland, vessels, lungs."""
    contrast = CONTRAST_HU if rng.random() < 0.25 else BLOOD_HU
    for side in (-1, 1):
        a, b = rng.normal(0, 1.5, 2)
        artery = [[0.0, -16 + a, side * 27], [0.5, -16 + a, side * 25], [1.3, -24 + b, side * 19]]
        vein = [[0.0, -8 + b, side * 33], [0.5, -14 + b, side * 36], [1.3, -28 + a, side * 30]]
        yield *_rod(f, artery, (3.6, 3.6)), contrast, None, 0
        yield *_rod(f, vein, (5.5 + a, 6.5 + b)), contrast * 0.8, None, 0
        yield *_rod(f, [[0.68, -30, side * 17], [1.05, -30, side * 18]], (11, 8.5)), THYROID_HU, None, 0
        yield *_lung(f, side), LUNG_HU, None, 0
        yield *_rod(f, [[-1.5, -58, side * 34], [-0.35, -58, side * 32]], (15.0, 13.0)), AIR_HU, 350.0, 1.5
    yield *_rod(f, [[0.7, -17, 3], [1.2, -17, 5], [2.5, -20, 5]], (5.0, 8.0)), GULLET_HU, None, 0
    yield (
        *_rod(f, [[-0.6, -34, 0], [-0.1, -24, 0], [0.25, -26, 0], [0.45, -28, 0]], (6.5, 10.0)),
        AIR_HU,
        None,
        0,
    )
    yield *_rod(f, [[0.42, -32, 0], [0.62, -34, 0]], (9.0, 6.5)), AIR_HU, 110.0, 2.5
    yield *_rod(f, [[0.6, -32, 0], [1.0, -32, 0], [2.5, -40, 0]], (8.5, 9.0)), AIR_HU, 90.0, 2.0
    yield *_rod(f, [[-1.5, -60, 0], [-0.7, -58, 0], [-0.28, -60, 0]], (26.0, 12.0)), AIR_HU, 200.0, 1.5


def _lung(whole: Frame, side: int) -> tuple:
    """The tip of a lung beside the upper thoracic vertebrae."""

    def distance(f: Frame) -> np.ndarray:
        z = ((f.height - 1.75)[:, None, None] * (110.0 / 38)).astype(np.float32)
        return (
            np.sqrt(np.minimum(z, 0) ** 2 + ((f.v + 5) / 42) ** 2 + ((f.w - side * 52) / 34) ** 2) - 1
        ) * 30

    return whole.around(np.array([[1.3, -5.0, side * 52.0], [3.0, -5.0, side * 52.0]]), 52, 0), distance


def _canal(f: Frame, anatomy: Anatomy) -> Iterator[Shape]:
    """Fluid sac and cord behind the bodies, from the skull down."""
    rows = [[-0.35, 9, 0], [0.0, 13, 0], [0.25, 16, 0], [1.0, 16.5, 0], [2.5, 17, 0]]
    k = anatomy.scale
    yield *_rod(f, rows, (6.6 * k, 10.0 * k)), CSF_HU, None, 0
    yield *_rod(f, rows, (3.8 * k, 6.4 * k)), CORD_HU, None, 0
