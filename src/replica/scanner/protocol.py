"""How one study is scanned and stored: its voxel grid, kernel, noise, numbering and place in the scanner."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from replica.anatomy.build import C7, Anatomy
from replica.anatomy.shapes import Grid, Triple, triple
from replica.scanner.sites import SITES, Kernel, Site
from replica.settings import FULL_MATRIX, ReplicaSettings

COLUMN_MARGIN_MM = 3.0
SPACING_MM = (0.19, 0.71)
WIDEST_MM = 48.0  # C1 with its transverse processes, to each side
MOST_SLICES = 1000  # the original's longest series, 1,082, holds every position twice


class View(StrEnum):
    """What lies between a scan's first and last slice."""

    NECK = "neck"
    CUT_BELOW = "cut_below"  # ends within one of C2 to C7
    CUT_ABOVE = "cut_above"  # begins within one of C1 to C6
    HEAD_AND_NECK = "head_and_neck"
    NECK_AND_CHEST = "neck_and_chest"
    HEAD_TO_CHEST = "head_to_chest"
    HEAD = "head"
    CHEST = "chest"


@dataclass(frozen=True)
class Protocol:
    """One series as scanned and stored."""

    grid: Grid
    thickness_mm: float
    kernel: Kernel
    noise_hu: float  # SD in the middle of the neck
    signed: bool
    intercept: int
    syntax: str
    feet_first: bool  # file numbers rise from the feet to the head
    first_number: int
    window: tuple[tuple[int, ...], tuple[int, ...]]  # centres, widths
    offset_mm: Triple  # from the grid's millimetres to the scanner's, (z, y, x)
    tilt_deg: float = 0.0  # of an oblique series, about the x axis
    stacks: int = 1  # how often the same positions are stored, one stack after the other
    view: View = View.NECK
    uneven_mm: tuple[float, ...] = ()  # how far above its place on the grid each slice lies

    def file_numbers(self) -> np.ndarray:
        """Number in each slice's file name, top slice first, of the first stack, int (z,)."""
        numbers = np.arange(self.grid.shape[0]) + self.first_number
        return numbers[::-1] if self.feet_first else numbers

    def row_and_column(self) -> tuple[Triple, Triple]:
        """Unit vectors (x, y, z) along a slice's rows and down its columns: ImageOrientationPatient."""
        tilt = np.deg2rad(self.tilt_deg)
        return (1.0, 0.0, 0.0), (0.0, float(np.cos(tilt)), float(np.sin(tilt)))

    def patient_mm(self, point_mm: Triple) -> Triple:
        """A point of the grid in DICOM's patient coordinates.

        Parameters
        ----------
        point_mm : tuple of float
            z, y, x of the grid in millimetres.

        Returns
        -------
        tuple of float
            x, y, z in millimetres.
        """
        z, y, x = point_mm
        _, (_, cos, sin) = self.row_and_column()
        dz, dy, dx = self.offset_mm
        return x + dx, y * cos - z * sin + dy, y * sin + z * cos + dz

    def position_mm(self, k: int) -> Triple:
        """ImagePositionPatient of a slice: the centre of its first pixel.

        Parameters
        ----------
        k : int
            The slice's index from the top.

        Returns
        -------
        tuple of float
            x, y, z in millimetres, four decimals.
        """
        top, y, x = self.grid.origin_mm
        z = top - k * self.grid.spacing_mm[0] + (self.uneven_mm[k] if self.uneven_mm else 0.0)
        return triple(round(mm, 4) for mm in self.patient_mm((z, y, x)))


def choose_protocol(
    site: int, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Draw a protocol from the site's habits and place the field of view around this patient's neck.

    Parameters
    ----------
    site : int
        1 to 12.
    anatomy : Anatomy
        The patient.
    settings : ReplicaSettings
        For the size of the matrix.
    rng : numpy.random.Generator
        Of this study's protocol.

    Returns
    -------
    Protocol
        An ordinary one.
    """
    habits = SITES[site]
    step, thickness, _ = habits.steps[int(rng.choice(len(habits.steps), p=[s[2] for s in habits.steps]))]
    grid = _place(anatomy, habits, step / settings.size, settings.matrix, rng)
    return Protocol(
        grid=grid,
        thickness_mm=round(thickness / settings.size, 6),
        kernel=Kernel(habits.kernel.cutoff_per_mm * rng.uniform(0.9, 1.1), habits.kernel.boost),
        # a larger voxel averages over more of the noise
        noise_hu=settings.size**0.45
        * float(np.clip(habits.noise_hu * np.exp(0.2 * rng.standard_normal()), 18, 80)),
        signed=habits.stored[0],
        intercept=habits.stored[1],
        syntax=habits.syntax,
        feet_first=bool(rng.random() < habits.feet_first),
        first_number=1,
        window=habits.windows[int(rng.integers(len(habits.windows)))],
        offset_mm=(
            round(rng.uniform(-900, 300), 2),
            round(rng.uniform(-180, -60), 2),
            round(rng.normal(0, 8), 2),
        ),
    )


def _place(anatomy: Anatomy, habits: Site, step: float, matrix: int, rng: np.random.Generator) -> Grid:
    """A grid that holds C1 to C7, however the site's people lay it around them."""
    top, bottom = column_ends_mm(anatomy)
    need = top - bottom + 2 * COLUMN_MARGIN_MM
    slack = rng.gamma(4.0, habits.slack_mm / 4.0)
    extent = min(need + slack, MOST_SLICES * matrix / FULL_MATRIX * step)
    above = COLUMN_MARGIN_MM + (extent - need) * np.clip(rng.normal(habits.above, 0.12), 0.05, 0.95)
    front, back = column_depth_mm(anatomy)
    spread = 0.09 if rng.random() < 0.97 else 0.28  # now and then somebody zooms in, or takes the whole body
    spacing = np.clip(habits.spacing_mm * np.exp(spread * rng.standard_normal()), *SPACING_MM)
    spacing = round(float(max(spacing, (back - front) / FULL_MATRIX)) * FULL_MATRIX / matrix, 6)
    half = spacing * (matrix - 1) / 2
    middle_y = float(np.clip(-rng.uniform(0, 26), back - half, front + half))
    beside = max(half - WIDEST_MM * anatomy.scale, 0)
    middle_x = float(np.clip(rng.normal(0, habits.off_centre_mm), -beside, beside))
    origin = (round(top + above, 3), round(middle_y - half, 3), round(middle_x - half, 3))
    step = round(step, 6)
    return Grid((int(extent / step) + 1, matrix, matrix), (step, spacing, spacing), origin)


def column_ends_mm(anatomy: Anatomy) -> tuple[float, float]:
    """Heights of C1's upper and C7's lower end.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.

    Returns
    -------
    top, bottom : float
        Millimetres.
    """
    top, bottom = anatomy.poses[0].centre[0], anatomy.poses[C7].centre[0]
    return float(top + 12 * anatomy.scale), float(bottom - 32 * anatomy.scale)


def column_depth_mm(anatomy: Anatomy) -> tuple[float, float]:
    """How far C1 to C7 reach to the front and, with their spinous processes, to the back.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.

    Returns
    -------
    front, back : float
        y in millimetres.
    """
    y = np.array([pose.centre[1] for pose in anatomy.poses[: C7 + 1]])
    return float(y.min() - 25 * anatomy.scale), float(y.max() + 66 * anatomy.scale)
