"""What a scan shows below the chest's upper end: lungs, heart, liver, the lower ribs, the breastbone, the arms."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy.build import C7, Anatomy
from replica.tissue.forms import egg, mirror, oval, rod, smooth, smooth_max, stack
from replica.tissue.head import bone_ink
from replica.tissue.painter import AIR_HU, FINE_MM, NECK_MM, Form, Frame, Ink
from replica.tissue.throat import BLOOD_HU, WALL

LUNG_HU, WALL_HU, VESSEL_HU, LIVER_HU, FAT_HU = -860.0, 48.0, 20.0, 58.0, -95.0
# of the left side, from the tip down: u, v, w of the centre, radii along v and w
LUNG = np.array(
    [
        [-127.0, 0, 34, 6, 6], [-140, 0, 42, 24, 17], [-170, -3, 52, 45, 33], [-212, -6, 62, 60, 43],
        [-260, -10, 70, 74, 52.0], [-320, -12, 74, 80, 58], [-372, -10, 76, 76, 58], [-400, -8, 76, 60, 50],
    ]
)  # fmt: skip
DOME = ((-432.0, -14.0, 62.0), (84.0, 86.0, 66.0))  # of the left diaphragm: centre and radii
ARM_MM = 44.0
LOWEST_U = -480.0


def level_u(anatomy: Anatomy, number: int) -> float:
    """How far above C1 a vertebra lies in the standard patient, mm (below it: negative).

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    number : int
        The vertebra, 0 is C1.

    Returns
    -------
    float
        Standard millimetres.
    """
    heights = [anatomy.poses[n].centre[0] for n in (0, C7, number)]
    return float(NECK_MM * (heights[2] - heights[0]) / (heights[0] - heights[1]))


def lungs(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """Both lungs in their wall of muscle down to the diaphragm, with branching vessels.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    rng : numpy.random.Generator
        Of the chest.

    Yields
    ------
    Form
        In painting order.
    """
    sink, breath = rng.normal(-2, 5), rng.normal(0, 14)
    for side in (-1, 1):
        rows = LUNG.copy()
        rows[:, 0] += sink
        rows[:, 3:] *= rng.uniform(0.95, 1.05, 2)
        dome = np.array(DOME[0]) * [1, 1, side] + [breath + (8 if side < 0 else 0), 0, 0]
        yield _lung(rows, side, dome, 5.5, Ink(WALL_HU))
        yield _lung(rows, side, dome, 0.0, Ink(LUNG_HU + rng.normal(0, 20), -780.0, 2.0))
        root = np.array([-250, -20, side * 26.0])
        for _ in range(28):
            at = rng.uniform([-375, -50, 34], [-150, 40, 108])
            toward = np.array([at[0] + sink, at[1], side * at[2]])
            bend = (root + toward) / 2 + rng.normal(0, 7, 3)
            r = rng.uniform(0.8, 2.2)
            tip = 0.4 * bend + 0.6 * toward + rng.normal(0, 3, 3)
            yield from _within(rows, side, [(*bend, r), (*tip, 0.75 * r), (*toward, 0.35)])
        yield rod([(-240, -46, side * 2.0, 9), (-256, -36, side * 26.0, 8)], WALL, step_mm=FINE_MM)


def _lung(rows: np.ndarray, side: int, dome: np.ndarray, wall_mm: float, ink: Ink) -> Form:
    def distance(f: Frame) -> np.ndarray:
        d, beyond = stack(f, rows, side)
        d = smooth_max(np.maximum(d, beyond[:, None, None]), -oval(f, tuple(dome), DOME[1]))
        return d - np.float32(wall_mm)

    reach = rows[:, 3:].max(axis=0) + wall_mm + 4
    low = (rows[:, 0].min() - wall_mm, rows[:, 1].min() - reach[0])
    high = (rows[:, 0].max() + wall_mm + 4, rows[:, 1].max() + reach[0])
    across = sorted((side * (rows[:, 2].min() - 20), side * (rows[:, 2].max() + reach[1])))
    return Form((low[0], low[1], across[0]), (high[0], high[1], across[1]), distance, ink)


def _within(rows: np.ndarray, side: int, nodes: list[tuple[float, ...]]) -> Iterator[Form]:
    """A vessel, if its ends lie within the lung."""
    down = rows[::-1]
    for u, v, w, _ in nodes:
        middle_v, middle_w, rv, rw = (np.interp(u, down[:, 0], down[:, i]) for i in (1, 2, 3, 4))
        if ((v - middle_v) / rv) ** 2 + ((side * w - middle_w) / rw) ** 2 > 0.9:
            return
    yield rod(nodes, Ink(VESSEL_HU), step_mm=FINE_MM)


def organs(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """Heart, the aorta's descent, liver, spleen and stomach.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    rng : numpy.random.Generator
        Of the chest.

    Yields
    ------
    Form
        In painting order.
    """
    flesh = anatomy.flesh
    red = flesh.contrast_hu or BLOOD_HU
    large = rng.uniform(0.9, 1.15)
    yield egg((-300, -48, 10), (56 * large, 52 * large, 58 * large), Ink(FAT_HU))
    yield egg((-302, -50, 14), (48 * large, 44 * large, 50 * large), Ink(0.6 * red + 18))
    aorta = [(-240, -4, 20, 12), (-300, 8, 17, 11.5), (-380, 4, 10, 11), (LOWEST_U, -14, 4, 10)]
    yield rod(smooth(np.array(aorta, float)), Ink(red, red + 4, 1.5))
    yield rod([(-330, -34, -22, 11), (LOWEST_U, -16, -18, 11)], Ink(0.7 * red + 14))
    liver = LIVER_HU + 0.25 * flesh.contrast_hu
    yield egg((-438, -32, -60), (72, 74, 76), Ink(liver))
    yield egg((-420, 22, 92), (36, 34, 22), Ink(liver - 6))
    yield egg((-424, -44, 52), (34, 36, 34), Ink(30.0, 55.0, 3.0))
    yield egg((-412, -60, 54), (16, 14, 24), Ink(AIR_HU))


def bones(anatomy: Anatomy, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Form]:
    """The breastbone's body, the ribs from the sixth on, and the arms, up or down.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    grain : ndarray of float32, shape (GRAINS, GRAINS, GRAINS)
        Block of the marrow's grain, HU.
    rng : numpy.random.Generator
        Of the chest.

    Yields
    ------
    Form
        In painting order.
    """
    ink = bone_ink(anatomy, grain, 0.85, 0.9)

    def breastbone(f: Frame) -> np.ndarray:
        plate = np.abs(f.v + 80 - 0.22 * (f.u + 205)) - 5.0
        return np.maximum(np.maximum(plate, np.abs(f.w) - 17), np.abs(f.u + 262) - 52)

    yield Form((-316, -116, -20), (-206, -70, 20), breastbone, ink, FINE_MM)
    for number in range(6, 13):
        u = level_u(anatomy, C7 + number) + 4
        wide = 106 + 3.0 * min(number - 5, 4) - 4 * max(number - 9, 0)
        path = [(u, 34, 28, 3.0), (u - 4, 42, 64, 3.2), (u - 20, 12, wide, 3.2), (u - 42, -34, wide - 6, 3.0),
                (u - 62, -76, 0.62 * wide, 2.8)][: 5 if number < 10 else 15 - number]  # fmt: skip
        for side in (-1, 1):
            nodes = mirror(path, side) + rng.normal(0, 1.0, (len(path), 4)) * [1, 1, 1, 0]
            yield rod(smooth(nodes), ink, tall=2.6, step_mm=FINE_MM)
    for side in (-1, 1):
        shaft = [(u, v, w, 12) for u, v, w in arm(anatomy, side)[1:]]
        yield rod(shaft, bone_ink(anatomy, grain, 1.1, 3.0))


def arm(anatomy: Anatomy, side: int) -> list[tuple[float, float, float]]:
    """The upper arm's axis from the shoulder on.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    side : int
        -1 is right, 1 left.

    Returns
    -------
    list of tuple of float
        u, v, w of the shoulder, the shaft's begin and the elbow in standard millimetres.
    """
    shoulder = (-160.0 + anatomy.flesh.shrug_mm, -4.0, side * 164.0)
    if anatomy.arms_up:
        return [shoulder, (-130.0, -14.0, side * 166.0), (130.0, -40.0, side * 140.0)]
    return [shoulder, (-236.0, -8.0, side * 186.0), (LOWEST_U, 4.0, side * 204.0)]
