"""Airway, larynx, gullet, glands, vessels and nodes of the neck, and the canal's contents."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy.build import Anatomy
from replica.tissue.forms import egg, mirror, rod, tube
from replica.tissue.painter import AIR_HU, FINE_MM, FINER_MM, Form, Frame, Ink

BLOOD_HU, CORD_HU, CSF_HU, EPIDURAL_HU, WALL_HU = 45.0, 36.0, 14.0, -55.0, 58.0
NODE_HU, CALCIUM_HU, CARTILAGE_HU = 48.0, 1000.0, 105.0
WALL = Ink(AIR_HU, WALL_HU, 2.6)  # air within a lining of mucosa
# u; v of the centre, radii in v and w with the wall of 2.6 mm: from the back of the nose to the carina
AIRWAY = np.array(
    [
        [30, -33, 6, 9], [22, -31, 10, 12], [12, -25, 8, 12], [2, -20.5, 4.5, 11], [-8, -18.5, 4.2, 10],
        [-20, -18, 6, 11], [-34, -17.8, 7, 12], [-46, -19.4, 8, 13], [-54, -23, 6.5, 9], [-62, -26, 7.5, 6],
        [-68, -29, 9.5, 5.6], [-72, -29.5, 10, 4.6], [-78, -29.5, 9.8, 7], [-86, -30, 9.8, 9.2],
        [-98, -30.5, 9.6, 10.2], [-130, -32.5, 9.6, 10.6], [-165, -37, 9.8, 10.8],
        [-240, -46, 10.2, 11.2],
    ]
)  # fmt: skip


def airway_rows(anatomy: Anatomy) -> np.ndarray:
    """This patient's airway from the nose to the carina.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.

    Returns
    -------
    ndarray of float, shape (18, 5)
        u, v, w, radius along v and radius along w in millimetres, from head to feet.
    """
    flesh = anatomy.flesh
    rows = AIRWAY.copy()
    low = np.clip((-rows[:, 0] - 20) / 30, 0, 1)
    rows[:, 0] -= flesh.throat_mm * low
    rows[:, 2:] *= np.where(rows[:, 0] > -50, flesh.airway, 0.5 + 0.5 * flesh.airway)[:, None]
    aside = np.interp(rows[:, 0], [-170, -100, -60], [2.5, 1.0, 0.0])
    return np.c_[rows[:, :2], aside, rows[:, 2:]]


def airway(anatomy: Anatomy) -> Iterator[Form]:
    """The air from the pharynx to the trachea, with the pouches beside it.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.

    Yields
    ------
    Form
        In painting order.
    """
    flesh, lower = anatomy.flesh, anatomy.flesh.throat_mm
    rows = airway_rows(anatomy)
    for side in (-1, 1):
        nodes = mirror([(-45 - lower, -32, 6, 3.4), (-52 - lower, -34, 5, 3.0)], side)
        yield rod(nodes, WALL, step_mm=FINE_MM)
        nodes = mirror([(-56 - lower, -21, 11, 2.6), (-72 - lower, -22, 12, 1.6)], side)
        yield rod(nodes, WALL, tall=1.0, step_mm=FINE_MM)
    yield tube(rows, WALL, FINE_MM)
    yield rod([(24, -52, 0, 9), (21, -32, 0, 9.5)], Ink(AIR_HU), step_mm=FINE_MM)  # the nose opens into it
    yield _epiglottis(lower, flesh.airway)
    for side in (-1, 1):
        # the vocal and the vestibular folds stand out into the air
        fold = mirror([(-66 - lower, -24, 8, 1.3), (-66 - lower, -38, 4, 1.3)], side)
        yield rod(fold, Ink(WALL_HU), step_mm=FINER_MM)


def _epiglottis(lower: float, wide: float) -> Form:
    """A thin leaf that rises from the thyroid cartilage behind the tongue."""

    def distance(f: Frame) -> np.ndarray:
        rise = f.u + 62 + lower  # 0 at its stem, 24 at its tip
        sheet = f.v + 33 - np.float32(0.42) * rise + np.float32(0.03) * f.w**2 - 0.004 * rise**2
        half = np.clip(2.5 + 0.42 * rise, 1, 9.5 * wide)
        return np.maximum(np.maximum(np.abs(sheet) - 1.1, np.abs(f.w) - half), np.abs(rise - 12) - 12)

    return Form((-64 - lower, -40, -13), (-36 - lower, -14, 13), distance, Ink(62.0), FINER_MM)


def cartilages(anatomy: Anatomy, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Form]:
    """Hyoid bone, the thyroid cartilage's shield, the cricoid's signet ring and the trachea's rings.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    grain : ndarray of float32, shape (GRAINS, GRAINS, GRAINS)
        Block of the marrow's grain, HU.
    rng : numpy.random.Generator
        Of the throat.

    Yields
    ------
    Form
        In painting order.
    """
    flesh, lower = anatomy.flesh, anatomy.flesh.throat_mm
    hyoid = [(-43, -25, 21, 1.7), (-46, -36, 18, 2.1), (-48, -44, 11, 2.6), (-48.5, -47.5, 0, 3.0)]
    for side in (-1, 1):
        nodes = mirror(hyoid, side) - [lower, 0, 0, 0] + rng.normal(0, 0.5, 4) * [1, 1, 1, 0.3]
        yield rod(nodes, Ink(230.0, 900.0, 1.0, grain), tall=1.2, step_mm=FINER_MM)
    # a young larynx is grey cartilage; with age it turns into a bright shell around fatty marrow
    old = flesh.calcified
    shield = Ink(CARTILAGE_HU - 60 * old, CARTILAGE_HU + 650 * old, 0.9, grain * np.float32(old))
    for side in (-1, 1):
        open_, top, low = rng.normal(0, 1.5, 3)
        yield _shield(side, lower, (21 + open_, -57 + 0.4 * top, -82 + 0.4 * low), shield)
    ring = Ink(CARTILAGE_HU - 60 * old, CARTILAGE_HU + 600 * old, 0.9, grain * np.float32(old))
    yield _cricoid(airway_rows(anatomy), lower, ring)
    yield _rings(airway_rows(anatomy), lower, Ink(95.0 + 130 * old))


def _shield(side: int, lower: float, extent: tuple[float, float, float], ink: Ink) -> Form:
    """One plate of the thyroid cartilage: from the front edge in the middle to its horns behind."""
    back, top, low = extent

    def distance(f: Frame) -> np.ndarray:
        w = side * f.w
        along = np.clip((f.v + 49) / 27, 0, 1)
        plate = np.abs(w - back * along**0.7) * np.float32(0.85) - 1.5
        upper = f.u - (top - lower) - 9 * np.clip(along - 0.85, 0, 1) * 6 + 5 * np.clip(0.3 - along, 0, 1) * 3
        lower_edge = (low - lower) - f.u + 3 * along - 8 * np.clip(along - 0.9, 0, 1) * 6
        ends = np.maximum(-49 - f.v, f.v + 22)
        return np.maximum(np.maximum(plate, ends), np.maximum(upper, lower_edge))

    box = sorted((-2.0 * side, 27.0 * side))
    return Form((-98 - lower, -53, box[0]), (-45 - lower, -18, box[1]), distance, ink, FINER_MM)


def _cricoid(rows: np.ndarray, lower: float, ink: Ink) -> Form:
    def distance(f: Frame) -> np.ndarray:
        r = np.sqrt(((f.v + 29.5) / 1.05) ** 2 + (f.w - 0.5) ** 2)
        behind = np.clip((f.v + 29.5) / 10, -1, 1)
        tall = np.abs(f.u + 87 + lower - 3.5 * (behind + 1)) - (3.0 + 3.6 * np.clip(behind + 0.4, 0, 1.4))
        return np.maximum(np.abs(r - 11.2) - 1.8, tall)

    return Form((-96 - lower, -46, -15), (-70 - lower, -13, 16), distance, ink, FINER_MM)


def _rings(rows: np.ndarray, lower: float, ink: Ink) -> Form:
    """The trachea's rings: open behind, one every four millimetres."""
    down = rows[::-1]

    def distance(f: Frame) -> np.ndarray:
        v = np.interp(f.level, down[:, 0], down[:, 1])[:, None, None].astype(np.float32)
        w = np.interp(f.level, down[:, 0], down[:, 2])[:, None, None].astype(np.float32)
        rv = np.interp(f.level, down[:, 0], down[:, 3])[:, None, None].astype(np.float32)
        rw = np.interp(f.level, down[:, 0], down[:, 4])[:, None, None].astype(np.float32)
        r = np.sqrt(((f.v - v) / (rv - 0.4)) ** 2 + ((f.w - w) / (rw - 0.4)) ** 2)
        wall = np.abs(r - 1) * 10 - 0.6 - 0.4 * np.cos(f.u * np.float32(2 * np.pi / 4.4))
        return np.maximum(np.maximum(wall, f.v - v - 0.6 * rv), f.u + 95 + lower)

    return Form((-240, -62, -16), (-94 - lower, -16, 20), distance, ink, FINE_MM)


def gullet_and_glands(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """Gullet with a bubble of air, thyroid, parotid and submandibular glands, lymph nodes.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    rng : numpy.random.Generator
        Of the throat.

    Yields
    ------
    Form
        In painting order.
    """
    flesh = anatomy.flesh
    lower = flesh.throat_mm
    gullet = [(-86, -16, 1, 3, 8), (-105, -15.5, 3, 4, 7.5), (-140, -18, 5, 5, 7.5), (-240, -26, 6, 6, 8)]
    yield tube(np.array(gullet) - [lower, 0, 0, 0, 0], Ink(42.0))
    for _ in range(int(rng.integers(0, 4))):
        at = (rng.uniform(-190, -95), -16 + rng.normal(0, 0.5), 3.5 + rng.normal(0, 1.5))
        yield egg(at, (rng.uniform(3, 12), rng.uniform(0.8, 2.4), rng.uniform(1, 3.2)), Ink(AIR_HU), FINER_MM)
    bright = flesh.thyroid_hu + (70 if flesh.contrast_hu else 0)
    for side in (-1, 1):
        thick, length = rng.uniform(0.75, 1.25), rng.uniform(0.8, 1.2)
        left = [(-76, -28, 17, 3), (-92, -27, 18, 7 * thick), (-104, -26, 18, 8 * thick), (-116, -26, 17, 4)]
        lobe = mirror(left, side) * [1, 1, 1, length] - [lower, 0, 0, 0]
        yield rod(lobe, Ink(bright), tall=3.0)
        if rng.random() < 0.25:
            nodule = lobe[rng.integers(1, 3), :3] + rng.normal(0, 2, 3)
            yield egg(nodule, rng.uniform(2, 5, 3), Ink(bright - rng.uniform(30, 70)))
        fat = flesh.gland_hu
        yield egg((2, -10, side * 55), (23, 13 * rng.uniform(0.85, 1.2), 8.5), Ink(fat))
        yield rod(mirror([(2, -17, 46, 8), (-14, -14, 52, 8)], side), Ink(fat))
        yield egg((-40, -46, side * 32), (10, 13, 8 * rng.uniform(0.8, 1.2)), Ink(fat + 26))
        for _ in range(int(rng.integers(3, 9))):
            u = rng.uniform(-110, -15)
            at = (u, rng.uniform(-22, 4), side * rng.uniform(34, 46))
            yield egg(at, rng.uniform(2, 4.5, 3) * [1.6, 1, 0.8], Ink(NODE_HU))
    yield rod(
        [(-98 - lower, -38, -14, 3), (-99 - lower, -41, 0, 2.2), (-98 - lower, -38, 14, 3)], Ink(bright), 4.0
    )


def vessels(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """Carotid and vertebral arteries, jugular veins; the old's carotids are calcified where they fork.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    rng : numpy.random.Generator
        Of the throat.

    Yields
    ------
    Form
        In painting order.
    """
    flesh = anatomy.flesh
    red = flesh.contrast_hu or BLOOD_HU
    blue = BLOOD_HU + 0.55 * rng.uniform(0.2, 1) * (red - BLOOD_HU)
    big = rng.choice([-1, 1])  # one jugular vein is the larger
    for side in (-1, 1):
        a, b, fork = rng.normal(0, 1.5), rng.normal(0, 1.5), rng.uniform(-70, -50)
        common = [(-240, -28, 12, 4), (-140, -27 + a, 20, 3.8), (-95, -20 + a, 25, 3.6),
                  (fork, -17 + a, 26, 3.9)]  # fmt: skip
        yield rod(mirror(common, side), Ink(red))
        inner = [(fork, -16 + a, 27, 3.4), (fork + 14, -13, 28 + b, 2.9), (-10, -13, 25 + b, 2.5),
                 (26, -12, 26, 2.5)]  # fmt: skip
        yield rod(mirror(inner, side), Ink(red))
        outer = [(fork, -18 + a, 26, 2.6), (fork + 16, -26, 29, 2.2), (0, -24, 44, 1.7), (20, -20, 50, 1.4)]
        yield rod(mirror(outer, side), Ink(red))
        wide = rng.uniform(4.5, 7.5) * (1.25 if side == big else 0.85)
        vein = [(28, -6, 27, 3), (0, -6, 32, 0.7 * wide), (-60, -10 + b, 35, wide), (-120, -22, 33, wide),
                (-150, -34, 24, wide)]  # fmt: skip
        yield rod(mirror(vein, side), Ink(blue))
        thin = [(-10, 0, 58, 1.5), (-60, -4 + a, 54, 2.0), (-125, -12, 48, 2.2)]
        yield rod(mirror(thin, side), Ink(blue))
        spine = [(-150, -22, 24, 1.7), (-100, -8, 17, 1.7), (-80, -3, 15, 1.7), (-18, -3, 17, 1.7),
                 (-4, 0, 29, 1.7), (7, 14, 26, 1.7), (14, 16, 12, 1.7)]  # fmt: skip
        yield rod(mirror(spine, side), Ink(red))
        for _ in range(int(rng.poisson(3.0 * flesh.calcified**2))):
            at = np.array([fork + rng.normal(0, 5), -16 + a, side * 26.5]) + rng.normal(0, 2.2, 3)
            yield egg(at, rng.uniform(0.7, 2.0, 3) * [2, 1, 1], Ink(CALCIUM_HU), FINER_MM)


def canal(anatomy: Anatomy) -> Iterator[Form]:
    """Epidural fat, fluid and cord behind the bodies, the nuchal ligament behind the spines.

    Parameters
    ----------
    anatomy : Anatomy
        The patient; the standard patient's canal fits all.

    Yields
    ------
    Form
        In painting order.
    """
    rows = np.array(
        [[40, 2, 0], [24, 6, 0], [10, 10, 0], [-2, 13, 0], [-26, 16, 0], [-107, 16.5, 0], [-260, 17, 0]]
    )

    def inner(v: float, w: float, low: float) -> np.ndarray:
        return np.c_[rows, np.full(len(rows), v), np.full(len(rows), w)][int(low) :]

    yield tube(inner(7.6, 11.0, 3), Ink(EPIDURAL_HU))
    yield tube(inner(6.4, 9.6, 2), Ink(CSF_HU))
    yield tube(inner(3.7, 6.0, 0), Ink(CORD_HU), FINE_MM)

    def nuchal(f: Frame) -> np.ndarray:
        return np.maximum(np.abs(f.w) - 0.8, np.maximum(np.abs(f.v - 47) - 12, np.abs(f.u + 45) - 65))

    yield Form((-112, 34, -3), (22, 60, 3), nuchal, Ink(25.0), FINE_MM)
