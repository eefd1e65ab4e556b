"""Each vertebra as a list of solids in its own frame (origin: the body's centre; in C1 the dens' axis)."""

from dataclasses import dataclass

import numpy as np

from replica.shapes import Solid, capsule, ellipsoid, slab

# depth, width and height of the body in mm (15-18, 17-25 and 12-15 in C3-C7)
BODY_MM = {
    "C3": (15.5, 19.0, 12.0), "C4": (15.8, 20.0, 12.0), "C5": (16.2, 21.0, 12.3), "C6": (16.8, 23.0, 12.8),
    "C7": (17.2, 25.0, 14.2), "T1": (17.5, 27.0, 15.5), "T2": (18.0, 26.5, 16.5), "T3": (18.5, 26.0, 17.0),
    "T4": (19.0, 26.0, 17.5),
}  # fmt: skip
# length beyond the lamina, fall per mm, half height, splits at the tip
SPINOUS = {
    "C2": (14.0, 0.5, 4.5, True), "C3": (11.0, 0.75, 2.2, True), "C4": (11.0, 0.85, 2.2, True),
    "C5": (13.0, 0.9, 2.4, True), "C6": (19.0, 0.8, 2.8, True), "C7": (28.0, 0.72, 3.4, False),
    "T1": (30.0, 0.8, 3.5, False), "T2": (29.0, 0.95, 3.2, False), "T3": (28.0, 1.1, 3.0, False),
    "T4": (28.0, 1.2, 3.0, False),
}  # fmt: skip
CANAL_MM = 15.5


@dataclass(frozen=True)
class Shape:
    """What changes the plain vertebra: loss of height in front (share), spurs (mm), own size."""

    scale: float
    wedge: float = 0.0
    spur_mm: float = 0.0


def vertebra(name: str, shape: Shape) -> list[Solid]:
    """Solids of one vertebra, holes last."""
    if name == "C1":
        solids = _atlas()
    elif name == "C2":
        solids = _axis(shape)
    else:
        solids = _typical(name, shape)
    return [_scaled(s, shape.scale) for s in solids]


def _scaled(solid: Solid, k: float) -> Solid:
    """The same solid k times as large about the frame's origin."""
    k = np.float32(k)
    return Solid(
        lambda u, v, w: k * solid.distance(u / k, v / k, w / k), solid.low * k, solid.high * k,
        solid.blend_mm, solid.hole,
    )  # fmt: skip


def body(depth: float, width: float, height: float, shape: Shape, hooks_mm: float = 3.0) -> Solid:
    """A vertebral body: waisted, hollow endplates, uncinate hooks at the upper side edges, flat back."""
    rd, rw, half = np.float32(depth / 2), np.float32(width / 2), np.float32(height / 2)
    wedge = np.float32(shape.wedge)

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        side = np.clip(np.abs(w) / rw, 0, 1.1)
        front = np.clip(0.5 - v / (2 * rd), 0, 1)  # 0 at the back wall, 1 at the front
        rim = np.clip(np.maximum(side, np.abs(v) / rd), 0, 1) ** 2
        top = half * (1 - 1.6 * wedge * front) - 1.0 + rim + hooks_mm * side**5
        bottom = half - 1.2 + 1.2 * rim + 0.8 * front**3
        middle = 1 - np.clip(np.abs(u) / half, 0, 1) ** 2
        flare = shape.spur_mm * np.clip(np.abs(u) / half, 0, 1.1) ** 6 * front
        ry = rd - 0.9 * middle + flare
        rx = rw - 1.4 * middle + 0.4 * flare
        # a rounded cross-section, squarer at the back
        across = np.abs(w) / rx
        along = np.abs(v) / ry
        power = np.where(v > 0, 3.6, 2.4).astype(np.float32)
        radial = ((across**power + along**power) ** (1 / power) - 1) * np.minimum(rx, ry)
        cap = np.maximum(u - top, -bottom - u)
        outer, inner = np.maximum(radial + 1, 0), np.maximum(cap + 1, 0)
        return np.sqrt(outer**2 + inner**2) + np.minimum(np.maximum(radial + 1, cap + 1), 0) - 1

    reach = np.array(
        [height / 2 + hooks_mm + 1, depth / 2 + 1 + shape.spur_mm, width / 2 + 1 + shape.spur_mm]
    )
    return Solid(distance, -reach, reach)


def _arch(name: str, depth: float, width: float, pitch: float) -> list[Solid]:
    """Pedicles, articular pillars, laminae and the spinous process behind a body."""
    back = depth / 2
    thoracic = name.startswith("T")
    pillar_w = width / 2 + (4.6 if not thoracic else 3.5)
    pillar_v = back + 6.5
    joint = back + CANAL_MM + 1.0  # where the laminae meet
    length, fall, tall, split = SPINOUS[name]
    solids = []
    for s in (-1, 1):
        solids += [
            capsule(
                (1.0, back - 3, s * (width / 2 - 3)), (0.5, pillar_v - 1, s * (pillar_w - 1)), 2.8, tall=1.2
            ),
            slab((0, pillar_v, s * pillar_w), (pitch / 2 - 0.9, 6.0, 5.4), 2.2, lean=0.95),
            capsule(
                (-2.5, pillar_v + 4, s * (pillar_w - 2.5)), (-3.5, joint, s * 1.5), 1.9, 2.1,
                tall=pitch / 2 - 4.5, blend_mm=1.6,
            ),
        ]  # fmt: skip
    tip = (-4 - fall * length, joint + length, 0.0)
    if split:
        neck = (-4 - fall * length * 0.6, joint + length * 0.6, 0.0)
        solids.append(capsule((-4, joint, 0), neck, 2.1, 2.0, tall=1.3 * tall, taper=0.5))
        for s in (-1, 1):
            end = (tip[0], tip[1], s * 4.0)
            solids.append(capsule(neck, end, 2.0, 2.2, tall=tall * 0.6))
    else:
        solids.append(capsule((-4, joint, 0), tip, 2.3, 3.3, tall=1.35 * tall, taper=0.7))
    return solids


def _transverse(depth: float, width: float, reach: float) -> list[Solid]:
    """Cervical transverse processes: two bars around the foramen of the vertebral artery."""
    out = width / 2
    solids = []
    for s in (-1, 1):
        front, end = (-0.5, 0.0, s * (out - 1)), (-2.5, -0.5, s * (out + reach))
        solids += [
            capsule(front, end, 2.0, 2.0, tall=0.8),
            capsule(
                (-0.5, depth / 2 + 3.5, s * (out + 4)), (-3.5, 5.0, s * (out + reach + 1)), 2.2, 2.3, tall=0.8
            ),
            capsule(end, (-3.5, 5.0, s * (out + reach + 1)), 1.6, tall=0.6),
        ]
        solids.append(
            capsule((-9, 3.4, s * (out + 4.4)), (9, 3.4, s * (out + 4.4)), 2.7, hole=True)
        )  # the foramen comes last
    return solids


def _typical(name: str, shape: Shape) -> list[Solid]:
    """C3 to C7 and the upper thoracic vertebrae with stubs of their ribs."""
    depth, width, height = BODY_MM[name]
    thoracic = name.startswith("T")
    solids = [body(depth, width, height, shape, hooks_mm=0.0 if thoracic else 3.4)]
    solids += _arch(name, depth, width, pitch=height + (5.0 if not thoracic else 4.5))
    if thoracic:
        for s in (-1, 1):
            knob = (1.5, depth / 2 + 10, s * 36)
            solids.append(capsule((0.5, depth / 2 + 7, s * (width / 2 + 2)), knob, 3.6, 4.2))
        return solids
    reach = 13.0 if name == "C7" else 8.5
    return solids + _holes_last(_transverse(depth, width, reach))


def _holes_last(solids: list[Solid]) -> list[Solid]:
    return sorted(solids, key=lambda s: s.hole)


def rib(side: int, name: str) -> Solid:
    """The first centimetres of a rib, from the body's corner out and down (not part of the vertebra)."""
    depth, width, height = BODY_MM[name]
    start = (height * 0.3, depth / 2 + 1, side * (width / 2 + 3.5))
    return capsule(start, (-4.0, depth / 2 + 6, side * 52.0), 3.2, 3.6, tall=1.0)


def _axis(shape: Shape) -> list[Solid]:
    """C2: body, dens, shoulders for C1, broad laminae, the stout split spinous process."""
    depth, width, height = 15.5, 17.5, 17.0
    solids = [
        body(depth, width, height, shape, hooks_mm=0.0),
        capsule((5, 0.3, 0), (12.0, 0.2, 0), 5.6, 4.7, blend_mm=2.5),
        capsule((12.0, 0.2, 0), (20.0, 1.0, 0), 4.7, 4.6, blend_mm=1.0),
    ]
    for s in (-1, 1):
        solids += [
            slab((5.5, 1.5, s * 13.0), (3.6, 7.6, 8.0), 3.2, lean=0.05, blend_mm=2.0),
            capsule((2, 4, s * 12.0), (-3.5, 14, s * 16.0), 3.6, 4.2, blend_mm=2.0),
            slab((-6.5, 14.5, s * 16.5), (6.0, 5.0, 5.2), 2.4, lean=0.85, blend_mm=2.0),
            capsule((-3.5, 17.0, s * 14.0), (-2.5, 25.0, s * 1.5), 2.4, 2.8, tall=4.0, blend_mm=2.0),
            capsule((-2, 5.5, s * 15.0), (-6, 4.5, s * 25.0), 2.8, 2.4),
        ]
    length, fall, tall, _ = SPINOUS["C2"]
    neck = (-4 - fall * 7, 32.0, 0)
    solids.append(capsule((-3, 25.5, 0), neck, 3.0, 3.2, tall=tall))
    solids += [capsule(neck, (-4 - fall * length, 25 + length, s * 5.0), 2.8, 2.8, tall=1.8) for s in (-1, 1)]
    solids += [capsule((-14, 3.0, s * 17.5), (14, 3.4, s * 18.5), 2.6, hole=True) for s in (-1, 1)]
    return solids


def _atlas() -> list[Solid]:
    """C1: a ring of two arches and two lateral masses, wide transverse processes, no body."""
    solids = []
    front = [(0.3, -6.5, 14.5), (0.5, -9.6, 8.0), (0.8, -10.6, 0.0)]
    rear = [(1.0, 8.0, 18.0), (1.5, 18.5, 15.0), (0.5, 25.5, 7.5), (0.0, 27.0, 0.0)]
    for s in (-1, 1):
        mirror = [[(u, v, s * w) for u, v, w in line] for line in (front, rear)]
        solids += [capsule(a, b, 2.5, 2.7, tall=2.6) for a, b in zip(mirror[0], mirror[0][1:], strict=False)]
        solids += [capsule(a, b, 2.3, 2.6, tall=1.6) for a, b in zip(mirror[1], mirror[1][1:], strict=False)]
        solids += [
            slab((0.0, 0.8, s * 17.0), (9.4, 8.4, 6.6), 3.4, blend_mm=1.5),
            capsule((-1.0, 1.0, s * 22.0), (-2.0, 0.0, s * 35.0), 2.6, 3.2, tall=1.0),
            capsule((-1.0, 5.5, s * 21.0), (-2.0, 2.0, s * 36.0), 2.3, 3.2, tall=1.0),
        ]
    solids.append(ellipsoid((0.5, -12.0, 0.0), (3.4, 3.0, 3.4)))  # the tubercle in front
    solids.append(ellipsoid((0.0, 28.5, 0.0), (3.0, 3.0, 3.0)))
    solids += [
        ellipsoid((11.5, 0.5, s * 17.5), (6.0, 9.5, 8.5), hole=True) for s in (-1, 1)
    ]  # beds of the condyles
    solids += [capsule((-9, 2.0, s * 27.5), (9, 2.0, s * 27.5), 2.9, hole=True) for s in (-1, 1)]
    return solids
