"""One study from its row of the cohort: anatomy, injuries and tissue become a volume with its truth."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from replica.anatomy import NAMES, Anatomy, Pose, make_anatomy
from replica.cohort import LEVELS
from replica.injuries import Injury, break_bone, draw_injury
from replica.lookalikes import Lookalike, Mark, draw_kinds, draw_mark
from replica.neck import BLOOD_HU, DISC_HU, make_layers
from replica.scanner import Protocol, choose_protocol
from replica.settings import ReplicaSettings
from replica.shapes import Box, Grid, LocalField, Solid, coverage, frame_box, slab
from replica.texture import Texture, lookup, make_texture
from replica.tissue import AIR_HU, paint_slices
from replica.vertebrae import BODY_MM, Shape, rib, vertebra

RIM_MM = 4.0
SURFACE_MM = 0.4  # how uneven a bone's surface is


@dataclass(frozen=True)
class Wound:
    """A fracture where it came to lie: its voxels in a box of the grid."""

    injury: Injury
    part: Box
    region: np.ndarray  # bool, the box's shape
    centre_mm: tuple[float, float, float]  # z, y, x of the grid


@dataclass(frozen=True)
class Study:
    """A painted study before it is scanned."""

    protocol: Protocol
    anatomy: Anatomy
    hu: np.ndarray  # (z, y, x) float32, head to feet
    labels: np.ndarray  # (z, y, x) uint8: 1-7 C1-C7, 8.. thoracic
    wounds: tuple[Wound, ...]
    lookalikes: tuple[Lookalike, ...] = ()


def study_rng(settings: ReplicaSettings, index: int, purpose: int) -> np.random.Generator:
    """A generator of its own for a study and a purpose, whoever works on it and when."""
    return np.random.default_rng(np.random.SeedSequence([settings.seed, index, purpose]))


def make_study(row: pd.Series, settings: ReplicaSettings) -> Study:
    """Build the study of one row of the cohort."""
    anatomy = make_anatomy(row["sex"], int(row["age"]), study_rng(settings, int(row["index"]), 0))
    protocol = choose_protocol(int(row["site"]), anatomy, settings, study_rng(settings, int(row["index"]), 1))
    rng = study_rng(settings, int(row["index"]), 2)
    injuries = {
        level: draw_injury(level, float(rng.uniform(*settings.severity)), rng)
        for level in LEVELS
        if row[level]
    }
    return paint(anatomy, protocol, injuries)


@dataclass(frozen=True)
class Canvas:
    """What every painter needs: the volume and label map it paints into, and whose they are."""

    hu: np.ndarray  # (z, y, x) float32
    labels: np.ndarray  # (z, y, x) uint8
    grid: Grid
    anatomy: Anatomy
    texture: Texture


def paint(
    anatomy: Anatomy,
    protocol: Protocol,
    injuries: dict[str, Injury],
    lookalikes: dict[str, tuple[str, ...]] | None = None,
) -> Study:
    """Paint tissue, discs and bones on the protocol's grid.

    `injuries` by the level they break; `lookalikes` are drawn from the anatomy, or are the kinds given by
    level and no others.
    """
    grid = protocol.grid
    hu, labels = np.empty(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
    canvas = Canvas(hu, labels, grid, anatomy, make_texture(anatomy, grid))
    painter = paint_slices(grid, make_layers(grid, anatomy), edge_mm=grid.spacing_mm[1])
    for k in range(grid.shape[0]):
        canvas.hu[k] = painter(k)
        _marble(canvas, k)
    _discs(canvas)
    wounds, seen = [], []
    for number, name in enumerate(NAMES):
        wound, marks = _bone(canvas, number, injuries.get(name), lookalikes)
        wounds += [wound] if wound else []
        seen += marks
    assert len(wounds) == len(injuries), f"a fracture left no trace: {sorted(injuries)}"
    return Study(protocol, anatomy, hu, labels, tuple(wounds), tuple(seen))


def _marble(canvas: Canvas, k: int) -> None:
    """Give slice k's soft tissue the faint unevenness of fibres, vessels and septa."""
    part = (slice(k, k + 1), slice(None), slice(None))
    canvas.hu[k] += (canvas.hu[k] > -300) * lookup(canvas.texture.fibres, canvas.grid, part)[0]


def _bone(
    canvas: Canvas, number: int, injury: Injury | None, forced: dict[str, tuple[str, ...]] | None
) -> tuple[Wound | None, list[Lookalike]]:
    """Paint one vertebra with its look-alikes and its fracture; returns where they lie."""
    grid, anatomy = canvas.grid, canvas.anatomy
    name, pose = NAMES[number], anatomy.poses[number]
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 2, number]))
    kinds = draw_kinds(anatomy, number, rng) if forced is None else forced.get(name, ())
    marks = [draw_mark(kind, name, rng) for kind in kinds]
    size = anatomy.scale * float(anatomy.size[number])
    wedge = max([mark.wedge for mark in marks] + [injury.wedge if injury else 0.0])
    solids = vertebra(name, Shape(size, wedge)) + [s for mark in marks for s in mark.bone]
    low = np.min([s.low for s in solids if not s.hole], axis=0) - RIM_MM
    high = np.max([s.high for s in solids if not s.hole], axis=0) + RIM_MM
    part = frame_box(grid, pose.centre, pose.turn, low, high)
    if any(p.stop <= p.start for p in part):
        return None, []
    if name.startswith("T"):
        _ribs(canvas, pose, name)
    field = LocalField(grid, part, pose.centre, pose.turn)
    for solid in solids:
        field.add(solid)
    field.d += np.float32(SURFACE_MM) * lookup(canvas.texture.coarse, grid, part)
    natural = field.d
    gap, region = np.zeros((), np.float32), None
    if injury is not None:
        gap, region, natural = break_bone(field, injury.cuts, rng)
    shares = [
        _share(field, [s for m in marks for s in getattr(m, what)]) for what in ("dark", "dense", "gas")
    ]
    canvas.hu[part] += (AIR_HU - canvas.hu[part]) * shares[2]
    _fill_bone(canvas, field, (gap, *shares[:2]), natural)
    view = canvas.labels[part]
    view[(field.d < 0) & (gap < 0.6) & (view == 0)] = number + 1
    seen = [Lookalike(m.kind, name, *_place(grid, part, _near(field, m))) for m in marks]
    if region is None or not region.any():
        return None, seen
    return Wound(injury, *_place(grid, part, region)), seen


def _place(grid: Grid, part: Box, region: np.ndarray) -> tuple:
    """The box, the region and its centre in mm."""
    centre = [float(grid.axis(dim, part[dim])[np.nonzero(region)[dim]].mean()) for dim in range(3)]
    return part, region, tuple(centre)


def _near(field: LocalField, mark: Mark) -> np.ndarray:
    """Voxels of the field's box in or at a look-alike's solids."""
    reach = max(0.6, 0.6 * field.grid.voxel_mm)
    return _union(field, mark.solids).d < reach


def _union(field: LocalField, solids) -> LocalField:
    union = LocalField(field.grid, field.part, field.centre, field.turn)
    for solid in solids:
        union.add(replace(solid, hole=False, blend_mm=0.3))
    return union


def _share(field: LocalField, solids: list[Solid]) -> np.ndarray:
    """How much of every voxel of the field's box lies in the solids."""
    return coverage(_union(field, solids).d, field.grid.voxel_mm) if solids else np.zeros((), np.float32)


def _fill_bone(canvas: Canvas, field: LocalField, inner: tuple, natural: np.ndarray) -> None:
    """Composite cortex, cancellous bone and gaps over the tissue of a field's box."""
    anatomy, texture, view = canvas.anatomy, canvas.texture, canvas.hu[field.part]
    gap, dark, dense = inner
    edge = field.grid.voxel_mm
    outer = coverage(field.d, edge)
    patches = lookup(texture.coarse, field.grid, field.part)
    # a broken face has no cortex
    core = coverage(natural + np.float32(anatomy.cortex_mm) * (1 + 0.35 * patches), edge)
    marrow = anatomy.cancellous_hu + 45 * patches + 85 * lookup(texture.fine, field.grid, field.part)
    marrow = marrow + np.float32(330) * dense
    marrow = marrow + (20 - marrow) * dark
    bone = anatomy.cortex_hu + (marrow - anatomy.cortex_hu) * core
    bone = bone + (BLOOD_HU + 10 - bone) * gap
    view += (bone - view) * outer


def _ribs(canvas: Canvas, pose: Pose, name: str) -> None:
    """Paint the stubs of a thoracic vertebra's ribs."""
    nothing = np.zeros((), np.float32)
    for side in (-1, 1):
        field = _field(canvas.grid, pose, rib(side, name))
        if field is not None:
            _fill_bone(canvas, field, (nothing, nothing, nothing), field.d)


def _discs(canvas: Canvas) -> None:
    """Paint the discs from C2-C3 down; the bodies are painted over them later."""
    k = canvas.anatomy.scale
    for number in range(1, len(NAMES) - 1):
        upper, lower = canvas.anatomy.poses[number], canvas.anatomy.poses[number + 1]
        depth, width, _ = BODY_MM[NAMES[number + 1]]
        turn = upper.turn + lower.turn
        middle = Pose(
            upper.centre * 0.46 + lower.centre * 0.54, turn / np.linalg.norm(turn, axis=1, keepdims=True)
        )
        disc = slab((0, 0, 0), (5.5 * k, (depth / 2 + 0.4) * k, (width / 2 - 1.0) * k), 4.5)
        field = _field(canvas.grid, middle, disc)
        if field is not None:
            view = canvas.hu[field.part]
            view += (DISC_HU - view) * coverage(field.d, canvas.grid.voxel_mm)


def _field(grid: Grid, pose: Pose, solid: Solid) -> LocalField | None:
    """The field of a single solid, or None where it lies outside the grid."""
    part = frame_box(grid, pose.centre, pose.turn, solid.low - RIM_MM, solid.high + RIM_MM)
    if any(p.stop <= p.start for p in part):
        return None
    field = LocalField(grid, part, pose.centre, pose.turn)
    field.add(solid)
    return field
