"""Paints vertebrae over the soft tissue: cortex, marrow and its grain, joints, mimics, fractures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from replica.anatomy.atlas import atlas, axis
from replica.anatomy.build import NAMES, Anatomy, Pose
from replica.anatomy.shapes import Box, Grid, LocalField, Solid, Triple, coverage, frame_box, triple
from replica.anatomy.texture import Texture, lookup_at
from replica.anatomy.vertebrae import (
    BODY_MM,
    FACET_LEAN,
    JOINT_MM,
    Shape,
    disc,
    pillar_at,
    rib,
    scaled,
    typical,
)
from replica.injuries.breaks import break_bone
from replica.injuries.fractures import Injury
from replica.injuries.mimics import Mark, Mimic, basivertebral, draw_kinds, draw_mark
from replica.tissue.painter import AIR_HU
from replica.tissue.throat import BLOOD_HU

RIM_MM = 4.0
SURFACE_MM, SWELL_MM = 0.22, 0.45  # how uneven a bone's surface is, close up and at large
CANAL_WALL, CANAL_WALL_MM, VEIN = 0.6, 0.7, 0.75  # a vessel's cortex; how empty a vein's funnel is
DISC_HU = 88.0
COARSEST_MM = 1.7  # in larger voxels a fracture may leave no trace
VIEW_MM = 2.5  # voxels in which it is counted how much of a bone a scan shows
GRAIN_HU, PATCH_HU, DENSE_HU, MARROW_HU = 120.0, 40.0, 380.0, 20.0


@dataclass(frozen=True)
class Wound:
    """A fracture where it came to lie: its voxels in a box of the grid."""

    injury: Injury
    part: Box
    region: np.ndarray  # bool, the box's shape
    centre_mm: Triple  # z, y, x of the grid


@dataclass(frozen=True)
class Canvas:
    """What every painter needs: the volume and label map it paints into, and whose they are."""

    hu: np.ndarray  # (z, y, x) float32
    labels: np.ndarray  # (z, y, x) uint8
    grid: Grid
    anatomy: Anatomy
    texture: Texture


@dataclass(frozen=True)
class Filling:
    """What lies inside a bone's surface: shares of every voxel of its box, or scalars."""

    gap: np.ndarray
    dark: np.ndarray
    dense: np.ndarray
    natural: np.ndarray  # distance to the surface that has a cortex, mm
    name: str = ""


def paint_bone(
    canvas: Canvas, number: int, injury: Injury | None, forced: dict[str, tuple[str, ...]] | None
) -> tuple[list[Wound], list[Mimic]]:
    """Paint one vertebra with its fractures and mimics of fractures.

    Parameters
    ----------
    canvas : Canvas
        Volume and label map, painted in place.
    number : int
        The vertebra, 0 is C1.
    injury : Injury or None
        Its fractures.
    forced : dict of str to tuple of str, or None
        Kinds of mimics by level, and no others; None draws them.

    Returns
    -------
    wounds : list of Wound
        Where the fractures lie, of those in view.
    mimics : list of Mimic
        Where the mimics lie; empty where the vertebra is out of view.
    """
    anatomy, name, pose = canvas.anatomy, NAMES[number], canvas.anatomy.poses[number]
    marks = _marks(anatomy, number, forced)
    wedge = max([mark.loss for mark in marks] + [injury.wedge if injury else 0.0])
    solids = _solids(anatomy, number, wedge) + [s for mark in marks for s in mark.bone]
    field = _field(canvas.grid, pose, solids)
    if field is None:
        return [], []
    if name[0] == "T":
        _ribs(canvas, number)
    _roughen(canvas, field)
    nothing = np.zeros((), np.float32)
    gap, dense, natural = nothing, nothing, field.d
    regions: list[np.ndarray] = []
    if injury is not None:
        rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 8, number]))
        gap, dense, regions, natural = break_bone(field, injury, _size(anatomy, number), rng)
    gas = _share(field, _every(marks, "gas"))
    if gas.any():
        canvas.hu[field.part] += (AIR_HU - canvas.hu[field.part]) * gas
    dense = np.maximum(dense, _share(field, _every(marks, "dense"), soft_mm=2.0))
    canals = _every(marks, "dark")
    dark = _share(field, canals)
    dense = np.maximum(dense, np.float32(CANAL_WALL) * _share(field, canals, grow_mm=CANAL_WALL_MM))
    if name != "C1":
        vein = scaled(basivertebral(name, anatomy.seed + number), _size(anatomy, number))
        dark = np.maximum(dark, np.float32(VEIN) * _share(field, [vein]))
    _fill(canvas, field, Filling(gap, dark, dense, natural, name))
    view = canvas.labels[field.part]
    view[(field.d < 0) & (gap < 0.6) & (view == 0)] = number + 1
    seen = [Mimic(m.kind, name, *_place(field, _near(field, m))) for m in marks]
    return _wounds(canvas, field, injury, regions), seen


def share_in_view(grid: Grid, anatomy: Anatomy, number: int) -> float:
    """How much of a whole vertebra lies within a scan.

    Parameters
    ----------
    grid : Grid
        The scan's voxels.
    anatomy : Anatomy
        The patient.
    number : int
        The vertebra, 0 is C1.

    Returns
    -------
    float
        Share of its volume, from 0 to 1.
    """
    pose, solids = anatomy.poses[number], _solids(anatomy, number, 0.0)
    size = np.max([np.abs([s.low, s.high]) for s in solids]) + VIEW_MM
    count = int(2 * size / VIEW_MM) + 1
    origin = triple((pose.centre + size * np.array([1, -1, -1])).tolist())
    field = _field(Grid((count, count, count), (VIEW_MM, VIEW_MM, VIEW_MM), origin), pose, solids)
    assert field is not None, "a bone lies in its own box"
    bone = field.d < 0
    for dim in range(3):
        at, ends = field.grid.axis(dim, field.part[dim]), np.sort(grid.axis(dim)[[0, -1]])
        half = grid.spacing_mm[dim] / 2
        seen = (at >= ends[0] - half) & (at <= ends[1] + half)
        bone = bone & seen.reshape([-1 if d == dim else 1 for d in range(3)])
    return float(bone.sum() / (field.d < 0).sum())


def _wounds(
    canvas: Canvas, field: LocalField, injury: Injury | None, regions: list[np.ndarray]
) -> list[Wound]:
    """The fractures of one bone that lie in view, each of which must have left a trace."""
    wounds = []
    for one, region in zip(injury.parts if injury else (), regions, strict=True):
        if region.any():
            wounds.append(Wound(one, *_place(field, region)))
            continue
        points = [np.array(cut.point) * canvas.anatomy.scale @ field.turn + field.centre for cut in one.cuts]
        seen = [p for p in points if all(s.stop > s.start for s in field.grid.box(p - 2.0, p + 2.0))]
        cut_off = any(s.start == 0 or s.stop == n for s, n in zip(field.part, field.grid.shape, strict=True))
        assert not seen or cut_off or field.grid.voxel_mm > COARSEST_MM, (
            f"a fracture left no trace: {one.kind} of {one.level}"
        )
    return wounds


def _size(anatomy: Anatomy, number: int) -> float:
    return anatomy.scale * float(anatomy.size[number])


def _marks(anatomy: Anatomy, number: int, forced: dict[str, tuple[str, ...]] | None) -> list[Mark]:
    """A vertebra's mimics of fractures in millimetres of the patient."""
    name = NAMES[number]
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 7, number]))
    drawn = draw_kinds(anatomy, number, rng)
    marks = [draw_mark(kind, name, rng) for kind in (drawn if forced is None else forced.get(name, ()))]
    k = _size(anatomy, number)

    def grown(solids: tuple[Solid, ...]) -> tuple[Solid, ...]:
        return tuple(scaled(solid, k) for solid in solids)

    return [
        replace(m, bone=grown(m.bone), dark=grown(m.dark), dense=grown(m.dense), gas=grown(m.gas))
        for m in marks
    ]


def _solids(anatomy: Anatomy, number: int, wedge: float) -> list[Solid]:
    """The solids of one vertebra, holes last, its pillars made to fit its neighbours'."""
    name = NAMES[number]
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 6, number]))
    size = _size(anatomy, number)
    if name == "C1":
        solids = atlas(rng)
    else:
        up = [_to_joint(anatomy, number, number - 1, s) if number > 1 else 6.5 * size for s in (-1, 1)]
        last = number + 1 == len(NAMES)
        down = [9.0 * size if last else _to_joint(anatomy, number, number + 1, s) for s in (-1, 1)]
        shape = Shape(size, wedge, (up[0], up[1]), (down[0], down[1]))
        solids = axis(shape, rng) if name == "C2" else typical(name, shape, rng)
    return [scaled(s, size) for s in sorted(solids, key=lambda s: s.hole)]


def _to_joint(anatomy: Anatomy, number: int, other: int, side: int) -> float:
    """From a pillar's centre to the joint with a neighbour, mm along the spine at the pillar's middle."""
    centre = [
        anatomy.poses[n].centre + _size(anatomy, n) * pillar_at(NAMES[n], side) @ anatomy.poses[n].turn
        for n in (number, other)
    ]
    u, v, _ = anatomy.poses[number].turn @ (centre[1] - centre[0])
    lean = FACET_LEAN[NAMES[max(number, other)][0]] if NAMES[number][0] == "C" else FACET_LEAN["T"]
    return max(abs(u + lean * v) / 2 - JOINT_MM / 2 * anatomy.scale, 3.0)


def _field(grid: Grid, pose: Pose, solids: list[Solid]) -> LocalField | None:
    """The field of solids in a bone's frame, or None where they lie outside the grid."""
    low = np.min([s.low for s in solids if not s.hole], axis=0) - RIM_MM
    high = np.max([s.high for s in solids if not s.hole], axis=0) + RIM_MM
    part = frame_box(grid, pose.centre, pose.turn, low, high)
    if any(p.stop <= p.start for p in part):
        return None
    field = LocalField(grid, part, pose.centre, pose.turn)
    for solid in solids:
        field.add(solid)
    return field


def _roughen(canvas: Canvas, field: LocalField) -> None:
    """Make the surface uneven, in place."""
    where = np.nonzero(field.d < RIM_MM)
    coarse = canvas.texture.coarse
    field.d[where] += np.float32(SURFACE_MM) * lookup_at(coarse, field.grid, field.part, where, 0.6)
    field.d[where] += np.float32(SWELL_MM) * lookup_at(coarse, field.grid, field.part, where, 2.2)


def _place(field: LocalField, region: np.ndarray) -> tuple[Box, np.ndarray, Triple]:
    """The box, the region and its centre in mm."""
    where = np.nonzero(region)
    centre = [
        float(field.grid.axis(dim, field.part[dim])[where[dim]].mean()) if len(where[0]) else 0.0
        for dim in range(3)
    ]
    return field.part, region, triple(centre)


def _near(field: LocalField, mark: Mark) -> np.ndarray:
    """Voxels of the field's box in or at a mimic's solids."""
    return _union(field, mark.solids).d < max(0.6, 0.6 * field.grid.voxel_mm)


def _union(field: LocalField, solids: Sequence[Solid]) -> LocalField:
    union = LocalField(field.grid, field.part, field.centre, field.turn)
    for solid in solids:
        union.add(replace(solid, hole=False, blend_mm=0.3))
    return union


def _every(marks: list[Mark], what: str) -> list[Solid]:
    return [solid for mark in marks for solid in getattr(mark, what)]


def _share(field: LocalField, solids: list[Solid], soft_mm: float = 0.0, grow_mm: float = 0.0) -> np.ndarray:
    """How much of every voxel of the field's box lies in the solids, or so near to them."""
    width = max(field.grid.voxel_mm, soft_mm)
    return coverage(_union(field, solids).d - grow_mm, width) if solids else np.zeros((), np.float32)


def _fill(canvas: Canvas, field: LocalField, inner: Filling) -> None:
    """Composite cortex, cancellous bone, channels and gaps over the tissue of a field's box."""
    anatomy, texture, view = canvas.anatomy, canvas.texture, canvas.hu[field.part]
    edge = field.grid.voxel_mm
    where = np.nonzero(field.d < 0.65 * edge)

    def at(values: np.ndarray) -> np.ndarray:
        return values[where] if values.ndim else values

    natural = at(inner.natural)
    patches = lookup_at(texture.coarse, field.grid, field.part, where)
    grain = lookup_at(texture.fine, field.grid, field.part, where)
    thick = np.clip(anatomy.cortex_mm * (_thickness(field, where, inner.name) + 0.3 * patches), 0.15, 1.2)
    core = coverage(natural + thick, edge)  # a broken face has no cortex
    rising = np.clip(1 + (natural + thick) / 3.5, 0, 1)  # struts stand closer towards the surface
    marrow = anatomy.cancellous_hu * (0.85 + 0.5 * rising) + PATCH_HU * patches
    marrow = marrow + np.float32(GRAIN_HU * (0.8 + 0.4 * min(anatomy.wear, 1))) * grain
    marrow = marrow + np.float32(DENSE_HU) * at(inner.dense)
    marrow = marrow + (MARROW_HU - marrow) * at(inner.dark)
    bone = anatomy.cortex_hu * (1 + 0.1 * patches)
    bone = bone + (marrow - bone) * core
    bone = bone + (BLOOD_HU + 10 - bone) * at(inner.gap)
    under = view[where]
    view[where] = under + (bone - under) * coverage(field.d[where], edge)


def _thickness(field: LocalField, where: tuple[np.ndarray, ...], name: str) -> np.ndarray | np.floating:
    """Cortex as a multiple of the patient's: thin around the body, thicker at its plates and behind it."""
    if name not in BODY_MM:
        return np.float32(1.25)
    depth, _, height = BODY_MM[name]
    offset = [field.grid.axis(d, field.part[d])[where[d]] - np.float32(field.centre[d]) for d in range(3)]
    u, v = (sum(np.float32(a) * o for a, o in zip(row, offset, strict=True)) for row in field.turn[:2])
    behind = np.clip((v - 0.42 * depth) / 3, 0, 1)
    plate = np.clip(np.abs(u) / (0.5 * height), 0, 1) ** 6 * (1 - behind)
    return 0.58 + 0.95 * behind + 0.25 * plate


def _ribs(canvas: Canvas, number: int) -> None:
    """Paint the first centimetres of a thoracic vertebra's ribs."""
    nothing = np.zeros((), np.float32)
    for side in (-1, 1):
        solids = [scaled(s, _size(canvas.anatomy, number)) for s in rib(side, NAMES[number])]
        field = _field(canvas.grid, canvas.anatomy.poses[number], solids)
        if field is not None:
            _roughen(canvas, field)
            _fill(canvas, field, Filling(nothing, nothing, nothing, field.d))


def paint_discs(canvas: Canvas) -> None:
    """Paint the discs from C2-C3 down; the bodies are painted over them later.

    Parameters
    ----------
    canvas : Canvas
        Volume and label map; the volume is painted in place.
    """
    for number in range(1, len(NAMES) - 1):
        upper, lower = canvas.anatomy.poses[number], canvas.anatomy.poses[number + 1]
        turn = upper.turn + lower.turn
        middle = replace(
            upper,
            centre=upper.centre * 0.46 + lower.centre * 0.54,
            turn=turn / np.linalg.norm(turn, axis=1, keepdims=True),
        )
        field = _field(canvas.grid, middle, [scaled(disc(NAMES[number + 1]), canvas.anatomy.scale)])
        if field is not None:
            view = canvas.hu[field.part]
            view += (DISC_HU - view) * coverage(field.d, canvas.grid.voxel_mm)
