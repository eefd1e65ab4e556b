"""What lies around the patient: couch, mattress, head holder, collar, tubes, leads and earrings."""

from collections.abc import Iterator

import numpy as np

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import Grid
from replica.tissue.forms import mirror, rod, smooth
from replica.tissue.painter import AIR_HU, COARSE_MM, FINER_MM, Body, Form, Frame, Ink, Layer, noise, trim
from replica.tissue.skin import head_girth
from replica.tissue.throat import airway_rows

SHELL_HU, CORE_HU, MATTRESS_HU, COVER_HU = 180.0, -915.0, -945.0, -350.0
HOLDER_HU, PLASTIC_HU, FOAM_HU, TUBE_HU, METAL_HU = 260.0, 60.0, -955.0, 320.0, 3000.0


def couch_layers(body: Body, skin: Layer, rng: np.random.Generator) -> list[Layer]:
    """Couch, rails and mattress, which don't bend with the patient and are painted first.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    skin : Layer
        The patient's outline, on the lattice of the whole scan.
    rng : numpy.random.Generator
        Draws the couch.

    Returns
    -------
    list of Layer
        In painting order.
    """
    flesh = body.anatomy.flesh
    y = _couch_y(skin)
    f = body.whole
    rows, columns = f.lattice.axis(1)[None, :, None], f.lattice.axis(2)[None, None, :]
    middle = np.float32(rng.normal(0, 6))
    bend = np.float32(rng.uniform(0.0006, 0.0013))
    arc = bend * (columns - middle) ** 2
    half = np.float32(rng.uniform(195, 215))
    edge = np.abs(columns - middle) - half
    deep = np.float32(rng.uniform(16, 34))
    top = y + np.float32(flesh.mattress_mm)
    depth = rows - top + arc

    foam = np.maximum(np.maximum(depth, edge + 12), top - np.float32(flesh.mattress_mm) - rows)
    board = np.maximum(
        np.maximum(-depth, depth - deep * (1 - (columns - middle) ** 2 / (1.3 * half) ** 2)), edge
    )
    shell = Ink(CORE_HU, SHELL_HU + 60 * float(rng.random()), float(rng.uniform(1.0, 1.9)))
    drawn = [(foam, Ink(MATTRESS_HU, COVER_HU, 0.7)), (board, shell)]
    for rail in (-1, 1):
        out, down = columns - middle - rail * (half - 22), rows - top - deep * 0.4 + bend * half**2 * 0.85
        drawn.append((np.hypot(out, down) - 4.0, Ink(-700.0, 300.0, 1.2)))
    # the same section in every slice: two nodes along z are enough
    spacing = ((f.lattice.shape[0] - 1) * f.lattice.spacing_mm[0], *f.lattice.spacing_mm[1:])
    shape = (2, *f.lattice.shape[1:])
    lattice = Grid(shape, spacing, f.lattice.origin_mm)
    layers = [trim(Layer(np.broadcast_to(d, shape).astype(np.float32), lattice, ink)) for d, ink in drawn]
    return [layer for layer in layers if layer is not None]


def _couch_y(skin: Layer) -> np.float32:
    """The height of the patient's back: where the mattress begins, mm."""
    inside = (skin.d < 0).any(axis=(0, 2))
    return np.float32(skin.lattice.axis(1)[np.flatnonzero(inside)[-1]] + 1.0)


def holder_layer(body: Body, skin: Layer, rng: np.random.Generator) -> Iterator[Layer]:
    """A thin trough of plastic that holds the head, open to the front, padded inside.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    skin : Layer
        The patient's outline, on the lattice of the whole scan.
    rng : numpy.random.Generator
        Draws the holder.

    Yields
    ------
    Layer
        In painting order; none where the scan begins below the head.
    """
    f = body.whole
    head = f.level > -58 + rng.normal(0, 6)
    if not head.any():
        return
    count = int(head.sum())
    part = (slice(0, count), slice(None), slice(None))
    cut = f.cut(part)
    inside = skin.d[part] < 0
    rows = cut.lattice.axis(1)
    columns = cut.lattice.axis(2)
    back = float(rows[np.flatnonzero(inside.any(axis=(0, 2)))[-1]]) + float(rng.uniform(3, 9))
    sides = columns[np.flatnonzero((skin.d[part] < 0).any(axis=(0, 1)))]
    middle = float((sides[0] + sides[-1]) / 2 + rng.normal(0, 2))
    wide = float((sides[-1] - sides[0]) / 2 + rng.uniform(4, 16))
    y, x = rows[None, :, None], columns[None, None, :] - np.float32(middle)
    power = np.float32(rng.uniform(2.2, 3.4))
    tall = np.float32(rng.uniform(78, 105))
    r = (np.abs(x / wide) ** power + np.abs((y - back + tall) / tall) ** power) ** (1 / power)
    trough = (r - 1) * np.float32(min(wide, float(tall)))
    rim = back - np.float32(rng.uniform(70, 140)) - y
    sides = np.abs(x) - np.float32(wide)
    trough = np.where(y < back - tall, sides, trough)  # its walls stand upright
    thick = np.float32(rng.uniform(1.6, 3.4))
    pad = np.float32(rng.uniform(3, 9)) * (rng.random() < 0.6)
    inks = (Ink(HOLDER_HU), Ink(FOAM_HU), Ink(AIR_HU))
    for depth, ink in zip((np.float32(0), thick, thick + pad), inks, strict=True):
        d = np.maximum(trough + depth, rim - (depth > 0) * 4)
        layer = trim(Layer(np.broadcast_to(d, cut.lattice.shape).astype(np.float32), cut.lattice, ink))
        if layer is not None:
            yield layer


def collar_layers(body: Body, rng: np.random.Generator) -> Iterator[Layer]:
    """A cervical collar: foam and plastic shells before and behind, with a chin piece and a hole in front.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    rng : numpy.random.Generator
        Draws the collar.

    Yields
    ------
    Layer
        In painting order.
    """
    anatomy, flesh = body.anatomy, body.anatomy.flesh
    lattice = body.lattice(COARSE_MM, body.box((-150, -135, -125), (24, 105, 125)))
    if lattice is None:
        return
    f = body.frame(lattice)
    around = _collar_distance(f, anatomy)
    around += 1.2 * noise(lattice, (50, 40, 40), rng)
    front = f.v < 0
    top = np.where(
        front, np.float32(-30) + 0.16 * np.minimum(f.v + 60, 0) - 80 * np.float32(flesh.gape), np.float32(2)
    )
    low = np.where(front, np.float32(-100), np.float32(-94)) - 0.12 * np.abs(f.w)
    ends = np.maximum(f.u - top, low - f.u)
    hole = np.maximum(np.abs(f.w) - 19, np.abs(f.u + 82) - 12)
    hole = np.where(f.v < -20, -hole, np.float32(-9))
    seam = 4.0 - np.abs(f.v + 4)  # between the two shells
    outside = np.maximum(around - 2.2, np.maximum(np.maximum(ends, seam), hole))
    inside = np.maximum(around, np.maximum(np.maximum(ends - 4, seam - 4), -9))
    for d, ink in ((outside, Ink(PLASTIC_HU)), (inside, Ink(FOAM_HU))):
        layer = trim(Layer((d * np.float32(body.k)).astype(np.float32), lattice, ink))
        if layer is not None:
            yield layer


def _collar_distance(f: Frame, anatomy: Anatomy) -> np.ndarray:
    """Distance to the collar's outside: an oval that widens to chin and shoulders."""
    girth, gap = anatomy.girth / anatomy.scale, anatomy.flesh.collar_mm
    u = f.level[:, None, None].astype(np.float32)
    wide = 58 * girth + gap + 0.004 * np.clip(-u - 60, 0, 60) ** 2 + 0.1 * np.clip(u + 60, 0, 60)
    back = 61 * girth + gap + 0.12 * np.clip(u + 60, 0, 70) + 0.5 * (anatomy.fat_mm - 7)
    front = 63 * girth + gap + 0.55 * np.clip(f.u + 72, 0, 60) + 0.1 * np.clip(-f.u - 85, 0, 30)
    r = np.sqrt((f.v / np.where(f.v > 0, back, front)) ** 2 + (f.w / wide) ** 2)
    return ((r - 1) * np.minimum(wide, 70)).astype(np.float32)


def tubes(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """A tube through the mouth into the trachea, and one through nose and gullet into the stomach.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    rng : numpy.random.Generator
        Of what is worn; the tubes need none of it.

    Yields
    ------
    Form
        In painting order.
    """
    rows = airway_rows(anatomy)
    down = rows[rows[:, 0] < -12]
    drop = 40 * anatomy.flesh.gape
    path = [(-12 - drop, -125, 12), (-10 - drop, -92, 10), (-2 - drop / 2, -60, 6), (-9, -32, 2)]
    nodes = [(*p, 4.6) for p in path] + [(r[0], r[1] + 1.0, r[2], 4.6) for r in down[::2]]
    yield rod(smooth(np.array(nodes)), Ink(AIR_HU, TUBE_HU, 1.3), step_mm=FINER_MM)
    nose = [(14, -112, 7, 2.4), (17, -70, 7, 2.4), (18, -38, 5, 2.4), (0, -15, 4, 2.4), (-50, -13.5, 5, 2.4),
            (-84, -16, 4, 2.4), (-150, -18.5, 5, 2.4), (-245, -26, 6, 2.4)]  # fmt: skip
    yield rod(smooth(np.array(nose)), Ink(-300.0, TUBE_HU, 1.1), step_mm=FINER_MM)


def trinkets(body: Body, rng: np.random.Generator) -> Iterator[Form]:
    """Leads of an electrocardiogram over shoulders and chest, earrings.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    rng : numpy.random.Generator
        Of what is worn.

    Yields
    ------
    Form
        In painting order.
    """
    flesh, anatomy = body.anatomy.flesh, body.anatomy
    if flesh.earrings:
        for side in (-1, 1):
            if rng.random() < 0.9:
                girth = head_girth(anatomy)
                lobe = (3 + rng.normal(0, 2), 3, side * (71 * girth + 5.5))
                ring = [(*lobe, 1.1), (lobe[0] - rng.uniform(2, 14), lobe[1] + 1, lobe[2] + side * 2, 0.9)]
                yield rod(ring, Ink(METAL_HU), step_mm=FINER_MM)
    if flesh.wires:
        for _ in range(int(rng.integers(1, 4))):
            side, out = rng.choice([-1, 1]), rng.uniform(40, 120)
            start = np.array([-240.0, -112, out])
            path = [start + np.array([22.0 * i, 5.0 * i - 2, rng.normal(0, 6)]) for i in range(5)]
            nodes = mirror([(*p, 1.1) for p in path], side)
            yield rod(nodes, Ink(METAL_HU * 0.5), step_mm=FINER_MM)
            yield rod(
                [(*nodes[-1, :3], 2.2), (*(nodes[-1, :3] + [1, 3, 0]), 4.5)], Ink(1400.0), step_mm=FINER_MM
            )
