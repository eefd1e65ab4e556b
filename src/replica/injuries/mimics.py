"""Mimics of fractures: what looks like one and is none.

They come to broken and whole spines alike, and most of them with age.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from replica.anatomy.atlas import RING_BACK_MM
from replica.anatomy.build import C7, NAMES, Anatomy
from replica.anatomy.shapes import Box, Solid, Triple, capsule, ellipsoid, slab
from replica.anatomy.vertebrae import BODY_MM, CANAL_MM, SPINOUS, pillar_at

SUBAXIAL = ("C3", "C4", "C5", "C6", "C7")
LEVELS_OF: dict[str, tuple[str, ...]] = {
    "arch_cleft": ("C1",),
    "endplate_sclerosis": SUBAXIAL,
    "facet_arthropathy": SUBAXIAL,
    "ligament_ossification": ("C3", "C4", "C5", "C6"),
    "limbus": SUBAXIAL,
    "nuchal_ossicle": ("C4", "C5", "C6", "C7"),
    "nutrient_canal": ("C2", *SUBAXIAL),
    "old_compression": SUBAXIAL,
    "old_spinous": ("C6", "C7"),
    "os_odontoideum": ("C2",),
    "osteophyte": SUBAXIAL,
    "vacuum_disc": SUBAXIAL,
    "vascular_channel": ("C2", *SUBAXIAL),
}
EVERY_MIMIC: tuple[str, ...] = tuple(sorted(LEVELS_OF))


@dataclass(frozen=True)
class Mark:
    """A mimic of a fracture as drawn, in its vertebra's frame: bone added or cut, and what fills it."""

    kind: str = ""
    bone: tuple[Solid, ...] = ()  # holes among them leave corticated edges
    dark: tuple[Solid, ...] = ()  # channels inside the bone
    dense: tuple[Solid, ...] = ()  # sclerosis
    gas: tuple[Solid, ...] = ()  # beside the bone
    loss: float = 0.0  # share of the front's height

    @property
    def solids(self) -> tuple[Solid, ...]:
        """Everything that shows where the mimic lies."""
        return self.bone + self.dark + self.dense + self.gas


@dataclass(frozen=True)
class Mimic:
    """A mimic of a fracture where it came to lie: its voxels in a box of the grid."""

    kind: str
    level: str
    part: Box
    region: np.ndarray = field(repr=False)  # bool, the box's shape
    centre_mm: Triple  # z, y, x of the grid


def draw_kinds(anatomy: Anatomy, number: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Choose a vertebra's mimics of fractures.

    Parameters
    ----------
    anatomy : Anatomy
        The patient, whose wear and narrow discs bring most of them.
    number : int
        The vertebra, 0 is C1.
    rng : numpy.random.Generator
        The vertebra's own.

    Returns
    -------
    tuple of str
        Kinds of EVERY_MIMIC, in its order; none below C7.
    """
    if number > C7:
        return ()
    name, wear = NAMES[number], min(anatomy.wear, 1.0)
    narrowed = float(1 - anatomy.disc_share[max(number - 1, 0)])
    chance = {
        "arch_cleft": 0.03, "os_odontoideum": 0.01, "nutrient_canal": 0.12, "vascular_channel": 0.15,
        "limbus": 0.02 + 0.04 * wear, "osteophyte": 0.05 * wear + 1.2 * narrowed,
        "endplate_sclerosis": 1.4 * max(narrowed - 0.2, 0), "vacuum_disc": 0.8 * max(narrowed - 0.3, 0),
        "facet_arthropathy": 0.25 * wear, "ligament_ossification": 0.05 * wear, "nuchal_ossicle": 0.12 * wear,
        "old_compression": 0.06 * wear, "old_spinous": 0.03,
    }  # fmt: skip
    dice = {kind: rng.random() for kind in EVERY_MIMIC}
    return tuple(k for k in EVERY_MIMIC if name in LEVELS_OF[k] and dice[k] < chance[k])


def draw_mark(kind: str, level: str, rng: np.random.Generator) -> Mark:
    """Shape one mimic of a fracture.

    Parameters
    ----------
    kind : str
        One of EVERY_MIMIC.
    level : str
        One of LEVELS_OF that kind.
    rng : numpy.random.Generator
        The vertebra's own.

    Returns
    -------
    Mark
        In the frame of the plain vertebra, millimetres.
    """
    maker = {
        "arch_cleft": _arch_cleft, "endplate_sclerosis": _sclerosis, "facet_arthropathy": _facet_arthropathy,
        "ligament_ossification": _ligament, "limbus": _limbus, "nuchal_ossicle": _nuchal,
        "nutrient_canal": _nutrient_canal, "old_compression": _old_compression, "old_spinous": _old_spinous,
        "os_odontoideum": _os_odontoideum, "osteophyte": _osteophyte, "vacuum_disc": _vacuum,
        "vascular_channel": _vascular_channel,
    }[kind]  # fmt: skip
    return replace(maker(level, BODY_MM.get(level, BODY_MM["C2"]), rng), kind=kind)


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _arch_cleft(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """The rear arch never closed: in the middle, or to one side; smooth ends with a cortex."""
    wide = rng.uniform(0.6, 2.0)
    if rng.random() < 0.65:
        cut = slab((0, RING_BACK_MM, rng.normal(0, 0.8)), (9, 7, wide), 0.4, hole=True)
    else:
        cut = slab((0, 12.5 + rng.normal(0, 1), 18 * _side(rng)), (9, wide, 7), 0.4, hole=True)
    return Mark(bone=(cut,))


def _os_odontoideum(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """The dens' upper part is a bone of its own."""
    return Mark(bone=(slab((rng.uniform(10.5, 13), 0, 0), (rng.uniform(0.7, 1.8), 7, 7), 0.5, hole=True),))


def _limbus(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """The body's front corner, below or above, is a bone of its own with a smooth bed."""
    depth, _, height = dims
    end = -1 if rng.random() < 0.7 else 1
    spot = (end * (0.5 * height - 1.7), -depth / 2 + 1.6, rng.normal(0, 1.5))
    radii = np.array([rng.uniform(1.4, 2.2), rng.uniform(1.5, 2.3), rng.uniform(2.5, 5.0)])
    return Mark(bone=(
        ellipsoid(spot, radii + rng.uniform(1.0, 1.6), hole=True), ellipsoid(spot, radii, blend_mm=0.1)
    ))  # fmt: skip


def _osteophyte(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """A beak at the upper plate's front edge, often one at the lower edge, at times one behind."""
    depth, width, height = dims
    grow = rng.uniform(0.6, 1.3)
    ends = [(1, -1)] + [(-1, -1)] * (rng.random() < 0.5) + [(1, 1)] * (rng.random() < 0.3)
    bone = []
    for end, way in ends:
        aside = rng.normal(0, 2.5)
        root = (end * (height / 2 - 2.0), way * (depth / 2 - 2.0), aside)
        tip = (end * (height / 2 - 0.4), way * (depth / 2 + (0.9 if way < 0 else 0.2) * grow), aside)
        bone += [
            ellipsoid(root, (2.0, 2.2, width * 0.36), blend_mm=2.0),
            ellipsoid(tip, (1.5, 1.5 * grow + 0.2, width * rng.uniform(0.16, 0.28)), blend_mm=2.2),
        ]
    return Mark(bone=tuple(bone))


def _plate(dims: Triple, deep: float) -> Solid:
    depth, width, height = dims
    return slab((height / 2 - deep / 2, 0, 0), (deep, depth / 2 - 0.5, width / 2 - 1), 1.0)


def _sclerosis(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    return Mark(dense=(_plate(dims, rng.uniform(2.5, 5)),))


def _old_compression(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """The front is lower and dense, with a spur; its cortex is whole."""
    depth, width, height = dims
    loss = float(rng.uniform(0.15, 0.38))
    edge = height / 2 * (1 - 1.6 * loss) - 2.5
    spur = ellipsoid((edge, -depth / 2 + 1.5, 0), (2.2, 2.6, width * 0.33), blend_mm=2.0)
    return Mark(bone=(spur,), dense=(_plate(dims, 4.0),), loss=loss)


def _vacuum(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """Flat clefts of gas in the disc above."""
    depth, width, height = dims
    gas = []
    for _ in range(int(rng.integers(1, 3))):
        spot = (height / 2 + 1.9 + rng.normal(0, 0.3), rng.uniform(-5, 2), rng.normal(0, 2.5))
        gas.append(ellipsoid(spot, (rng.uniform(0.5, 0.9), rng.uniform(2, 4.5), rng.uniform(2, 6))))
    return Mark(gas=tuple(gas))


def _facet_arthropathy(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """One side's pillar is thick, knobbly and dense at the joint above."""
    side = _side(rng)
    spot = pillar_at(level, int(side)) + [4.0, -2.0, 0.0]
    knobs = [
        ellipsoid(spot + [0.5 * v, v, w], rng.uniform(1.8, 3.4, 3), blend_mm=2.0)
        for v, w in rng.normal(0, [2.5, 3.8], (4, 2)) + [0, side]
    ]
    return Mark(bone=tuple(knobs), dense=(ellipsoid(spot, (4.5, 6, 6)),))


def _ligament(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """Bone in the ligament behind the bodies."""
    depth, _, height = dims
    up, down = rng.uniform(0.2, 0.9, 2) * height
    v, w = depth / 2 + rng.uniform(0.9, 1.8), rng.normal(0, 1.5)
    rod = capsule((-down, v, w), (up, v + 0.4, w), rng.uniform(1.1, 1.7), blend_mm=0.4)
    return Mark(bone=(rod, ellipsoid((0, v, w), (0.5 * height, 1.4, rng.uniform(2, 4)), blend_mm=0.6)))


def _nuchal(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    length, fall, *_ = SPINOUS[level]
    v = dims[0] / 2 + CANAL_MM + length + rng.uniform(5, 12)
    u, w = -4 - fall * length, rng.normal(0, 1.2)
    return Mark(bone=(capsule((u - rng.uniform(1, 5), v, w), (u + rng.uniform(3, 7), v + 1, w),
                              rng.uniform(1.2, 2.2), blend_mm=0.1),))  # fmt: skip


def _old_spinous(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """The end of the spinous process, torn off long ago, never grew on again."""
    length, fall, *_ = SPINOUS[level]
    along = rng.uniform(0.5, 0.75) * length
    spot = (-4 - fall * along, dims[0] / 2 + CANAL_MM + 1.5 + along, 0)
    return Mark(bone=(slab(spot, (13, rng.uniform(0.7, 1.5), 9), 0.4, lean=0.2, hole=True),))


def _nutrient_canal(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """A vessel's smooth canal along a pillar or across a lamina."""
    side, radius = _side(rng), rng.uniform(0.6, 0.95)
    pillar = pillar_at(level, int(side))
    if rng.random() < 0.5:
        way = np.array([-3.6 + rng.normal(0, 0.5), 4.5, 1.5 * side])
        middle = pillar + [rng.normal(0, 1.0), 0, 0]
    else:
        behind = RING_BACK_MM if level == "C2" else dims[0] / 2 + CANAL_MM + 1.5
        start, end = np.array([pillar[1] + 3, pillar[2] - 2.5 * side]), np.array([behind, 0.8 * side])
        along = (end - start) / np.linalg.norm(end - start)
        spot = start + rng.uniform(0.35, 0.65) * (end - start)
        way = np.array([rng.normal(0, 1.0), 4.5 * along[1], -4.5 * along[0]])
        middle = np.array([-3.3, *spot])
    return Mark(dark=(capsule(middle - way, middle + way, radius),))


def _vascular_channel(level: str, dims: Triple, rng: np.random.Generator) -> Mark:
    """A wide vein from the back wall, forked in the middle of the body."""
    back, side = dims[0] / 2, _side(rng)
    u, fork = rng.normal(0.3, 0.8), (0.2, back * rng.uniform(0.0, 0.35), 0.0)
    radius = rng.uniform(0.6, 1.1)
    rods = [capsule((u, back + 0.5, 0), fork, radius, 0.8 * radius)]
    for s in (side, -side)[: int(rng.integers(1, 3))]:
        end = (rng.normal(0, 1), -back * rng.uniform(0.2, 0.75), s * rng.uniform(2, 6))
        rods.append(capsule(fork, end, 0.8 * radius, 0.5))
    return Mark(dark=tuple(rods))


def basivertebral(level: str, seed: int) -> Solid:
    """The basivertebral vein's funnel in the middle of every body's back wall.

    Parameters
    ----------
    level : str
        C2 to C7, or T1 to T4.
    seed : int
        The vertebra's own.

    Returns
    -------
    Solid
        In the vertebra's frame.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 9]))
    depth, _, _ = BODY_MM[level]
    radii = (rng.uniform(0.7, 1.5), depth * rng.uniform(0.25, 0.42), rng.uniform(1.2, 3.0))
    return ellipsoid((rng.normal(0.3, 0.4), depth / 2, rng.normal(0, 0.6)), radii)
