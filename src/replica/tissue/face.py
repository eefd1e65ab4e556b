"""The face: maxilla, palate, zygoma, nasal cavity and sinuses, the jaw, and every tooth by itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce

import numpy as np

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import smooth_union, triple
from replica.tissue.forms import chain, egg, mirror, oval, rod, smooth_max
from replica.tissue.head import bone_ink
from replica.tissue.painter import AIR_HU, FINE_MM, FINER_MM, Body, Form, Frame, Ink, Layer, trim
from replica.tissue.skin import jaw_frame

DENTINE_HU, ENAMEL_HU, METAL_HU, PULP_HU = 1230.0, 1560.0, 3050.0, 350.0
MUCOSA_HU, FLUID_HU, WALL_HU = 48.0, 18.0, 620.0
# half of an arch from the middle: width of a crown, depth of a crown, length of crown and of roots, roots
TEETH = [(8.0, 6.5, 9, 13, 1), (6.6, 6.2, 9, 13, 1), (7.6, 7.8, 9.5, 16, 1), (7.0, 8.6, 8, 14, 1),
         (6.9, 8.6, 7.5, 14, 1), (10.2, 10.4, 7, 13, 2), (9.8, 10.2, 6.6, 12, 2),
         (9.0, 9.6, 6, 10, 2)]  # fmt: skip
# length along an arch, v, w
ARCH = np.array(
    [[0, -96, 0], [8, -95, 8], [16, -91.5, 15.5], [24, -85, 20.5], [32, -77.5, 24], [40, -69.5, 27],
     [48, -61.5, 29.5], [56, -53.7, 31.5]]
)  # fmt: skip
SOCKET_U = {1: 2.0, -1: -22.0}  # where the gums of the upper and the lower arch lie


def _arch(along: np.ndarray | float, upper: bool) -> tuple[np.ndarray, np.ndarray]:
    """v and w of a dental arch at a length (mm) from its middle."""
    v, w = (np.interp(along, ARCH[:, 0], ARCH[:, i]) for i in (1, 2))
    return (v, w) if upper else (v + 2.0, 0.95 * w)


def face_layers(body: Body, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Layer]:
    """Bones of the face with their air, then jaw and teeth.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    grain : ndarray of float32, shape (GRAINS, GRAINS, GRAINS)
        Block of the marrow's grain, HU.
    rng : numpy.random.Generator
        Of the face.

    Yields
    ------
    Layer
        In painting order.
    """
    anatomy = body.anatomy
    yield from body.cast(_upper_bones(anatomy, grain, rng))
    yield from body.cast(_sinuses(anatomy, rng))
    yield from body.cast(_nose(anatomy, rng))
    yield from body.cast([_jaw(anatomy, grain), _jaw_canal(anatomy, -1), _jaw_canal(anatomy, 1)])
    yield from _teeth(body, rng)


def _upper_bones(anatomy: Anatomy, grain: np.ndarray, rng: np.random.Generator) -> Iterator[Form]:
    ink = bone_ink(anatomy, grain, 0.9, 1.0)

    def alveolus(f: Frame) -> np.ndarray:
        f = _static(f, anatomy)
        return smooth_max(_along_arch(f, True) - 6.0, np.abs(f.u - 8) - 7.8)

    yield Form((-6, -112, -44), (24, -38, 44), alveolus, bone_ink(anatomy, grain, 0.7, 0.9), FINE_MM)

    def palate(f: Frame) -> np.ndarray:
        dome = 11 + 2.0 * (1 - (f.w / 16) ** 2)
        return np.maximum(np.abs(f.u - dome) - 1.3, np.maximum(np.abs(f.w) - 19, np.abs(f.v + 69) - 25))

    yield Form((4, -98, -22), (20, -40, 22), palate, Ink(500.0, 950.0, 0.9), FINER_MM)
    open_mm = rng.uniform(-1.2, 1.6) + 6 * anatomy.flesh.gape

    def mouth(f: Frame) -> np.ndarray:
        roof = 8.5 - 0.012 * f.w**2 - 0.006 * (f.v + 68) ** 2  # between tongue and palate
        return np.maximum(np.abs(f.u - roof) - open_mm, smooth_max(np.abs(f.w) - 20, np.abs(f.v + 68) - 25))

    yield Form((-14, -96, -22), (14, -40, 22), mouth, Ink(AIR_HU), FINER_MM)
    for side in (-1, 1):
        a, b = rng.normal(0, 1.5), rng.normal(0, 1.0)
        cheek = [(10, -76, 36, 3.5), (24, -75, 43 + b, 6), (36, -67, 51 + b, 4.5), (38, -50, 58 + b, 3),
                 (36, -30 + a, 61 + b, 2.6), (38, -12, 58, 3)]  # fmt: skip
        yield rod(mirror(cheek, side), ink, tall=2.0, step_mm=FINE_MM)
        rim = [(38, -68, 49, 4), (52, -74, 48, 3.5), (72, -76, 46, 4)]
        yield rod(mirror(rim, side), ink, step_mm=FINE_MM)
        front = [(30, -92, 14, 2.4), (52, -92, 12, 2.6), (66, -92, 8, 3)]
        yield rod(mirror(front, side), ink, step_mm=FINE_MM)
        yield _pterygoid(side)


def _pterygoid(side: int) -> Form:
    """The two thin plates behind the jaw's end that open backwards."""

    def distance(f: Frame) -> np.ndarray:
        w, deep = side * f.w, f.v + 52
        inner = np.abs(w - 13 - 0.05 * deep) - 0.9
        outer = np.abs(w - 15 - 0.62 * deep) * 0.85 - 0.9
        root = oval(f, (26, -52, side * 16), (10, 4, 5))
        plates = np.minimum(np.maximum(inner, deep - 11), np.maximum(outer, deep - 15))
        plates = np.maximum(plates, np.maximum(-deep, np.abs(f.u - 16) - 13))
        return np.minimum(plates, root)

    box = sorted((side * 10.0, side * 28.0))
    return Form((1, -57, box[0]), (38, -34, box[1]), distance, Ink(850.0), FINER_MM)


def _sinuses(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """Maxillary and sphenoid sinuses and the orbits: air or fat within a thin bony wall."""
    flesh = anatomy.flesh
    for side in (-1, 1):
        big = rng.uniform(0.85, 1.1)
        lining = rng.uniform(0.3, 2.5) if rng.random() < 0.3 else 0.2
        wet = max(flesh.fluid + rng.normal(0, 0.15), 0) if flesh.fluid else 0.0

        def sinus(f: Frame, s: int = side, big: float = big) -> np.ndarray:
            w = s * f.w
            egg_ = oval(f, (31, -65, s * 29), (18 * big, 18.5 * big, 14 * big))
            return np.maximum(np.maximum(egg_, 15 - w), 0.62 * (f.v + 84) + w - 49 - 2 * big)

        box = sorted((side * 12.0, side * 48.0))
        low, high = (8, -94, box[0]), (54, -42, box[1])
        yield Form(low, high, sinus, Ink(AIR_HU, WALL_HU, 1.0), FINER_MM)
        if lining > 0.25 or wet > 0.05:
            level = -47 - 40 * wet

            def filled(
                f: Frame,
                cave: Callable[[Frame], np.ndarray] = sinus,
                lining: float = lining,
                level: float = level,
            ) -> np.ndarray:
                d = cave(f) + 1.0
                return np.maximum(d, -np.maximum(d + np.float32(lining), f.v - np.float32(level)))

            yield Form(low, high, filled, Ink(FLUID_HU), FINER_MM)
        yield _orbit(side, -80.0, 1.2, Ink(WALL_HU))
        yield _orbit(side, -88.0, 0.0, Ink(-75.0))
        yield egg((66, -77, side * 32), (12, 12, 12), Ink(15.0, 50.0, 1.0))
    if rng.random() < 0.9:
        yield egg((51, -46, rng.normal(0, 3)), (11, 13, 13), Ink(AIR_HU, WALL_HU, 1.2), FINER_MM)


def _orbit(side: int, front: float, grow: float, ink: Ink) -> Form:
    """An orbit, open in front, that narrows to the back."""

    def distance(f: Frame) -> np.ndarray:
        cone = np.hypot(f.u - 66, f.w - side * 32) - 17 + 0.3 * (f.v + 74)
        return np.maximum(np.maximum(oval(f, (66, -66, side * 32), (18, 26, 19)), cone) - grow, front - f.v)

    box = sorted((side * 10.0, side * 54.0))
    return Form((45, -94, box[0]), (88, -38, box[1]), distance, ink, FINE_MM)


def _nose(anatomy: Anatomy, rng: np.random.Generator) -> Iterator[Form]:
    """The nasal cavity: air on both sides of a bent septum, with three shells that hang in from outside."""
    flesh = anatomy.flesh
    top = float(rng.normal(56, 2))

    def cavity(f: Frame) -> np.ndarray:
        half = np.clip(15 - 0.011 * (f.u - 22) ** 2, 3, 15)
        half = half * (0.62 + 0.38 * np.clip((f.v + 98) / 22, 0, 1)) - 2.0 * np.clip((f.v + 58) / 14, 0, 1)
        tall = np.abs(f.u - (top + 15) / 2) - (top - 15) / 2 + 0.012 * (f.v + 70) ** 2 - 3
        return smooth_max(smooth_max(np.abs(f.w) - half, tall), np.abs(f.v + 70) - 31)

    yield Form((4, -108, -20), (64, -34, 20), cavity, Ink(AIR_HU, WALL_HU, 0.8), FINER_MM)
    for side in (-1, 1):
        nostril = [(24, -96, side * 5, 4), (15, -105 - flesh.nose_mm / 2, side * 5.5, 3.2)]
        yield rod(nostril, Ink(AIR_HU), step_mm=FINER_MM)
    yield rod([(22, -44, 0, 11), (20, -34, 0, 10)], Ink(AIR_HU), step_mm=FINE_MM)

    def septum(f: Frame) -> np.ndarray:
        bend = flesh.septum_mm * np.sin((f.v + 100) / 16) * np.exp(-(((f.u - 28) / 16) ** 2))
        sheet = np.abs(f.w - bend) - (1.7 + 1.2 * np.exp(-(((f.u - 40) / 8) ** 2)) * (f.v < -70))
        return np.maximum(sheet, np.maximum(np.abs(f.v + 78) - 32, np.abs(f.u - 35) - 24))

    yield Form((8, -112, -6), (62, -44, 6), septum, Ink(170.0, MUCOSA_HU, 1.2), FINER_MM)
    swollen = rng.normal(0, 0.8)
    for side in (-1, 1):
        swell = 1 + 0.18 * rng.standard_normal() + 0.12 * side * swollen  # the nose breathes in turns
        low = [(21, -92, 8, 2.4 * swell), (18, -82, 6.6, 4.0 * swell), (19, -66, 8.4, 4.2 * swell),
               (21, -48, 7, 3.0 * swell)]  # fmt: skip
        mid = [(39, -86, 6, 1.8), (34, -74, 7, 3.4 * swell), (33, -62, 5.8, 2.6), (35, -48, 6.6, 2.0)]
        for left in (low, mid):
            nodes = mirror(left, side)
            yield rod(nodes, Ink(MUCOSA_HU), tall=3.0, step_mm=FINER_MM)
            nodes[:, 3] = 0.8
            yield rod(nodes, Ink(480.0), tall=2.0, step_mm=FINER_MM)


def _along_arch(f: Frame, upper: bool) -> np.ndarray:
    """Distance in the plane to the middle line of a dental arch."""
    share = ARCH[:-1, 0]
    v, w = _arch(share, upper)
    side = np.abs(f.w)

    def piece(i: int) -> np.ndarray:
        ax, ay = np.float32(v[i + 1] - v[i]), np.float32(w[i + 1] - w[i])
        dv, dw = f.v - np.float32(v[i]), side - np.float32(w[i])
        t = np.clip((dv * ax + dw * ay) * np.float32(1 / (ax * ax + ay * ay)), 0, 1)
        return (dv - t * ax) ** 2 + (dw - t * ay) ** 2

    return np.sqrt(reduce(np.minimum, (piece(i) for i in range(len(share) - 1))))


def _jaw(anatomy: Anatomy, grain: np.ndarray) -> Form:
    """The mandible: a bent body with the chin, a flat ramus, its two processes."""
    flesh = anatomy.flesh
    tall = 0.5 * flesh.chin_mm

    def distance(f: Frame) -> np.ndarray:
        f = jaw_frame(f, anatomy)
        side = replace(f, w=np.abs(f.w))
        mid = -24 - tall + 3
        front = [
            (mid - 1, -93, 0, 5.2),
            (mid - 0.5, -91, 9, 5.2),
            (mid, -83, 20, 5.0),
            (mid + 2, -67, 30, 5.0),
        ]
        body = chain(side, front, tall - 5)
        body = np.minimum(body, chain(side, [(mid + 2, -67, 30, 5), (mid + 5, -48, 38, 5.2)], tall - 6))
        lower = chain(side, [(mid + 5, -48, 38, 5.2), (-27, -34, 45, 4.6)], tall - 7)
        body = smooth_union(body, lower, np.float32(3))
        chin = oval(side, (mid - tall + 4, -97, 0), (6, 4.5, 11))
        body = smooth_union(body, chin, np.float32(4))
        ramus = np.maximum(
            np.abs(side.w - 46.5 - 0.12 * (f.u + 5)) - 3.2, np.abs(f.v + 36 + 0.12 * f.u) - 15.5
        )
        notch = f.u - 14 + 5 * np.exp(-(((f.v + 33) / 7) ** 2))
        ramus = np.maximum(ramus, np.maximum(notch, -30 - f.u - 0.35 * (f.v + 36)))
        neck = chain(side, [(4, -24, 47, 4.2), (20, -16, 49.5, 3.6), (27, -13.5, 50, 4.4)])
        head = chain(side, [(28, -13, 45, 4.2), (28, -14, 55, 4.2)])
        crown = chain(side, [(2, -47, 46.5, 3.6), (22, -46, 48, 1.6)])
        for part in (ramus, crown, neck, head):
            body = smooth_union(body, part, np.float32(3.5))
        return body

    reach = flesh.gape * 85
    ink = bone_ink(anatomy, grain, 1.1, 2.0)
    return Form((-68 - reach, -116, -66), (36, 2, 66), distance, ink, FINE_MM)


def _jaw_canal(anatomy: Anatomy, side: int) -> Form:
    """The nerve's canal, from the ramus to its opening beside the chin."""
    nodes = mirror([(2, -34, 45.5, 1.5), (-30, -44, 40, 1.5), (-42, -66, 29, 1.5), (-38, -80, 21, 1.5)], side)
    reach = anatomy.flesh.gape * 85
    low, high = nodes[:, :3].min(axis=0) - [4 + reach, 8, 8], nodes[:, :3].max(axis=0) + [4, 8, 8]
    return Form(
        triple(low), triple(high), lambda f: chain(jaw_frame(f, anatomy), nodes), Ink(120.0), FINER_MM
    )


def _teeth(body: Body, rng: np.random.Generator) -> Iterator[Layer]:
    """Both arches: roots, then crowns, then the metal of fillings."""
    anatomy = body.anatomy
    places = [(arch, side, i) for arch in (1, -1) for side in (-1, 1) for i in range(8)]
    lost = rng.random(len(places)) < anatomy.flesh.missing * (0.7 + 0.08 * np.array([p[2] for p in places]))
    lost |= (np.array([p[2] for p in places]) == 7) & (rng.random(len(places)) < 0.55)
    kept = [p for p, gone in zip(places, lost, strict=True) if not gone]
    molars = [p for p in kept if p[2] >= 3] or kept
    filled = [molars[i] for i in rng.permutation(len(molars))[: anatomy.fillings]]
    if anatomy.fillings and not filled:
        filled = [(1, 1, 5)]  # a bridge or an implant where no tooth is left
    for arch in (1, -1):
        reach = anatomy.flesh.gape * 85 if arch < 0 else 0.0
        low, high = (
            ((-12, -112, -44), (20, -30, 44)) if arch > 0 else ((-42 - reach, -112, -44), (-6, -30, 44))
        )
        lattice = body.lattice(FINER_MM, body.box(low, high))
        if lattice is None:
            continue
        f = body.frame(lattice)
        f = jaw_frame(f, anatomy) if arch < 0 else _static(f, anatomy)
        crowns, roots, metal = (np.full(lattice.shape, 9.0, np.float32) for _ in range(3))
        for place in kept + filled:
            if place[0] == arch:
                _tooth(f, place, place in filled, (crowns, roots, metal), rng.normal(0, 0.5, 3))
        inks = (Ink(PULP_HU, DENTINE_HU, 2.2), Ink(DENTINE_HU, ENAMEL_HU, 1.3), Ink(METAL_HU))
        for d, ink in zip((roots, crowns, metal), inks, strict=True):
            layer = trim(Layer(d * np.float32(body.k), lattice, ink))
            if layer is not None:
                yield layer


def _static(f: Frame, anatomy: Anatomy) -> Frame:
    """The upper arch's frame: as large as the jaw's, but it never opens."""
    return replace(jaw_frame(f, anatomy), u=f.u)


def _tooth(
    f: Frame,
    place: tuple[int, int, int],
    metal: bool,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
    move: np.ndarray,
) -> None:
    """Unite one tooth with the distances of crowns, roots and metal, in its own window of the frame."""
    arch, side, i = place
    wide, deep, crown, root, count = TEETH[i]
    along = sum(t[0] for t in TEETH[:i]) * 0.86 + wide * 0.43
    v, w = _arch(along, arch > 0)
    ahead, aside = (
        b - a for a, b in zip(_arch(along - 1, arch > 0), _arch(along + 1, arch > 0), strict=True)
    )
    turn = np.arctan2(aside, ahead)
    v, w, gum = float(v) + 0.6 * move[0], side * float(w) + 0.6 * move[1], SOCKET_U[arch] + move[2]
    middle = f.u.shape[0] // 2
    near_y = np.flatnonzero((np.abs(f.v[middle] - v) < 9).any(axis=1))
    near_x = np.flatnonzero((np.abs(f.w[middle] - w) < 9).any(axis=0))
    if not len(near_y) or not len(near_x):
        return
    part = (slice(None), slice(near_y[0], near_y[-1] + 1), slice(near_x[0], near_x[-1] + 1))
    up = arch * (f.u[part] - gum)  # > 0 within the bone
    dv, dw = f.v[part] - v, side * (f.w[part] - w)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    t, n = c * dv + s * dw, c * dw - s * dv  # along and across the arch
    taper = np.clip(1 + 0.025 * up, 0.5, 1)
    flat = (np.abs(t / (0.43 * wide * taper)) ** 3 + np.abs(n / (0.46 * deep * taper)) ** 3) ** np.float32(
        1 / 3
    )
    body = np.maximum((flat - 1) * 3.6, np.abs(up + crown / 2) - crown / 2)
    crowns, roots, filling = (d[part] for d in out)
    np.minimum(crowns, body, out=crowns)
    for shift in (0.0,) if count == 1 else (-0.24 * wide, 0.24 * wide):
        thin = np.clip(1 - up / (root * 1.25), 0.2, 1) * (1.0 if count == 1 else 0.62)
        r = np.hypot((t - shift * (1 + 0.03 * up)) / (0.34 * wide), n / (0.38 * deep))
        np.minimum(
            roots, np.maximum((r - thin) * 2.8, np.abs(up - root / 2 + 0.5) - root / 2 - 0.5), out=roots
        )
    if metal:
        top = np.maximum((flat - 0.8) * 3.6, np.abs(up + crown * 0.72) - 0.3 * crown)
        np.minimum(filling, top, out=filling)
