"""Each vertebra as a list of solids in its own frame (origin: the body's centre; in C1 the dens' axis)."""

from dataclasses import dataclass

import numpy as np

from replica.anatomy.shapes import Solid, Triple, Vector, capsule, slab, triple

# depth, width and height of the body in mm (15-18, 17-25 and 12-15 in C3-C7)
BODY_MM: dict[str, Triple] = {
    "C2": (15.5, 17.5, 17.0),
    "C3": (15.5, 19.0, 13.8), "C4": (15.8, 20.0, 13.7), "C5": (16.2, 21.0, 13.9), "C6": (16.8, 23.0, 14.3),
    "C7": (17.2, 25.0, 15.6), "T1": (17.5, 27.0, 16.0), "T2": (18.0, 26.5, 17.0), "T3": (18.5, 26.0, 17.5),
    "T4": (19.0, 26.0, 18.0), "T5": (20.0, 26.0, 18.4), "T6": (21.5, 26.5, 18.8), "T7": (23.0, 27.0, 19.2),
    "T8": (24.0, 28.0, 19.8), "T9": (25.0, 29.5, 20.4), "T10": (26.0, 31.5, 21.3), "T11": (27.0, 34.0, 22.3),
    "T12": (28.0, 37.0, 23.6),
}  # fmt: skip
# length beyond the lamina, fall per mm, half height at the root, splits at the tip
SPINOUS = {
    "C2": (15.5, 0.92, 5.2, True), "C3": (14.2, 0.98, 3.5, True), "C4": (13.6, 1.02, 3.5, True),
    "C5": (14.4, 1.08, 3.7, True), "C6": (19.3, 1.0, 4.2, True), "C7": (29.5, 0.96, 5.2, False),
    "T1": (30.0, 0.92, 5.0, False), "T2": (29.0, 0.95, 4.6, False), "T3": (28.0, 1.1, 4.4, False),
    "T4": (28.0, 1.2, 4.4, False), **{f"T{n}": (31.0, 1.5, 4.4, False) for n in range(5, 9)},
    "T9": (29.0, 1.2, 5.0, False), "T10": (27.0, 0.9, 5.6, False), "T11": (24.0, 0.6, 6.4, False),
    "T12": (24.0, 0.45, 7.2, False),
}  # fmt: skip
CANAL_MM = 15.5
FACET_LEAN = {"C": 0.85, "T": 1.7}  # mm a joint's plane falls for every mm to the back
JOINT_MM = 1.3  # space in a facet joint, measured along the spine


@dataclass(frozen=True)
class Shape:
    """What changes the plain vertebra: its size, loss of height in front (share), pillars' ends (mm)."""

    scale: float
    wedge: float = 0.0
    up_mm: tuple[float, float] = (9.0, 9.0)  # from the pillar's centre to the joint above, right and left
    down_mm: tuple[float, float] = (9.0, 9.0)


def pillar_at(name: str, side: int) -> np.ndarray:
    """Centre of an articular pillar in its vertebra's frame.

    Parameters
    ----------
    name : str
        C2 to C7, or T1 to T12.
    side : int
        -1 is right, 1 left.

    Returns
    -------
    ndarray of float, shape (3,)
        u, v, w in millimetres.
    """
    if name == "C2":
        return np.array([-6.5, 15.0, 17.0 * side])
    depth, width, _ = BODY_MM[name]
    out = {"C": 4.8, "T": 2.2}[name[0]] - (1.5 if name > "T1" else 0.0)
    return np.array([0.0, depth / 2 + 7.0, (width / 2 + out) * side])


def scaled(solid: Solid, k: float) -> Solid:
    """The same solid made larger or smaller about the frame's origin.

    Parameters
    ----------
    solid : Solid
        In a bone's frame.
    k : float
        How many times as large.

    Returns
    -------
    Solid
        The scaled one; its fillet stays as it is.
    """
    times = np.float32(k)
    return Solid(
        lambda u, v, w: times * solid.distance(u / times, v / times, w / times), solid.low * times,
        solid.high * times, solid.blend_mm, solid.hole,
    )  # fmt: skip


def body(dims: Triple, wedge: float, hooks_mm: float, rng: np.random.Generator) -> Solid:
    """A body: waisted, hollow plates, a lip in front below, uncinate hooks at the upper side edges.

    Parameters
    ----------
    dims : tuple of float
        Depth, width and height in millimetres.
    wedge : float
        Loss of height in front, as a share of it.
    hooks_mm : float
        Height of the uncinate hooks.
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    Solid
        The body around the frame's origin.
    """
    rd, rw, half = (np.float32(d / 2) for d in dims)
    hollow, lip, skew, turn = (np.float32(x) for x in rng.normal([0.65, 1.0, 0, 0], [0.2, 0.35, 0.03, 0.03]))
    lost, soft = np.float32(wedge), np.float32(1.8)

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        a, b = np.abs(w + turn * v) / rw, v / rd
        a1, fore = np.minimum(a, 1.1), np.clip(-b, 0, 1.1)
        front = np.clip(0.5 - 0.5 * b, 0, 1)  # 0 at the back wall, 1 at the front
        tilted = u + skew * w
        top = half * (1 - 1.6 * lost * front) - hollow * (1 - a1 * a1) - 1.1 * fore**2
        top = top + hooks_mm * a1**6 * np.clip(1.2 + b, 0, 1)
        bottom = half - hollow * (1 - np.minimum(b * b, 1)) + lip * fore**3 - 0.35 * hooks_mm * a1**4
        middle = 1 - np.minimum(np.abs(u) / half, 1) ** 2
        ry, rx = rd - middle * (0.5 + 0.8 * front), rw - 1.5 * middle
        dent = np.where(v > 0, 0.9 * (1 - a1) * b, 0)  # the back wall is a little hollow
        across, along = np.abs(w) / rx, np.abs(v) / ry + dent / rd
        power = np.clip(2.65 + 0.8 * b, 2.15, 3.4)
        radial = ((across**power + along**power) ** (1 / power) - 1) * np.minimum(rx, ry)
        cap = np.maximum(tilted - top, -bottom - tilted)
        outer, inner = np.maximum(radial + soft, 0), np.maximum(cap + soft, 0)
        return np.sqrt(outer**2 + inner**2) + np.minimum(np.maximum(radial, cap) + soft, 0) - soft

    reach = np.array([half + hooks_mm + 1.5, rd + 1, rw + 1], float)
    return Solid(distance, -reach, reach, blend_mm=1.5)


def pillar(name: str, side: int, shape: Shape, rng: np.random.Generator) -> Solid:
    """An articular pillar: joint planes above and below that fall to the back, a waist between them.

    Parameters
    ----------
    name : str
        C2 to C7, or T1 to T12.
    side : int
        -1 is right, 1 left.
    shape : Shape
        How far the joints are, and the vertebra's scale.
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    Solid
        The pillar in its vertebra's frame.
    """
    c = pillar_at(name, side).astype(np.float32)
    lean = np.float32(FACET_LEAN[name[0]] + rng.normal(0, 0.07))
    which = 0 if side < 0 else 1
    up, down = np.float32(shape.up_mm[which] / shape.scale), np.float32(shape.down_mm[which] / shape.scale)
    deep, wide = ((5.6, 5.7), (4.0, 5.2))[name[0] == "T"] + rng.normal(0, 0.25, 2)
    flat, soft, bend = np.float32(1 / np.hypot(1, lean)), np.float32(1.5), np.float32(3.4)

    def distance(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        v, w = v - c[1], np.abs(w - c[2])
        fall = u - c[0] + lean * v
        share = np.clip(np.maximum(fall / up, -fall / down), 0, 1)
        waist = 1 - share * share
        dv = np.abs(v + 0.3 * waist) - deep + 0.3 * waist + bend
        dw = w - wide + 0.5 * waist + bend
        around = np.sqrt(np.maximum(dv, 0) ** 2 + np.maximum(dw, 0) ** 2)
        around = around + np.minimum(np.maximum(dv, dw), 0) - bend + soft
        cap = np.maximum(fall - up, -down - fall) * flat + soft
        far = np.sqrt(np.maximum(cap, 0) ** 2 + np.maximum(around, 0) ** 2)
        return far + np.minimum(np.maximum(cap, around), 0) - soft

    low = np.array([c[0] - down - lean * deep, c[1] - deep - 1, c[2] - wide])
    high = np.array([c[0] + up + lean * deep, c[1] + deep + 1, c[2] + wide])
    return Solid(distance, low, high, blend_mm=2.0)


def typical(name: str, shape: Shape, rng: np.random.Generator) -> list[Solid]:
    """C3 to C7 and the upper thoracic vertebrae.

    Parameters
    ----------
    name : str
        C3 to C7, or T1 to T4.
    shape : Shape
        What changes the plain vertebra.
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    list of Solid
        In the body's frame; holes lie among them.
    """
    dims = triple(BODY_MM[name] * (1 + 0.03 * rng.standard_normal(3)))
    thoracic = name[0] == "T"
    solids = [body(dims, shape.wedge, 0.0 if thoracic else 3.2 + rng.normal(0, 0.5), rng)]
    solids += [pillar(name, side, shape, rng) for side in (-1, 1)]
    solids += _arch(name, rng)
    return solids + (_thoracic_bars(name, rng) if thoracic else _transverse(name, rng))


def _arch(name: str, rng: np.random.Generator) -> list[Solid]:
    """Pedicles and laminae behind a body, and the spinous process."""
    depth, width, height = BODY_MM[name]
    thoracic = name[0] == "T"
    back, joint = depth / 2, depth / 2 + CANAL_MM + 1.5 + rng.normal(0, 0.6)
    solids = []
    for s in (-1, 1):
        pu, pv, pw = pillar_at(name, s)
        up = height * (0.16 if thoracic else 0.08)
        inner = (-2.0, pv + 2.5, pw - s * 2.5)
        solids += [
            capsule(
                (up, back - 3.5, s * (width / 2 - 4)), (up - 0.5, pv - 1, pw - s), 2.3 + rng.normal(0, 0.2), 2.9,
                tall=1.6 if thoracic else 1.0, blend_mm=2.5,
            ),
            capsule(
                inner, (-3.5, joint, s * 0.8), 1.65 + rng.normal(0, 0.15), 1.8, tall=0.27 * height + 0.8,
                lean=0.42, blend_mm=2.2,
            ),
        ]  # fmt: skip
    return solids + spinous(name, (-4.0, joint, 0.0), rng)


def spinous(name: str, root: Triple, rng: np.random.Generator) -> list[Solid]:
    """The spinous process: deep and narrow, with a thick or a split end.

    Parameters
    ----------
    name : str
        C2 to C7, or T1 to T12.
    root : tuple of float
        u, v, w of where the laminae meet, in millimetres.
    rng : numpy.random.Generator
        Draws the patient's deviations.

    Returns
    -------
    list of Solid
        In the vertebra's frame.
    """
    length, fall, tall, split = SPINOUS[name]
    length *= 1 + 0.08 * rng.standard_normal()
    bend = float(rng.normal(0, 0.05))

    def at(share: float, aside: float = 0.0) -> Triple:
        along = share * length
        return root[0] - fall * along, root[1] + along, bend * along + aside

    if not split:
        return [
            capsule(at(0), at(0.55), 2.1, 1.9, tall=1.25 * tall + 0.5, taper=0.35, lean=0.25, blend_mm=2.5),
            capsule(at(0.5), at(0.97), 1.9, 2.9, tall=0.75 * tall + 0.5, taper=0.25, lean=0.25, blend_mm=3.0),
        ]
    apart = float(rng.uniform(2.6, 4.8))
    solids = [capsule(root, at(0.65), 1.8, 1.6, tall=1.3 * tall + 0.6, taper=0.45, lean=0.3, blend_mm=2.5)]
    for s in (-1, 1):
        end = at(1 + 0.12 * float(rng.standard_normal()), s * apart)
        solids.append(capsule(at(0.55), end, 1.5, 1.9 + 0.2 * float(rng.standard_normal()), tall=0.6 * tall + 0.8,
                              taper=0.5, blend_mm=2.0))  # fmt: skip
    return solids


def _transverse(name: str, rng: np.random.Generator) -> list[Solid]:
    """Cervical transverse processes: a gutter around the foramen of the vertebral artery."""
    depth, width, _ = BODY_MM[name]
    out, seventh = width / 2, name == "C7"
    solids = []
    for s in (-1, 1):
        reach = (15.5 if seventh else 8.5) + rng.normal(0, 1.0)
        hole = out + 4.2 + rng.normal(0, 0.4)
        front = (
            -3.0 + rng.normal(0, 0.6),
            -2.0 if seventh else -3.0,
            s * (out + (7.0 if seventh else reach)),
        )
        back = (-4.0 + rng.normal(0, 0.8), 7.0, s * (out + reach + 1.5))
        knob = {"C6": 3.0, "C7": 1.4}.get(name, 2.3) + rng.normal(0, 0.2)
        solids += [
            capsule((0.0, 0.8, s * (out - 2)), front, 2.0, knob, tall=0.8, blend_mm=1.8),
            capsule((-0.5, depth / 2 + 4, s * (out + 3)), back, 2.6, 2.7 + 0.6 * seventh, tall=1.0, blend_mm=2.4),
            capsule(front, (-4.0, 6.0, s * (out + 0.7 * reach + 1)), 1.5, 1.9, tall=0.6, blend_mm=2.0),
        ]  # fmt: skip
        radius = (1.6 if seventh else 2.8) + rng.normal(0, 0.25)
        tube = capsule((-9, 2.8, s * hole), (9, 2.8, s * hole), radius, hole=True)
        solids.append(tube)
    return solids


def _thoracic_bars(name: str, rng: np.random.Generator) -> list[Solid]:
    """Thoracic transverse processes: stout clubs out, back and a little up."""
    solids = []
    for s in (-1, 1):
        _, pv, pw = pillar_at(name, s)
        solids.append(capsule((0.5, pv, pw), _rib_rest(name, s, rng), 3.6, 4.4, tall=1.2, blend_mm=3.0))
    return solids


def _rib_rest(name: str, side: int, rng: np.random.Generator | None = None) -> Triple:
    """The tip of a thoracic transverse process, where the rib leans on it."""
    depth, _, _ = BODY_MM[name]
    number = min(int(name[1:]), 7)  # the lower ones are as short as the seventh
    off = rng.normal(0, 0.8, 3) if rng is not None else np.zeros(3)
    return 1.5 + off[0], depth / 2 + 9 + 2.0 * number + off[1], side * (37 - 2.2 * number + off[2])


def rib(side: int, name: str) -> list[Solid]:
    """A rib from the body's corner past the transverse process, then out, forward and down.

    Parameters
    ----------
    side : int
        -1 is right, 1 left.
    name : str
        T1 to T12.

    Returns
    -------
    list of Solid
        Its first centimetres, in the vertebra's frame.
    """
    depth, width, height = BODY_MM[name]
    head = (height * 0.35, depth / 2 - 1, side * (width / 2 + 3.2))
    rest = np.array(_rib_rest(name, side))
    knee, far = rest + [-3.5, -6.0, 6.0 * side], rest + [-9.0, -8.0, 20.0 * side]
    end = far + [-10.0, 12.0 - 14 * (name == "T1") - 8, 14.0 * side]

    def piece(a: Vector, b: Vector, r_a: float, r_b: float) -> Solid:
        return capsule(a, b, r_a, r_b, tall=1.8, blend_mm=2.5)

    return [piece(head, knee, 2.6, 2.8), piece(knee, far, 2.8, 2.9), piece(far, end, 2.9, 2.6)]


def disc(name: str) -> Solid:
    """The disc above a body.

    Parameters
    ----------
    name : str
        The vertebra below it.

    Returns
    -------
    Solid
        In the frame half-way to the body's neighbour.
    """
    depth, width, _ = BODY_MM[name]
    return slab((0, 0, 0), (5.5, depth / 2 + 0.4, width / 2 - 1.0), 4.5)
