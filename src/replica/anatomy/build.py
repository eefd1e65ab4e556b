"""One patient's build: sizes, the curve of the spine, bone density, wear; everything varies continuously."""

from dataclasses import dataclass

import numpy as np

from replica.anatomy.flesh import Flesh, draw_flesh

NAMES = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)))
# distance in mm from each level's frame down to the next one's, before the patient's scale
PITCH_MM = (
    18.8, 19.0, 16.3, 16.5, 16.9, 17.5, 19.2, 21.0, 22.0, 22.5, 23.0, 23.4, 23.8, 24.3, 25.0, 26.0, 27.2, 28.6,
)  # fmt: skip
C7 = NAMES.index("C7")
DISC_WEAR = np.array([0, 0.3, 0.5, 0.6, 0.9, 1, 0.6, 0.3, *[0.2] * 10])  # how much of it reaches each disc


@dataclass(frozen=True)
class Posture:
    """How differently patients lie: standard deviations in degrees, and how many hold their arms up."""

    lordosis_deg: float = 9.0
    lean_deg: float = 5.0
    roll_deg: float = 1.7
    twist_deg: float = 2.2
    head_turn_deg: float = 5.0
    arms_up: float = 0.0  # share of the patients


USUAL = Posture()
WIDE = Posture(lordosis_deg=13.0, lean_deg=9.0, roll_deg=4.0, twist_deg=4.0, head_turn_deg=14.0, arms_up=0.25)


@dataclass(frozen=True)
class Pose:
    """A vertebra's frame: centre in mm (z, y, x) and the rows u (up), v (back), w (left) in (z, y, x)."""

    centre: np.ndarray
    turn: np.ndarray


@dataclass(frozen=True)
class Anatomy:
    """The continuous variables of one patient."""

    scale: float  # of the skeleton
    girth: float  # of the soft tissue
    fat_mm: float  # subcutaneous layer at the nape
    wear: float  # 0 young .. 1 worn
    cancellous_hu: float
    cortex_hu: float
    cortex_mm: float
    disc_share: np.ndarray  # (18,) height left of the disc below each level
    size: np.ndarray  # (19,) each vertebra's own deviation
    poses: tuple[Pose, ...]  # C1..T12
    fillings: int  # metal in the teeth
    seed: int  # of everything drawn later for this patient's anatomy
    flesh: Flesh
    arms_up: bool = False

    def spine_at(self, z_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the column runs: a curve through the bodies' centres.

        Parameters
        ----------
        z_mm : ndarray of float, shape (n,)
            Heights.

        Returns
        -------
        y, x : ndarray of float, shape (n,)
            Millimetres at those heights.
        """
        centres = np.array([p.centre for p in self.poses])[::-1]
        return np.interp(z_mm, centres[:, 0], centres[:, 1]), np.interp(z_mm, centres[:, 0], centres[:, 2])

    def level_at(self, z_mm: np.ndarray) -> np.ndarray:
        """Height as a share of the neck.

        Parameters
        ----------
        z_mm : ndarray of float, any shape
            Heights.

        Returns
        -------
        ndarray of float, shape as `z_mm`
            0 at C1, 1 at C7, beyond both continued.
        """
        top, bottom = self.poses[0].centre[0], self.poses[C7].centre[0]
        return (top - z_mm) / (top - bottom)


def make_anatomy(sex: str, age: int, rng: np.random.Generator, posture: Posture = USUAL) -> Anatomy:
    """Draw one patient: men are larger; the old have thinner bone and narrower discs.

    Parameters
    ----------
    sex : str
        "M" or "F".
    age : int
        Years.
    rng : numpy.random.Generator
        The patient's own.
    posture : Posture
        How differently patients lie.

    Returns
    -------
    Anatomy
        The patient's continuous variables.
    """
    scale = float(np.clip((1.01 if sex == "M" else 0.92) + 0.065 * rng.standard_normal(), 0.78, 1.24))
    wear = float(np.clip((age - 35) / 50 + 0.18 * rng.standard_normal(), 0, 1.2))
    disc_share = 1 - np.clip(rng.random(len(DISC_WEAR)) * wear * DISC_WEAR, 0, 0.75)
    disc_share[0] = 1
    size = 1 + 0.02 * rng.standard_normal(len(NAMES))
    size[2 : C7 + 1] *= np.linspace(0.97, 1.03, 5)
    return Anatomy(
        scale=scale,
        girth=float(np.clip(scale * (1 + 0.08 * rng.standard_normal()), 0.8, 1.3)),
        fat_mm=float(np.clip(7 * np.exp(0.5 * rng.standard_normal()), 2.5, 22)),
        wear=wear,
        cancellous_hu=float(np.clip(410 - 2.4 * (age - 35) + 65 * rng.standard_normal(), 150, 570)),
        cortex_hu=float(np.clip(1270 - 3 * max(age - 50, 0) + 120 * rng.standard_normal(), 850, 1650)),
        cortex_mm=float(np.clip(0.47 - 0.003 * max(age - 50, 0) + 0.07 * rng.standard_normal(), 0.26, 0.75)),
        disc_share=disc_share,
        size=size,
        poses=_poses(scale, disc_share, posture, rng),
        fillings=int(rng.integers(1, 4)) if rng.random() < 0.35 else 0,
        seed=int(rng.integers(2**31)),
        flesh=draw_flesh(sex, age, wear, rng),
        arms_up=bool(rng.random() < posture.arms_up),
    )


def _poses(
    scale: float, disc_share: np.ndarray, posture: Posture, rng: np.random.Generator
) -> tuple[Pose, ...]:
    """Stack the frames from C4 up and down along a curve with lordosis, scoliosis, tilt and rotation."""
    lordosis = rng.normal(24, posture.lordosis_deg) if rng.random() < 0.8 else rng.normal(-3, 10)
    slope = np.clip(rng.normal(17, posture.lean_deg) + 0.25 * (lordosis - 20), 2, 35)  # forward lean of C7
    number = np.arange(len(NAMES))
    share = np.clip((C7 - number) / 5, -0.2, 1.15)
    lean = np.deg2rad(slope - lordosis * share)
    lean[C7 + 1 :] -= np.deg2rad(np.arange(1, len(NAMES) - C7) * 3.0)
    below = np.interp(number, [0, C7 + 4], [-1, 1])  # from C1 to T4, then as it is there
    roll = np.deg2rad(rng.normal(0, posture.roll_deg) + rng.normal(0, posture.roll_deg) * below)
    twist = np.deg2rad(rng.normal(0, posture.twist_deg) - rng.normal(0, posture.twist_deg) * below)
    twist[0] += np.deg2rad(rng.normal(0, posture.head_turn_deg))  # the head turns at C1-C2
    turns = [_turn(*angles) for angles in zip(lean, roll, twist, strict=True)]
    pitch = scale * np.array(PITCH_MM)
    pitch[1:] -= scale * 3.6 * (1 - disc_share[1:])
    centres = [np.zeros(3)]
    for i, step in enumerate(pitch):
        up = turns[i][0] + turns[i + 1][0]
        centres.append(centres[-1] - step * up / np.linalg.norm(up))
    middle = centres[3] + np.array([0, rng.normal(0, 4), rng.normal(0, 4)])
    return tuple(Pose(c - middle, t) for c, t in zip(centres, turns, strict=True))


def _turn(lean: float, roll: float, twist: float) -> np.ndarray:
    """Axes u, v, w as rows in (z, y, x): lean tips u forward, roll to the left, twist turns about u."""
    u = np.array([np.cos(lean) * np.cos(roll), -np.sin(lean), np.sin(roll)])
    u /= np.linalg.norm(u)
    w = np.array([0.0, np.sin(twist), np.cos(twist)])
    w -= u * (u @ w)
    w /= np.linalg.norm(w)
    # right-handed in (x, y, z) so that no vertebra is mirrored
    v = np.cross(w[::-1], u[::-1])[::-1]
    v = v if v[1] > 0 else -v
    return np.array([u, v, w])
