"""The two upper vertebrae: C1's ring around the dens' axis, and C2 with the dens and C1's seats."""

import numpy as np

from replica.anatomy.shapes import Solid, bow, capsule, ellipsoid, slab
from replica.anatomy.vertebrae import BODY_MM, Shape, body, pillar, pillar_at, spinous

SLOPE = 0.42  # the joints of C1 and C2 fall by this much to the side
RING_BACK_MM = 27.0  # behind the dens' axis


def atlas(rng: np.random.Generator) -> list[Solid]:
    """C1: two arches and two lateral masses, wide transverse processes, no body.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    list of Solid
        In the frame of the dens' axis, holes last.
    """
    gap = float(rng.uniform(0.8, 2.2))  # before the dens
    rear = RING_BACK_MM + rng.normal(0, 1.0)
    front = -4.6 - gap - 2.8
    solids = [
        bow((0.6, 4.0, 0), (4.0 - front, 19.5), -3.5, 2.6, 3.0, -1, blend_mm=3.0),
        bow((0.6, 2.0, 0), (rear - 2.0, 19.0 + rng.normal(0, 0.6)), 6.0, 2.2 + rng.normal(0, 0.2), 2.3, 1,
            blend_mm=3.0),
        ellipsoid((0.0, front - 0.8, rng.normal(0, 0.5)), (5.0, 2.9, 4.0), blend_mm=2.5),
        ellipsoid((0.0, rear + 0.8, rng.normal(0, 0.5)), (4.3, 3.0, 4.5), blend_mm=2.5),
    ]  # fmt: skip
    for s in (-1, 1):
        wide = 17.5 + rng.normal(0, 0.5)
        tip = s * (35.5 + rng.normal(0, 1.2))
        solids += [
            slab((1.0, 0.8, s * wide), (8.0, 8.6 + rng.normal(0, 0.4), 7.4), 4.8, tilt=s * SLOPE, blend_mm=2.5),
            ellipsoid((4.4, 1.5, s * (wide + 2.5)), (11.4, 9.5, 5.2), blend_mm=3.0),
            capsule((-1.0, -1.0, s * 22), (-2.5 + rng.normal(0, 0.7), 0.5, tip), 2.5, 2.9, tall=1.4,
                    blend_mm=2.5),
            capsule((-0.5, 7.0, s * 21), (-2.5, 2.5, tip), 2.3, 3.0, tall=1.2, blend_mm=2.5),
        ]  # fmt: skip
    for s in (-1, 1):
        solids += [
            # seats of the occiput's condyles
            ellipsoid((12.5, 1.0, s * 15.0), (7.0, 11.5, 7.3), hole=True),
            capsule((-9, 2.0, s * 28.0), (9, 2.0, s * 28.0), 3.0 + rng.normal(0, 0.2), hole=True),
            # the artery's groove behind the lateral mass
            capsule((5.2, 11.5, s * 12), (4.6, 12.5, s * 26), 2.4, hole=True),
        ]
    return solids


def axis(shape: Shape, rng: np.random.Generator) -> list[Solid]:
    """C2: body, dens, sloping shoulders for C1, broad laminae, the stout split spinous process.

    Parameters
    ----------
    shape : Shape
        What changes the plain vertebra.
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    list of Solid
        In the body's frame; holes lie among them.
    """
    high = 22.4 + rng.normal(0, 0.8)
    lean = rng.normal(0, 0.6)
    waist = 4.7 + rng.normal(0, 0.2)
    solids = [
        body(BODY_MM["C2"], shape.wedge, 0.0, rng),
        capsule((5, 0.3, 0), (11.0, 0.0, 0), 5.5, waist, blend_mm=2.5),
        capsule((11.0, 0.0, 0), (high - 4.6, 0.6 + lean, 0.3 * lean), waist, 5.0, blend_mm=2.0),
    ]
    for s in (-1, 1):
        pu, pv, pw = pillar_at("C2", s)
        out = 13.5 + rng.normal(0, 0.3)
        root = (-4.0, 27.0, s * 1.5)
        solids += [
            slab((5.0, 3.6, s * out), (5.0, 7.4, 7.6), 4.6, lean=0.1, tilt=s * SLOPE, blend_mm=2.0),
            capsule((2.0, 5.0, s * 13.0), (-3.0, pv - 1, pw - s), 3.7, 4.0, tall=1.2, blend_mm=3.0),
            ellipsoid((-0.5, 2.4, s * 8.5), (5.5, 5.4, 4.2), blend_mm=2.0),
            pillar("C2", s, shape, rng),
            capsule((-4.0, pv + 3, s * 14.0), root, 2.3, 2.7, tall=4.6, lean=0.35, blend_mm=3.0),
            capsule((-1.5, 5.5, s * 16.0), (-7, 4.5 + rng.normal(0, 0.6), s * 25.5), 3.0, 2.6, blend_mm=2.5),
            capsule((-14, 3.0, s * 17.8), (14, 3.6, s * 19.2), 2.7, hole=True),
        ]
    return solids + spinous("C2", (-5.0, 27.0, 0.0), rng)
