"""Fractures as they are drawn: which kinds, how severe, where the cuts run, what moved.

Kinds follow the usual classifications: Jefferson for C1, Anderson and D'Alonzo for the dens, Levine and Edwards
for the hangman's, compression, burst and teardrop for the bodies below.
"""

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from replica.anatomy.shapes import Triple, triple
from replica.anatomy.vertebrae import BODY_MM, CANAL_MM, SPINOUS

# kind and weight by level; C3 stands for C3-C5
KINDS = {
    "C1": {"ring_burst": 0.4, "posterior_arch": 0.35, "lateral_mass": 0.25},
    "C2": {"dens": 0.5, "hangman": 0.2, "teardrop": 0.12, "lamina": 0.08, "body_line": 0.1},
    "C3": {"body_line": 0.15, "burst": 0.1, "compression": 0.15, "teardrop": 0.15, "facet": 0.2,
           "lamina": 0.15, "transverse": 0.1},
    "C6": {"body_line": 0.1, "burst": 0.1, "compression": 0.13, "teardrop": 0.07, "facet": 0.2,
           "lamina": 0.12, "transverse": 0.13, "spinous": 0.15},
    "C7": {"body_line": 0.08, "burst": 0.05, "compression": 0.13, "facet": 0.18, "lamina": 0.1,
           "transverse": 0.21, "spinous": 0.25},
}  # fmt: skip
EVERY_KIND = tuple(sorted({kind for kinds in KINDS.values() for kind in kinds}))
# what bends a neck breaks neighbouring levels in the same way
MECHANISMS = {
    "flexion": ("compression", "burst", "teardrop", "spinous", "dens", "facet"),
    "extension": ("teardrop", "hangman", "lamina", "posterior_arch", "spinous", "dens"),
    "rotation": ("facet", "transverse", "lamina", "lateral_mass", "body_line"),
    "load": ("burst", "ring_burst", "body_line", "compression", "lateral_mass"),
}
FAVOUR = 4.0  # how much likelier the mechanism's kinds are
ALIKE = 0.75  # correlation of the severities of one patient's levels


@dataclass(frozen=True)
class Cut:
    """A wavy fracture surface: where, which way, how far, how wide, and where the piece went."""

    point: Triple  # u, v, w mm
    normal: Triple  # towards the fragment
    reach_mm: float
    gap_mm: float
    shift: Triple = (0.0, 0.0, 0.0)  # of the fragment, u, v, w mm
    pressed: float = 0.0  # share of a band beside the cut in which struts are pressed together
    buckle_mm: float = 0.0  # the cortex bulges beside the cut


@dataclass(frozen=True)
class Injury:
    """One level's fracture, and further ones of the same level."""

    level: str
    kind: str
    severity: float
    cuts: tuple[Cut, ...]
    loss: float = 0.0  # share of the front's height
    also: tuple["Injury", ...] = ()

    @property
    def parts(self) -> tuple["Injury", ...]:
        """Every fracture of the level on its own."""
        return replace(self, also=()), *self.also

    @property
    def wedge(self) -> float:
        """Loss of height in front that the level's fractures add up to (share)."""
        return max(part.loss for part in self.parts)


Rng = np.random.Generator
Cuts = tuple[list[Cut], float]  # and the share of the front's height that is lost


def draw_injuries(
    levels: list[str], severity: tuple[float, float], rng: np.random.Generator
) -> dict[str, Injury]:
    """Break a patient's levels by one mechanism: severities go together, kinds are of a family.

    Parameters
    ----------
    levels : list of str
        The levels to break, C1 to C7.
    severity : tuple of float
        Lowest and highest value; each level's is uniform between them.
    rng : numpy.random.Generator
        The study's own.

    Returns
    -------
    dict of str to Injury
        By level.
    """
    mechanism = MECHANISMS[str(rng.choice(list(MECHANISMS)))]
    common = rng.standard_normal()
    injuries = {}
    for level in levels:
        own = np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * rng.standard_normal()
        value = severity[0] + (severity[1] - severity[0]) * NormalDist().cdf(own)
        first = draw_injury(level, value, rng, _kind(level, mechanism, (), rng))
        also: list[Injury] = []
        dice = rng.random(2)
        for share in dice[: 1 + int(dice[0] < 0.1)]:
            if share < 0.12 + 0.33 * min(value, 1.0):
                kind = _kind(level, mechanism, (first.kind, *(a.kind for a in also)), rng)
                lesser = severity[0] + (value - severity[0]) * rng.uniform(0.5, 1.0)
                also.append(draw_injury(level, lesser, rng, kind))
        injuries[level] = replace(first, also=tuple(also))
    return injuries


def kinds_at(level: str) -> dict[str, float]:
    """The kinds that happen at a level, with their weights.

    Parameters
    ----------
    level : str
        C1 to C7.

    Returns
    -------
    dict of str to float
        Weight by kind; the weights of a level sum to 1.
    """
    return KINDS["C3" if level in ("C4", "C5") else level]


def _kind(level: str, mechanism: tuple[str, ...], taken: tuple[str, ...], rng: np.random.Generator) -> str:
    kinds = {k: w * (FAVOUR if k in mechanism else 1) for k, w in kinds_at(level).items() if k not in taken}
    weights = np.array(list(kinds.values()))
    return str(rng.choice(list(kinds), p=weights / weights.sum()))


def draw_injury(level: str, severity: float, rng: np.random.Generator, kind: str | None = None) -> Injury:
    """Shape a fracture of one level; severity widens, moves and extends it.

    Parameters
    ----------
    level : str
        C1 to C7.
    severity : float
        0 a hairline, 1 a gaping fracture; above 1 a caricature.
    rng : numpy.random.Generator
        The study's own.
    kind : str, optional
        One that happens at this level; by default it is drawn.

    Returns
    -------
    Injury
        One fracture, with side cracks.
    """
    kind = _kind(level, (), (), rng) if kind is None else kind
    side = float(rng.choice([-1.0, 1.0]))
    gap = 0.45 + 2.8 * severity
    shift = max(0.0, severity - 0.25) * 4.5
    maker = {
        "ring_burst": _ring_burst, "posterior_arch": _posterior_arch, "lateral_mass": _lateral_mass,
        "dens": _dens, "hangman": _hangman, "teardrop": _teardrop, "lamina": _lamina, "body_line": _body_line,
        "compression": _compression, "facet": _facet, "transverse": _transverse, "spinous": _spinous,
        "burst": _burst,
    }[kind]  # fmt: skip
    cuts, loss = maker(level, gap, shift, side, severity, rng)
    return Injury(level, kind, severity, (*cuts, *_branches(cuts, severity, rng)), loss)


def _branches(cuts: list[Cut], severity: float, rng: np.random.Generator) -> list[Cut]:
    """Short side cracks that start at a cut and run away from it."""
    branches = []
    for cut in cuts:
        dice, aside = rng.random(), rng.standard_normal(3)
        if dice > 0.25 + 0.5 * min(severity, 1.0):
            continue
        normal = np.array(cut.normal) / np.linalg.norm(cut.normal)
        aside -= normal * (aside @ normal)
        aside /= np.linalg.norm(aside)
        along = np.cross(normal, aside)
        reach = cut.reach_mm * rng.uniform(0.3, 0.5)
        point = (
            np.array(cut.point) + 0.3 * cut.reach_mm * aside + rng.choice([-1.0, 1.0]) * 0.8 * reach * normal
        )
        lean = along + rng.normal(0, 0.5) * normal
        branches.append(Cut(triple(point), triple(lean), reach, 0.3 + 0.35 * (cut.gap_mm - 0.3)))
    return branches


def _ring_burst(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """Jefferson: two breaks of the rear arch and one or two of the front arch; the masses move apart."""
    v = 14.5 + rng.normal(0, 1.2)
    cuts = [
        Cut((0.5, v, 16.5 * side), (0, 0.9, 0.3 * side), 9, gap, (0, 0.5 * shift, 0)),
        Cut((0.5, v + 1, -16.0 * side), (0, 0.9, -0.3 * side), 9, gap, (0, 0.3 * shift, 0)),
        Cut((0.5, -8.0, (6.5 + rng.normal(0, 1)) * side), (0, 0.2, side), 8, gap),
    ]
    if severity > 0.5:
        cuts.append(Cut((0.5, -8.0, -7.0 * side), (0, 0.2, -side), 8, gap))
    return cuts[: 2 if severity < 0.12 and side > 0 else None], 0.0


def _posterior_arch(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    return [
        Cut((1.0, 12.5 + rng.normal(0, 1.5), 17.0 * s), (0.2, 0.95, 0), 9, gap,
            (-0.3 * shift, 0.5 * shift, 0))
        for s in ((-1, 1) if severity > 0.3 or side > 0 else (1,))
    ], 0.0  # fmt: skip


def _lateral_mass(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    normal = (0.1, 0.3 + rng.normal(0, 0.2), side)
    return [
        Cut((0, 1.0 + rng.normal(0, 1.5), 18.5 * side), normal, 14, gap, (-0.4 * shift, 0, 0.7 * shift))
    ], 0.0


def _dens(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """Type II through the base of the dens, type III into the body."""
    height = 9.5 + rng.normal(0, 0.6) if rng.random() < 0.62 else 4.5 + rng.normal(0, 0.8)
    gap *= 1.25  # it lies flat, and slices are thicker than pixels are wide
    normal = (1.0, rng.normal(0, 0.2), rng.normal(0, 0.1))
    return [Cut((height, 0, 0), normal, 11, gap, (0.15 * shift, side * 0.9 * shift, 0))], 0.0


def _hangman(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    return [
        Cut((-1.0, 10.0 + rng.normal(0, 1.0), 14.0 * s), (0.25, 1.0, 0.1 * s), 11, gap,
            (0, 0.5 * shift + 0.3, 0))
        for s in (-1, 1)
    ], 0.0  # fmt: skip


def _teardrop(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    depth, _, height = BODY_MM[level]
    point = (-0.28 * height, -0.22 * depth, rng.normal(0, 1))
    normal = (-0.75 + rng.normal(0, 0.12), -0.8, 0.1 * side)
    return [Cut(point, normal, 14, gap, (-0.5 * shift, -0.9 * shift, 0))], 0.0


def _lamina(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    depth, width, _ = BODY_MM[level]
    if level == "C2":
        point = (-4.0, 22.5, 7.5 * side)
    else:
        point = (-3.0, depth / 2 + 0.84 * CANAL_MM, (0.25 * width + 1.5 + rng.normal(0, 1)) * side)
    return [Cut(point, (0.1 + rng.normal(0, 0.2), 0.5, -0.85 * side), 11, gap, (0, 0.7 * shift, 0))], 0.0


def _body_line(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """Through the body from top to bottom, in the sagittal or the coronal plane, or aslant."""
    angle = rng.uniform(0, np.pi)
    normal = (rng.normal(0, 0.35), np.cos(angle), np.sin(angle))
    point = (0.0, rng.uniform(-2, 2), rng.uniform(-3, 3))
    push = 0.45 * shift
    return [Cut(point, normal, 13 + 3 * severity, gap, (0, push * normal[1], push * normal[2]))], 0.0


def _compression(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """The front loses height, the upper plate breaks in, struts are pressed together below it."""
    depth, _, height = BODY_MM[level]
    point = (0.12 * height + rng.normal(0, 0.5), -0.2 * depth, 0.0)
    cut = Cut(point, (1.0, 0.25, 0.1 * side), 9 + 3 * severity, 0.8 * gap, (0, -0.4 * shift, 0),
              pressed=0.45 + 0.4 * min(severity, 1.0), buckle_mm=0.4 + 1.2 * severity)  # fmt: skip
    return [cut], 0.1 + 0.3 * severity


def _burst(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """Body in pieces: the back wall moves into the canal, a split runs from plate to plate."""
    depth, _, height = BODY_MM[level]
    return [
        Cut((0.15 * height, 0.22 * depth, rng.normal(0, 1.5)), (0.35, 1.0, 0.1 * side), 9.5, gap,
            (0, 0.5 * shift, 0)),
        Cut((0, -1.0, rng.normal(0, 2)), (rng.normal(0, 0.2), 0.25 * side, 1.0), 12, 0.8 * gap,
            (0, 0, 0.3 * shift)),
        Cut((0.2 * height, -0.2 * depth, 0), (1.0, -0.3, 0.2 * side), 9, 0.6 * gap, pressed=0.4,
            buckle_mm=0.3 + 0.6 * severity),
    ], 0.06 + 0.16 * severity  # fmt: skip


def _facet(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """Through the pillar, or the tip of its upper joint surface off."""
    depth, width, _ = BODY_MM[level]
    up, back = (1.0, 7.0) if rng.random() < 0.6 else (4.5, 4.0)
    point = (up, depth / 2 + back, (width / 2 + 4.8) * side)
    normal = (1.0, -0.35 + rng.normal(0, 0.25), 0.3 * side)
    return [Cut(point, normal, 9.5, gap, (0.5 * shift, -0.5 * shift, 0))], 0.0


def _transverse(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    _, width, _ = BODY_MM[level]
    v, out = (9.0, 9.0) if level == "C7" else (3.0, 4.6)
    point = (-2.0, v, (width / 2 + out + rng.normal(0, 0.5)) * side)
    return [Cut(point, (-0.1, rng.normal(0, 0.2), side), 11, gap, (-0.6 * shift, 0, 0.4 * shift))], 0.0


def _spinous(level: str, gap: float, shift: float, side: float, severity: float, rng: Rng) -> Cuts:
    """The clay-shoveler's: the end of the spinous process is torn down."""
    depth, _, _ = BODY_MM[level]
    length, fall, *_ = SPINOUS[level]
    along = rng.uniform(0.3, 0.65) * length
    point = (-4 - fall * along, depth / 2 + CANAL_MM + 1.5 + along, 0.0)
    return [Cut(point, (-0.35 + rng.normal(0, 0.15), 1.0, 0.1 * side), 24, gap,
                (-1.0 * shift, 0.2 * shift, 0))], 0.0  # fmt: skip
