"""What looks like a fracture and is none: it comes to broken and whole spines alike, and with age."""

from dataclasses import dataclass

import numpy as np

from replica.anatomy import C7, NAMES, Anatomy
from replica.shapes import LocalField, Solid, capsule, ellipsoid, frame_box
from replica.vertebrae import BODY_MM

AXIS_MM = (15.5, 17.5, 17.0)


@dataclass(frozen=True)
class Wear:
    """One vertebra's own: spurs, an old healed loss of height, sclerosis, separate ossicles with a cortex."""

    spur_mm: float
    wedge: float
    sclerosis: float
    ossicles: tuple[Solid, ...]


def draw_wear(anatomy: Anatomy, number: int, rng: np.random.Generator) -> Wear:
    """Draw the degenerative changes of vertebra `number` (0 is C1)."""
    name, narrowed = NAMES[number], float(1 - anatomy.disc_share[max(number - 1, 0)])
    old = name in BODY_MM and rng.random() < 0.07 * anatomy.wear
    ossicles = []
    if 2 <= number <= C7 and rng.random() < 0.03 + 0.08 * anatomy.wear:
        depth, _, height = BODY_MM[name]
        at = (-0.5 * height - 0.5, -depth / 2 - 2.2, float(rng.normal(0, 2)))
        ossicles.append(ellipsoid(at, (1.4, 1.3, float(rng.uniform(2, 4))), blend_mm=0.1))
    if 4 <= number <= C7 and rng.random() < 0.10 * anatomy.wear:
        # ossification of the nuchal ligament, behind the spinous process
        tip = float(rng.uniform(52, 60))
        ossicles.append(capsule((-6, tip, 0), (4, tip + 1, 0), 1.8, blend_mm=0.1))
    return Wear(
        spur_mm=float(5.0 * narrowed * rng.random() + 1.2 * max(anatomy.wear - 0.5, 0)),
        wedge=float(rng.uniform(0.15, 0.35)) if old else float(0.05 * rng.random() * anatomy.wear),
        sclerosis=narrowed,
        ossicles=tuple(ossicles),
    )


def vascular_channel(field: LocalField, level: str, rng: np.random.Generator) -> np.ndarray:
    """The basivertebral vein's channel: a smooth dark wedge in the back wall's middle.

    Returns the share of every voxel of the field's box that it fills, float32 (z, y, x).
    """
    depth, width, _ = BODY_MM.get(level, AXIS_MM)
    low, high = np.array([-2.5, -1.0, -7.0]), np.array([2.5, depth / 2 + 1, 7.0])
    part = tuple(
        slice(max(p.start, q.start), max(min(p.stop, q.stop), max(p.start, q.start)))
        for p, q in zip(frame_box(field.grid, field.centre, field.turn, low, high), field.part, strict=True)
    )
    here = tuple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(part, field.part, strict=True))
    u, v, w = field.coordinates(part)
    deep = np.clip((v - rng.uniform(0, 3)) / (depth / 2), 0, 1)
    radius = np.float32(rng.uniform(0.6, 1.2)) * deep
    off = np.sqrt(u**2 + (w * np.float32(rng.uniform(0.3, 0.9))) ** 2)
    share = np.zeros_like(field.d)
    share[here] = np.clip((radius - off) / np.float32(field.grid.voxel_mm) + 0.5, 0, 1) * (deep > 0.02)
    return share
