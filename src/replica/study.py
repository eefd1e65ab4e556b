"""One study from its row of the cohort: anatomy, injuries and tissue become a volume with its truth."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from replica.anatomy import NAMES, Anatomy, Pose, make_anatomy
from replica.cohort import LEVELS
from replica.injuries import Injury, break_bone, draw_injury
from replica.lookalikes import draw_wear, vascular_channel
from replica.neck import BLOOD_HU, DISC_HU, make_layers
from replica.oddities import Oddity, make_odd
from replica.protocol import Protocol, choose_protocol
from replica.settings import ReplicaSettings
from replica.shapes import Box, Grid, LocalField, Solid, coverage, frame_box, slab
from replica.texture import Texture, lookup, make_texture
from replica.tissue import paint_slices
from replica.vertebrae import BODY_MM, Shape, rib, vertebra

RIM_MM = 4.0
ODD_PURPOSE = 5  # of `study_rng`, for what makes a study odd
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
    unseen: tuple[Injury, ...] = ()  # fractures outside the field of view of an odd study


def study_rng(settings: ReplicaSettings, index: int, purpose: int) -> np.random.Generator:
    """A generator of its own for a study and a purpose, whoever works on it and when."""
    return np.random.default_rng(np.random.SeedSequence([settings.seed, index, purpose]))


def draw_protocol(row: pd.Series, settings: ReplicaSettings) -> tuple[Anatomy, Protocol]:
    """The patient of one row of the cohort, and how this patient is scanned; nothing is painted."""
    index = int(row["index"])
    anatomy = make_anatomy(row["sex"], int(row["age"]), study_rng(settings, index, 0))
    protocol = choose_protocol(int(row["site"]), anatomy, settings, study_rng(settings, index, 1))
    if row["oddity"]:
        odd_rng = study_rng(settings, index, ODD_PURPOSE)
        protocol = make_odd(protocol, Oddity(row["oddity"]), anatomy, settings, odd_rng)
    return anatomy, protocol


def make_study(row: pd.Series, settings: ReplicaSettings) -> Study:
    """Build the study of one row of the cohort."""
    anatomy, protocol = draw_protocol(row, settings)
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


def paint(anatomy: Anatomy, protocol: Protocol, injuries: dict[str, Injury]) -> Study:
    """Paint tissue, discs and bones on the protocol's grid; `injuries` by the level they break."""
    grid = protocol.grid
    hu, labels = np.empty(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
    canvas = Canvas(hu, labels, grid, anatomy, make_texture(anatomy, grid))
    painter = paint_slices(grid, make_layers(grid, anatomy), edge_mm=grid.spacing_mm[1])
    for k in range(grid.shape[0]):
        canvas.hu[k] = painter(k)
        _marble(canvas, k)
    _discs(canvas)
    wounds = [_bone(canvas, number, injuries.get(name)) for number, name in enumerate(NAMES)]
    wounds = tuple(wound for wound in wounds if wound is not None)
    unseen = tuple(i for i in injuries.values() if i.level not in {wound.injury.level for wound in wounds})
    lost = [i.level for i in unseen if _in_view(grid, anatomy, i.level)]
    assert not lost, f"a fracture left no trace: {lost}"
    return Study(protocol, anatomy, hu, labels, wounds, unseen=unseen)


def _in_view(grid: Grid, anatomy: Anatomy, level: str) -> bool:
    """Whether the scan holds all of a vertebra from its upper end to its lowest process."""
    z, k = anatomy.poses[NAMES.index(level)].centre[0], anatomy.scale
    heights = grid.axis(0)
    return bool(heights[0] > z + 12 * k and heights[-1] < z - 32 * k)


def _marble(canvas: Canvas, k: int) -> None:
    """Give slice k's soft tissue the faint unevenness of fibres, vessels and septa."""
    part = (slice(k, k + 1), slice(None), slice(None))
    canvas.hu[k] += (canvas.hu[k] > -300) * lookup(canvas.texture.fibres, canvas.grid, part)[0]


def _bone(canvas: Canvas, number: int, injury: Injury | None) -> Wound | None:
    """Paint one vertebra with its wear and its fracture; returns where the fracture lies."""
    grid, anatomy = canvas.grid, canvas.anatomy
    name, pose = NAMES[number], anatomy.poses[number]
    rng = np.random.default_rng(np.random.SeedSequence([anatomy.seed, 2, number]))
    wear = draw_wear(anatomy, number, rng)
    size = anatomy.scale * float(anatomy.size[number])
    solids = vertebra(name, Shape(size, max(wear.wedge, injury.wedge if injury else 0.0), wear.spur_mm))
    solids += wear.ossicles
    low = np.min([s.low for s in solids if not s.hole], axis=0) - RIM_MM
    high = np.max([s.high for s in solids if not s.hole], axis=0) + RIM_MM
    part = frame_box(grid, pose.centre, pose.turn, low, high)
    if any(p.stop <= p.start for p in part):
        return None
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
    dark = vascular_channel(field, name, rng) if name in BODY_MM or name == "C2" else np.zeros((), np.float32)
    _fill_bone(canvas, field, (gap, dark, wear.sclerosis, BODY_MM.get(name)), natural)
    view = canvas.labels[part]
    view[(field.d < 0) & (gap < 0.6) & (view == 0)] = number + 1
    if region is None or not region.any():
        return None
    centre = [float(grid.axis(dim, part[dim])[np.nonzero(region)[dim]].mean()) for dim in range(3)]
    return Wound(injury, part, region, tuple(centre))


def _fill_bone(canvas: Canvas, field: LocalField, inner: tuple, natural: np.ndarray) -> None:
    """Composite cortex, cancellous bone and gaps over the tissue of a field's box."""
    anatomy, texture, view = canvas.anatomy, canvas.texture, canvas.hu[field.part]
    gap, dark, narrowed, body = inner
    edge = field.grid.voxel_mm
    outer = coverage(field.d, edge)
    patches = lookup(texture.coarse, field.grid, field.part)
    # a broken face has no cortex
    core = coverage(natural + np.float32(anatomy.cortex_mm) * (1 + 0.35 * patches), edge)
    marrow = anatomy.cancellous_hu + 45 * patches + 85 * lookup(texture.fine, field.grid, field.part)
    if body is not None and narrowed > 0.25:
        u, v, w = field.coordinates(field.part)
        plate = (
            np.clip((np.abs(u) - body[2] / 2 + 3.5) / 3.5, 0, 1)
            * (np.abs(v) < body[0] / 2)
            * (np.abs(w) < body[1] / 2)
        )
        marrow = marrow + np.float32(550 * (narrowed - 0.25)) * plate
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
            _fill_bone(canvas, field, (nothing, nothing, 0.0, None), field.d)


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
