"""The patient's outline: head, nose, ears, neck and shoulders, and the fat below the skin."""

from dataclasses import replace

import numpy as np

from replica.anatomy.build import Anatomy
from replica.anatomy.shapes import smooth_union
from replica.tissue.forms import chain, oval
from replica.tissue.painter import Body, Frame, Ink, Layer, noise
from replica.tissue.trunk import ARM_MM, arm

FAT_HU, SKIN_HU, SKIN_MM = -100.0, 15.0, 1.7
SEPTUM_HU = 40.0  # that a fibrous septum adds to fat
# u; half width, distance from the column to the skin behind and in front (mm); how square the front is
OUTLINE = np.array(
    [
        [120, 73, 96, 88, 2.1], [97, 75, 98, 91, 2.2], [54, 76, 96, 95, 2.5], [35, 74, 88, 95, 2.5],
        [20, 71, 80, 95, 2.3], [5, 68, 72, 98, 2.0], [-10, 66, 66, 103, 1.75], [-22, 63, 63, 98, 1.75],
        [-40, 60, 61, 99, 1.75], [-50, 58, 60, 90, 1.7], [-60, 57, 59, 68, 1.85], [-72, 58, 60, 60, 2.1],
        [-88, 66, 63, 56, 2.2], [-107, 96, 69, 59, 2.4], [-129, 160, 71, 68, 2.7], [-161, 206, 76, 82, 2.8],
        [-200, 204, 80, 94, 2.8], [-232, 168, 84, 104, 2.7], [-330, 166, 84, 122, 2.5], [-480, 158, 78, 112, 2.5],
    ]
)[::-1]  # fmt: skip
CROWN = ((70.0, 6.0, 0.0), (71.0, 97.0, 79.0))  # centre and radii of what closes the head above
HINGE_V = -12.0  # the jaw's condyles
MOUTH_U = -10.0  # the lower lip, from which on an open jaw takes the face with it


def jaw_frame(f: Frame, anatomy: Anatomy) -> Frame:
    """The frame in which an opened jaw is closed, and this patient's jaw has the standard's size.

    Parameters
    ----------
    f : Frame
        The standard patient's, on any lattice.
    anatomy : Anatomy
        The patient.

    Returns
    -------
    Frame
        On the same lattice.
    """
    flesh = anatomy.flesh
    return replace(
        f,
        u=f.u + np.float32(flesh.gape) * np.clip(HINGE_V - f.v, 0, 90),
        v=HINGE_V + (f.v - HINGE_V) * np.float32(1 / flesh.jaw_long),
        w=f.w * np.float32(1 / flesh.jaw_wide),
    )


def _row(at: np.ndarray, column: int) -> np.ndarray:
    return np.interp(at, OUTLINE[:, 0], OUTLINE[:, column]).astype(np.float32)[:, None, None]


def head_girth(anatomy: Anatomy) -> float:
    """The head's soft tissue against the standard's: it varies less than the trunk's.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.

    Returns
    -------
    float
        1 for the standard, 0.97 at least.
    """
    return max(0.35 * anatomy.girth / anatomy.scale + 0.65, 0.97)


def outline(f: Frame, anatomy: Anatomy) -> np.ndarray:
    """Distance to the skin; the neck follows the girth, the head less.

    Parameters
    ----------
    f : Frame
        Where it is evaluated.
    anatomy : Anatomy
        The patient.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Standard millimetres, negative inside.
    """
    flesh = anatomy.flesh
    girth = anatomy.girth / anatomy.scale
    stout = np.interp(f.level, [-45, 10], [girth, head_girth(anatomy)]).astype(np.float32)[:, None, None]
    level = f.level - flesh.shrug_mm * np.clip((-f.level - 58) / 45, 0, 1)
    face = f.u_at(-85.0)
    drop = flesh.gape * 80
    face = np.where(face > MOUTH_U, face, np.minimum(face + drop, MOUTH_U))
    fat = np.float32(0.5 * (anatomy.fat_mm - 7) / anatomy.scale)
    wide = stout * _row(level, 1) + fat * np.clip(-f.level / 40, 0, 1).astype(np.float32)[:, None, None]
    back = stout * _row(f.u_at(70.0), 2) + fat
    front = stout * _row(face, 3) + np.float32(0.5) * fat
    power = _row(face, 4)
    behind = np.interp(f.level, [-107, -70], [2.6, 2.15]).astype(np.float32)[:, None, None]
    power = np.where(f.v > 0, behind, power)
    reach = np.where(f.v > 0, back, front)
    r = (np.abs(f.v / reach) ** power + np.abs(f.w / wide) ** power) ** (1 / power)
    d = (r - 1) * np.minimum(np.minimum(wide, 72), reach)
    if f.level[0] > 0:  # tilted heads need a crown that knows all three directions
        crown = oval(f, CROWN[0], tuple(r * head_girth(anatomy) for r in CROWN[1]))
        d = np.where(f.u > CROWN[0][0], np.maximum(d, crown), d)
    d = _arms(f, d, anatomy)
    return _features(f, d, anatomy)


def _arms(f: Frame, d: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Unite the trunk's outline with the arms, where the lattice reaches them."""
    down = f.level[-1] > -190 and not anatomy.arms_up
    if down or f.level[-1] > -100 or np.abs(f.w).max() < 110:
        return d
    thick = ARM_MM * anatomy.girth / anatomy.scale
    for side in (-1, 1):
        shoulder, *rest = arm(anatomy, side)
        nodes = [(*shoulder, thick), *((*at, r * thick) for at, r in zip(rest, (1.0, 0.8), strict=True))]
        d = smooth_union(d, chain(f, nodes), np.float32(14))
    return d


def _features(f: Frame, d: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Unite the head's outline with nose and ears, where the lattice reaches them."""
    flesh = anatomy.flesh
    if f.level[0] < -45:
        return d
    top = slice(0, int(np.searchsorted(-f.level, 75.0 + 80 * flesh.gape)))
    part = (top, slice(None), slice(None))
    head, nose = f.cut(part), flesh.nose_mm
    ridge = chain(
        head, [(66, -95, 0, 5), (30, -109 - nose, 0, 8), (20, -104 - nose / 2, 0, 12)], blend_mm=3.0
    )
    jaw = jaw_frame(head, anatomy)
    mid = -21 - 0.5 * flesh.chin_mm
    half = replace(jaw, w=np.abs(jaw.w))
    low = mid - 0.5 * flesh.chin_mm + 5.5
    edge = [(mid, -90, 0, 15), (low, -92, 0, 14.5), (low, -85, 13, 15), (mid, -76, 21, 15),
            (mid + 4, -48, 38, 13), (-20, -34, 47, 12), (16, -44, 49, 11)]  # fmt: skip
    chin = np.minimum(
        chain(half, edge), chain(half, [(-18, -88, 0, 18), (-20, -78, 20, 15), (-18, -54, 34, 11)])
    )
    lip = chain(replace(half, u=head.u), [(6, -88, 0, 19), (8, -80, 18, 16), (8, -54, 32, 10)])
    cheeks = chain(replace(head, w=np.abs(head.w)), [(24, -75, 43, 10.5), (37, -66, 51, 9), (38, -40, 60, 7)])
    d = d.copy()
    for bone in (chin, lip, cheeks):  # what lies over it
        d[part] = smooth_union(d[part], bone, np.float32(13))
    d[part] = smooth_union(d[part], ridge, np.float32(7))
    d[part] = np.minimum(d[part], ears(head, anatomy))
    return d


def ears(f: Frame, anatomy: Anatomy) -> np.ndarray:
    """Distance to both pinnae: a hollow plate that stands off the head, thick at its rim and lobule.

    Parameters
    ----------
    f : Frame
        Where it is evaluated.
    anatomy : Anatomy
        The patient.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Standard millimetres, negative inside.
    """
    girth = np.float32(head_girth(anatomy))
    side = np.abs(f.w) - 71 * girth
    plate = np.abs(side - np.float32(3) - np.float32(0.42) * (f.v + 2)) - 1.6
    edge = np.sqrt(((f.u - 38) / 31) ** 2 + ((f.v - 8) / 19) ** 2)
    plate = np.maximum(plate - np.clip((edge - 0.75) * 7, 0, 1.8), (edge - 1) * 17)
    lobule = oval(f, (10, 3, 0), (9, 7, 400)) + np.maximum(np.abs(side - 3) - 3, 0) * 2
    return np.minimum(plate, lobule)


def fat_mm(f: Frame, anatomy: Anatomy) -> np.ndarray:
    """Depth of the fat between skin and muscle: most at the nape, least before the throat.

    Parameters
    ----------
    f : Frame
        Where it is evaluated.
    anatomy : Anatomy
        The patient.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Standard millimetres, the skin included.
    """
    flesh = anatomy.flesh
    lower = np.interp(f.level, [-120, -40, 20], [1.0, 0.75, 0.55]).astype(np.float32)[:, None, None]
    back = np.clip((f.v + 30) / 60, 0, 1)
    depth = lower * (np.float32(flesh.face_fat) * (1 - back) + back)
    return np.float32(anatomy.fat_mm / anatomy.scale) * depth + np.float32(SKIN_MM)


def skin_layer(body: Body, rng: np.random.Generator) -> Layer:
    """Everything within the skin as fat with fine septa, the skin itself as its rim.

    Parameters
    ----------
    body : Body
        The patient in the scan.
    rng : numpy.random.Generator
        Draws the septa.

    Returns
    -------
    Layer
        On the lattice of the whole scan.
    """
    f = body.whole
    wave = noise(f.lattice, (14, 9, 9), rng)
    septa = SEPTUM_HU * np.exp(-((wave / np.float32(0.13)) ** 2)) + 4 * noise(f.lattice, (30, 20, 20), rng)
    d = outline(f, body.anatomy) * np.float32(body.k)
    return Layer(d, f.lattice, Ink(FAT_HU, SKIN_HU, SKIN_MM), septa.astype(np.float32), skin=True)
