"""Shoulders and the chest's upper end: ribs, breastbone, clavicles, scapulae, heads of the arms, great vessels."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy.build import Anatomy
from replica.tissue.forms import Nodes, egg, mirror, rod, smooth, smooth_max
from replica.tissue.head import bone_ink
from replica.tissue.painter import FINE_MM, Form, Frame, Ink
from replica.tissue.throat import BLOOD_HU
from replica.tissue.trunk import arm

# half ribs from the spine round to the breastbone: u, v, w, radius
RIBS = (
    [(-121, 16, 26, 2.6), (-122, 12, 42, 3.2), (-127, -6, 54, 3.2), (-138, -32, 48, 3.0),
     (-152, -56, 27, 3.2)],
    [(-141, 22, 28, 2.6), (-142, 22, 50, 3.0), (-150, 6, 76, 3.0), (-166, -28, 76, 2.8),
     (-184, -60, 44, 2.8)],
    [(-163, 26, 28, 2.6), (-164, 30, 56, 3.0), (-176, 8, 90, 3.0), (-196, -28, 90, 2.8),
     (-216, -66, 50, 2.8)],
    [(-186, 30, 28, 2.6), (-188, 36, 60, 3.0), (-202, 10, 98, 3.0), (-224, -30, 98, 2.8),
     (-244, -70, 56, 2.8)],
    [(-208, 34, 28, 2.6), (-211, 40, 64, 3.0), (-226, 10, 104, 3.0),
     (-248, -30, 104, 2.8)],
)  # fmt: skip
CLAVICLE = [(-147, -64, 12, 7.5), (-144, -66, 28, 5.5), (-140, -60, 58, 4.8), (-130, -40, 98, 5.0),
            (-122, -14, 132, 5.2), (-120, -2, 148, 5.5)]  # fmt: skip


def _raised(nodes: Nodes, anatomy: Anatomy, side: int) -> np.ndarray:
    """Nodes of a shoulder bone on one side, carried along as the shoulder moves up or down."""
    moved = mirror(nodes, side)
    moved[:, 0] += anatomy.flesh.shrug_mm * np.clip((np.abs(moved[:, 2]) - 15) / 75, 0, 1)
    return moved


def chest_bones(anatomy: Anatomy, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Form]:
    """Ribs, manubrium, clavicles, scapulae and the heads of the arms.

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
    for side in (-1, 1):
        for nodes in RIBS:
            nodes = mirror(nodes, side) + rng.normal(0, 1.0, (len(nodes), 4)) * [1, 1, 1, 0]
            yield rod(smooth(nodes), ink, tall=2.2, step_mm=FINE_MM)
        yield rod(
            smooth(_raised(CLAVICLE, anatomy, side)), bone_ink(anatomy, grain, 1.0, 1.6), step_mm=FINE_MM
        )
        yield from _shoulder(anatomy, grain, side)

    def manubrium(f: Frame) -> np.ndarray:
        half = np.clip(28 - 0.25 * np.maximum(-150 - f.u, 0), 14, 28)
        plate = np.maximum(np.abs(f.v + 64 - 0.25 * (f.u + 150) + 0.004 * f.w**2) - 5.5, np.abs(f.w) - half)
        return smooth_max(plate, f.u + 148 - 0.01 * f.w**2)

    yield Form((-206, -86, -32), (-140, -54, 32), manubrium, ink, FINE_MM)


def _shoulder(anatomy: Anatomy, grain: np.ndarray, side: int) -> Iterator[Form]:
    ink, rise = bone_ink(anatomy, grain, 0.9, 1.1), anatomy.flesh.shrug_mm
    spine = [
        (-142, 62, 66, 3),
        (-136, 52, 96, 3.5),
        (-126, 34, 128, 4.5),
        (-118, 8, 156, 5.5),
        (-120, -8, 152, 5),
    ]
    yield rod(_raised(spine, anatomy, side), ink, tall=3.0, step_mm=FINE_MM)
    hook = [(-142, 6, 126, 6), (-134, -20, 122, 5), (-138, -36, 128, 4.5)]
    yield rod(_raised(hook, anatomy, side), ink, step_mm=FINE_MM)
    yield egg((-158 + rise, 4, side * 134), (18, 13, 6), ink, FINE_MM)
    yield egg((-152 + rise, -4, side * 158), (24, 24, 23), bone_ink(anatomy, grain, 0.9, 1.4), FINE_MM)
    yield rod(
        [(*at, r) for at, r in zip(arm(anatomy, side), (19, 12), strict=False)],
        bone_ink(anatomy, grain, 1.1, 3.0),
    )

    def blade(f: Frame) -> np.ndarray:
        w, u = side * f.w, f.u - rise
        sheet = np.abs(f.v - 46 + 0.42 * (w - 90) - 0.004 * (w - 100) ** 2) * 0.9 - 1.3
        inner = 66 + 0.12 * np.maximum(-u - 150, 0) - w
        outer = w - 132 + 0.45 * np.maximum(-u - 158, 0)
        return np.maximum(np.maximum(sheet, inner), np.maximum(outer, u + 128 + 0.1 * (w - 70)))

    box = sorted((side * 60.0, side * 136.0))
    yield Form((-240, 20, box[0]), (-90, 64, box[1]), blade, Ink(350.0, 950.0, 0.9, grain), FINE_MM)


def great_vessels(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """Arch of the aorta with its branches, veins to the arms, the heart's fat left as it is.

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
    arm = int(rng.choice([-1, 1]))  # the side of the injection
    for side in (-1, 1):
        a = rng.normal(0, 2)
        dark = BLOOD_HU + (0.3 * (red - BLOOD_HU) if flesh.contrast_hu else 0)
        vein_hu = 3.0 * red if flesh.contrast_hu and side == arm else dark
        artery = [(-185, -38, 10, 5), (-150, -26, 18, 4.6), (-130 + a, -14, 34, 4.4), (-134, -14, 52, 4.2),
                  (-146, -14, 90, 4)]  # fmt: skip
        yield rod(smooth(mirror(artery, side)), Ink(red))
        vein = [(-195, -46, 8, 7), (-158, -46, 20, 6.5), (-142 + a, -38, 40, 5), (-144, -26, 66, 4.8),
                (-150, -16, 100, 4.5)]  # fmt: skip
        yield rod(smooth(_raised(vein, anatomy, side)), Ink(min(vein_hu, 900.0)))
    arch = [
        (-240, -60, -16, 15),
        (-206, -52, -8, 14),
        (-196, -34, 6, 13),
        (-204, -10, 18, 12.5),
        (-245, -2, 20, 12),
    ]
    yield rod(smooth(np.array(arch, float)), Ink(red, red + 4, 1.5))
    yield rod([(-195, -48, -12, 8), (-245, -44, -26, 9)], Ink(red * 0.8 + 10))
    if flesh.calcified > 0.4:
        for _ in range(int(rng.integers(1, 6))):
            angle = rng.uniform(0, np.pi)
            at = (-196 + 13 * np.sin(angle), -34 + 10 * np.cos(angle), 8 + rng.normal(0, 6))
            yield egg(at, rng.uniform(1.0, 3.0, 3), Ink(850.0), FINE_MM)
