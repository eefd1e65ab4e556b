"""What looks like a fracture and is none: it comes to broken and whole spines alike, and mostly with age."""

from dataclasses import dataclass, field

import numpy as np

from replica.anatomy import C7, NAMES, Anatomy
from replica.shapes import Box, Solid, capsule, ellipsoid, slab
from replica.vertebrae import BODY_MM, CANAL_MM, SPINOUS

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
EVERY_LOOKALIKE: tuple[str, ...] = tuple(sorted(LEVELS_OF))


@dataclass(frozen=True)
class Mark:
    """A look-alike as drawn, in its vertebra's frame: bone that is added or cut, and what fills it."""

    kind: str
    bone: tuple[Solid, ...] = ()  # holes among them leave corticated edges
    dark: tuple[Solid, ...] = ()  # channels inside the bone
    dense: tuple[Solid, ...] = ()  # sclerosis
    gas: tuple[Solid, ...] = ()  # beside the bone
    wedge: float = 0.0  # share of the front's height that is lost

    @property
    def solids(self) -> tuple[Solid, ...]:
        """Everything that shows where the look-alike lies."""
        return self.bone + self.dark + self.dense + self.gas


@dataclass(frozen=True)
class Lookalike:
    """A look-alike where it came to lie: its voxels in a box of the grid."""

    kind: str
    level: str
    part: Box
    region: np.ndarray = field(repr=False)  # bool, the box's shape
    centre_mm: tuple[float, float, float]  # z, y, x of the grid


def draw_kinds(anatomy: Anatomy, number: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Choose the look-alikes of vertebra `number` (0 is C1)."""
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
    dice = {kind: rng.random() for kind in EVERY_LOOKALIKE}
    return tuple(k for k in EVERY_LOOKALIKE if name in LEVELS_OF[k] and dice[k] < chance[k])


def draw_mark(kind: str, level: str, rng: np.random.Generator) -> Mark:
    """Shape one look-alike."""
    depth, width, height = BODY_MM.get(level, BODY_MM["C2"])
    side = float(rng.choice([-1.0, 1.0]))
    at = float(rng.normal(0, 1.5))
    back = depth / 2
    plate = slab((height / 2 - 1.5, 0, 0), (3.0, back - 0.5, width / 2 - 1), 1.0)
    if kind == "arch_cleft":
        cut = slab((0, 26.5, at), (9, 7, rng.uniform(1.2, 2.6)), 1.0, hole=True)
        return Mark(kind, bone=(cut,))
    if kind == "os_odontoideum":
        return Mark(kind, bone=(slab((11.5, 0, 0), (rng.uniform(1.2, 2.2), 7, 7), 1.0, hole=True),))
    if kind == "limbus":
        spot = (-0.5 * height - 0.3, -back - 1.9, at)
        return Mark(kind, bone=(ellipsoid(spot, (1.5, 1.3, rng.uniform(2, 4)), blend_mm=0.1),))
    if kind == "osteophyte":
        spot = (height / 2 - 0.5, -back - 0.5, at)
        return Mark(kind, bone=(ellipsoid(spot, (1.7, rng.uniform(2.5, 4.5), width / 2.6)),))
    if kind == "endplate_sclerosis":
        return Mark(kind, dense=(plate,))
    if kind == "vacuum_disc":
        spot = (height / 2 + 1.8, rng.uniform(-4, 1), at)
        return Mark(kind, gas=(ellipsoid(spot, (0.9, rng.uniform(3, 5.5), rng.uniform(3, 7))),))
    if kind == "facet_arthropathy":
        spot = (2.5, back + 6.5, side * (width / 2 + 5))
        return Mark(kind, bone=(ellipsoid(spot, (6.5, 6.5, 6.5), blend_mm=2),),
                    dense=(ellipsoid(spot, (6, 6, 6)),))  # fmt: skip
    if kind == "ligament_ossification":
        return Mark(kind, bone=(capsule((-9, back + 1.6, at), (7, back + 1.6, at), 1.6, blend_mm=0.1),))
    if kind == "nuchal_ossicle":
        tip = back + CANAL_MM + SPINOUS[level][0] + rng.uniform(7, 13)
        drop = -4 - SPINOUS[level][1] * SPINOUS[level][0]
        return Mark(kind, bone=(capsule((drop - 4, tip, at), (drop + 5, tip + 1, at), 1.8, blend_mm=0.1),))
    if kind == "old_spinous":
        length, fall, *_ = SPINOUS[level]
        spot = (-4 - fall * 0.6 * length, back + CANAL_MM + 1 + 0.6 * length, 0)
        return Mark(kind, bone=(slab(spot, (12, 1.2, 8), 1.0, lean=-0.3, hole=True),))
    if kind == "old_compression":
        return Mark(kind, dense=(plate,), wedge=float(rng.uniform(0.15, 0.35)))
    if kind == "nutrient_canal":
        a, b = (1.5, back + 1, side * (width / 2 - 2)), (-1.5, back + 9, side * (width / 2 + 3))
        return Mark(kind, dark=(capsule(a, b, 0.5),))
    assert kind == "vascular_channel", kind
    return Mark(kind, dark=(capsule((0.5, back, at), (0, 0.1 * back, side * 3), 0.9, 0.5),))


def basivertebral(level: str, seed: int) -> Solid:
    """The basivertebral vein's funnel in the middle of every body's back wall."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 9]))
    depth, _, _ = BODY_MM[level]
    radii = (rng.uniform(0.7, 1.5), depth * rng.uniform(0.25, 0.42), rng.uniform(1.2, 3.0))
    return ellipsoid((rng.normal(0.3, 0.4), depth / 2, rng.normal(0, 0.6)), radii)
