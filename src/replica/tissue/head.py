"""The skull's base and what it holds: vault, clivus, petrous and mastoid bone, cerebellum, fluid."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import smooth_union
from replica.tissue.forms import chain, oval, rod
from replica.tissue.painter import AIR_HU, FINE_MM, FINER_MM, Body, Form, Frame, Ink, Layer, noise, trim

BRAIN_HU, CISTERN_HU, MUCUS_HU = 35.0, 12.0, 22.0
VAULT_MM = 6.4  # thickness of the vault, thin above the ears
OCCIPUT = ((72.0, 12.0, 0.0), (59.0, 86.0, 69.0))  # centre and radii of the outer table


def bone_ink(anatomy: Anatomy, grain: np.ndarray, cortex: float = 1.0, mm: float = 1.3) -> Ink:
    """Marrow with its grain in a cortex as dense as the patient's vertebrae, or a multiple of that.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    grain : ndarray of float32, shape (GRAINS, GRAINS, GRAINS)
        Block of the marrow's grain, HU.
    cortex : float
        How many times as dense as the vertebrae's the cortex is.
    mm : float
        Thickness of the cortex.

    Returns
    -------
    Ink
        What fills the bone.
    """
    return Ink(0.9 * anatomy.cancellous_hu, cortex * anatomy.cortex_hu, mm, grain)


def skull_layers(body: Body, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Layer]:
    """The bones of the skull's base, then the air cells in them, then the brain.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    grain : ndarray of float32, shape (GRAINS, GRAINS, GRAINS)
        Block of the marrow's grain, HU.
    rng : numpy.random.Generator
        Of the skull.

    Yields
    ------
    Layer
        In painting order.
    """
    anatomy = body.anatomy
    thick = float(np.clip(np.exp(rng.normal(0, 0.24)), 0.62, 1.7))
    diploe = float(rng.uniform(0.9, 2.6))  # as a multiple of the vertebrae's marrow
    base = _base_layer(body, grain, thick, diploe)
    if base is not None:
        yield base
    yield from body.cast(_processes(anatomy, grain, rng))
    for side in (-1, 1):
        yield from body.cast([_petrous(side, anatomy, grain)])
        yield from _cells(body, side, rng)
    yield from body.cast(_ear_canals(anatomy))
    yield from body.cast(_brain(thick))
    yield from body.cast(_calcified_arteries(anatomy, rng))


def _cavity(f: Frame, thick: float) -> np.ndarray:
    """Distance to the cranial cavity: the hind fossa behind the clivus and the middle ones beside it."""
    vault = VAULT_MM * thick + 0.6  # the scalp needs its millimetres
    whole = oval(f, OCCIPUT[0], tuple(r - vault for r in OCCIPUT[1]))
    side = np.abs(f.w)
    ridge = -3 - 0.68 * (f.u - 16) + 0.48 * np.maximum(side - 8, 0)
    ridge = ridge - 5 * np.maximum(
        f.u - 64 - 0.12 * side, 0
    )  # above the orbits the cavity reaches the forehead
    hind = np.maximum(whole, (ridge - f.v) * np.float32(0.8))
    narrow = oval(f, (54, 38, 0), (40, 58, 56))  # the hind fossa tapers to the foramen
    hind = np.maximum(hind, np.where(f.u < 40, narrow, hind))
    aslant = replace(f, v=f.v - np.float32(0.4) * (side - 36), w=side)
    middle = oval(aslant, (58, -28, 37), (26, 27, 20))
    foramen = np.maximum(np.sqrt(((f.v - 14.5) / 1.12) ** 2 + f.w**2) - 14.5, np.abs(f.u - 14) - 14)
    return np.minimum(np.minimum(hind, middle), foramen)


def _base_layer(body: Body, grain: np.ndarray, thick: float, diploe: float) -> Layer | None:
    """The skull's base with its outer table as the ink's rim and its inner table as a shade."""
    lattice = body.lattice(FINE_MM, body.box((4, -82, -80), (136, 104, 80)))
    if lattice is None:
        return None
    f = body.frame(lattice)
    cavity = _cavity(f, thick)
    ink = bone_ink(body.anatomy, grain, 1.0, 1.5)
    ink = replace(ink, hu=min(diploe * ink.hu, 950.0))
    table = np.clip((2.0 - cavity) / 1.2, 0, 1) * np.float32(body.anatomy.cortex_hu - ink.hu)
    d = (_base(f, cavity, thick) * np.float32(body.k)).astype(np.float32)
    return trim(Layer(d, lattice, ink, table.astype(np.float32), inside=True))


def _base(f: Frame, cavity: np.ndarray, thick: float) -> np.ndarray:
    """Distance to the bone around the cavities: thin over the cerebellum, thick at inion and clivus."""
    outer = oval(f, *OCCIPUT)
    side = np.abs(f.w)
    crest = 4.5 * np.exp(-((side / 9) ** 2)) * np.clip((f.v - 40) / 40, 0, 1)
    depth = thick * (
        VAULT_MM + crest + 2.2 * np.exp(-(((f.u - 38) / 8) ** 2)) * np.clip((f.v - 35) / 30, 0, 1)
    )
    shell = cavity - depth
    # what lies far before the foramen belongs to throat and face: there the base ends in a slope
    floor = 14 + 0.5 * np.maximum(-f.v - 2, 0) - f.u
    shell = np.maximum(shell, np.where(f.v < 10, floor, np.minimum(floor, -1)))
    shell = np.maximum(shell, outer - (2.5 + 28 * np.clip((26 - f.v) / 30, 0, 1)))
    clivus = chain(f, [(17, -7, 0, 4.2), (36, -21, 0, 7), (52, -32, 0, 9)])
    clivus = np.maximum(clivus, side - 14)
    shell = smooth_union(shell, clivus, np.float32(3))
    for w in (-18.5, 18.5):
        shell = smooth_union(shell, oval(f, (13.5, 3, w), (6.5, 11.5, 6.8)), np.float32(4))
    return np.maximum(shell, -np.maximum(np.sqrt(((f.v - 14.5) / 1.12) ** 2 + f.w**2) - 14.5, f.u - 26))


def _processes(anatomy: Anatomy, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Form]:
    """Mastoid and styloid processes of both sides."""
    for side in (-1, 1):
        low, out = rng.normal(2, 3), rng.normal(0, 1.5)

        def mastoid(f: Frame, s: int = side, low: float = low, out: float = out) -> np.ndarray:
            body = chain(f, [(low + 7, 5, s * (52 + out), 6), (24, 9, s * (54 + out), 12.5),
                             (46, 14, s * 55, 16)])  # fmt: skip
            return np.maximum(body, s * f.w - 66 - out)

        box = sorted((side * 34.0, side * 72.0))
        yield Form(
            (low - 2, -14, box[0]), (64, 34, box[1]), mastoid, bone_ink(anatomy, grain, 0.95, 1.2), FINE_MM
        )
        length = rng.uniform(0.5, 1.4)
        tip = (14 - 26 * length, -8 - 11 * length, side * (41 - 7 * length), 1.0)
        yield rod([(16, -8, side * 41, 2.2), tip], Ink(700.0, 1000.0, 0.8), step_mm=FINER_MM)


def _petrous(side: int, anatomy: Anatomy, grain: np.ndarray) -> Form:
    """The dense wedge that houses the ear, from the clivus's side out to the mastoid."""

    def distance(f: Frame) -> np.ndarray:
        wedge = chain(f, [(34, -20, side * 13, 6), (35, -6, side * 32, 9), (36, 3, side * 50, 11)])
        return np.maximum(wedge, 19 + 0.15 * np.abs(f.w) - f.u)

    box = sorted((side * 6.0, side * 62.0))
    ink = Ink(850.0, 1.05 * anatomy.cortex_hu, 2.2, grain)
    return Form((16, -30, box[0]), (50, 18, box[1]), distance, ink, FINE_MM)


def _cells(body: Body, side: int, rng: np.random.Generator) -> Iterator[Layer]:
    """The mastoid's honeycomb: air between thin walls, in some partly filled with fluid."""
    flesh = body.anatomy.flesh
    reach = float(np.clip(flesh.aeration + rng.normal(0, 0.08), 0, 1))
    wet = rng.random() < 0.08
    box = sorted((side * 36.0, side * 70.0))
    lattice = body.lattice(FINER_MM, body.box((2, -12, box[0]), (60, 34, box[1])))
    if lattice is None or reach < 0.1:
        return
    f = body.frame(lattice)
    nodes = [(10, 5, side * 53, 4), (24, 9, side * 54, 10), (34, 4, side * 48, 9), (46, 12, side * 54, 13)]
    comb = chain(f, nodes) + np.float32(11 * (1 - reach))
    comb = np.maximum(comb, side * f.w - 63)
    walls = np.minimum(
        np.abs(noise(lattice, (5.5, 4.8, 4.8), rng)), np.abs(noise(lattice, (6.5, 4.2, 4.2), rng)) + 0.12
    )
    d = np.maximum(comb, (np.float32(0.3) - walls) * 2.2)
    antrum = oval(f, (37, 2, side * 42), (4.5, 5, 4))
    d = np.minimum(d, antrum) * np.float32(body.k)
    layer = trim(Layer(d.astype(np.float32), lattice, Ink(MUCUS_HU if wet else AIR_HU)))
    if layer is not None:
        yield layer


def _ear_canals(anatomy: Anatomy) -> Iterator[Form]:
    """The ear's outer canals and the inner ones, with the middle ear between them."""
    bony = Ink(AIR_HU, 900.0, 1.2)
    for side in (-1, 1):
        yield rod([(33, -5, side * 48, 3.4), (35, -4, side * 60, 3.4)], bony, step_mm=FINER_MM)
        yield rod(
            [(35, -4, side * 60, 3.2), (33, -2, side * 69, 3.6)], Ink(AIR_HU, 30.0, 1.5), step_mm=FINER_MM
        )
        yield rod([(36, -5, side * 41, 3.8), (31, -8, side * 40, 2.5)], Ink(AIR_HU), step_mm=FINER_MM)
        yield rod([(36, 1, side * 14, 3.0), (36, 0, side * 26, 2.2)], Ink(20.0), step_mm=FINER_MM)
        # the jugular foramen and the canal of the twelfth nerve
        yield rod([(26, 2, side * 27, 4.2), (18, -4, side * 27, 4.0)], Ink(48.0), step_mm=FINE_MM)
        yield rod([(19, 2, side * 11, 1.6), (17, -4, side * 22, 1.8)], Ink(40.0), step_mm=FINER_MM)
        carotid = [(20, -14, side * 27, 3.0), (30, -14, side * 27, 3.0), (33, -18, side * 18, 3)]
        yield rod(carotid, Ink(48.0), step_mm=FINER_MM)


def _brain(thick: float) -> Iterator[Form]:
    """Fluid along the bone and in the cisterns, cerebellum and brain stem within it."""
    low, high = (6, -80, -76), (132, 98, 76)
    yield Form(low, high, lambda f: _cavity(f, thick), Ink(CISTERN_HU))

    def tissue(f: Frame) -> np.ndarray:
        cavity = _cavity(f, thick) + 1.6
        side = np.abs(f.w)
        folds = 0.8 * np.cos(f.u * 1.7 + 0.05 * f.v * f.v / 10) * (f.u < 50)
        # the great cistern lies below the cerebellum, the tonsils reach into it
        hollow = 25 + 0.35 * np.maximum(f.v - 20, 0) - 4 * np.exp(-(((side - 9) / 5) ** 2)) - f.u
        return np.maximum(cavity + folds, hollow)

    yield Form(low, high, tissue, Ink(BRAIN_HU))
    stem = [(8, 11, 0, 5.5), (22, 7, 0, 7.0), (32, 2, 0, 9), (46, -8, 0, 13), (70, -14, 0, 16)]
    yield rod(stem, Ink(BRAIN_HU - 1))
    yield rod([(38, 14, 0, 3.0), (48, 8, 0, 5.0)], Ink(CISTERN_HU))


def _calcified_arteries(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """The vertebral arteries at the foramen, calcified in the old, bright with contrast."""
    flesh = anatomy.flesh
    for side in (-1, 1):
        nodes = [(12, 13, side * 11, 1.6), (24, -1, side * 5, 1.6), (36, -10, side * 1.0, 1.6)]
        yield rod(nodes, Ink(flesh.contrast_hu or 46.0), step_mm=FINER_MM)
        if rng.random() < 0.5 * flesh.calcified:
            yield rod([(14, 10, side * 9, 1.0), (18, 6, side * 8, 1.2)], Ink(850.0), step_mm=FINER_MM)
