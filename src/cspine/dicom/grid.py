"""Slices on an even grid, and where its voxels lie in the files and in the patient."""

from dataclasses import dataclass

import cv2
import numpy as np

from cspine.dicom.header import SliceHeader
from cspine.dicom.order import heights_of, normal_of
from cspine.dicom.volume import FileGrid
from cspine.errors import InputError

MAX_STEP_ERROR = 0.01
"""Share of the step by which a slice may miss its position on an even grid."""
ROUNDING_MM = 0.101
"""Positions are often written with one decimal; slice and end positions may err by half of that, each."""
LESS_THAN_A_GAP = 0.4
"""Share of the step that rounding may reach; a missing slice moves its neighbours by half a step or more."""
MAX_GAP_MM, MAX_GAP_STEPS = 10.0, 2.5
"""A gap is bridged by linear interpolation up to this length, two thirds of a vertebral body, or up to so many
usual steps where slices lie farther apart: behind a longer one anatomy would be invented."""
MAX_BEND_MM = 1.0
"""How far a slice's corner may lie beside the line between the first and the last one without a note."""
MAX_TILT_DEG = 0.5
"""Angle between the slice normal and the way from slice to slice without a note."""


@dataclass(frozen=True)
class EvenStack:
    """Slices on an even grid.

    hu: int16 (z, y, x). z_indices: int64 (slices,), z index of each slice that was read. ends_mm: float64
    (2, 3), positions (x, y, z) of the first pixel of the first and of the last slice.
    """

    hu: np.ndarray
    z_indices: np.ndarray
    ends_mm: np.ndarray


def file_grid(header: SliceHeader) -> FileGrid:
    """Which way the files' rows and columns run in the patient.

    Parameters
    ----------
    header : SliceHeader
        A slice of the series.

    Returns
    -------
    FileGrid
        The directions; `z_of_number` and `heights_mm` are still empty.
    """
    across, down = np.array(header.row_cosines), np.array(header.column_cosines)
    transposed = bool(abs(across[0]) < abs(down[0]))
    x_axis, y_axis = (down, across) if transposed else (across, down)
    return FileGrid(transposed, bool(y_axis[1] < 0), bool(x_axis[0] < 0), {}, np.zeros(0))


def even_grid(hu: np.ndarray, headers: list[SliceHeader], study: str) -> tuple[EvenStack, list[str]]:
    """Put slices on an even grid along z: as they are if they fit, else linear between neighbours.

    Parameters
    ----------
    hu : ndarray of int16, shape (z, y, x)
        Hounsfield units, from head to feet.
    headers : list of SliceHeader
        One a slice, in the same order.
    study : str
        The study's name, for messages.

    Returns
    -------
    stack : EvenStack
        The slices on their grid.
    notes : list of str
        What is unusual about their positions.

    Raises
    ------
    InputError
        If the slices leave gaps larger than themselves, or a single one that is too long to be bridged.
    """
    heights = heights_of(headers)
    depth = heights[0] - heights
    corners = np.array([header.position_mm for header in headers])
    ends = corners[[0, -1]]
    notes = _shape_notes(corners, depth, normal_of(headers[0]))
    step = depth[-1] / (len(depth) - 1)
    allowed = max(MAX_STEP_ERROR * step, min(ROUNDING_MM, LESS_THAN_A_GAP * step))
    if np.abs(depth - np.arange(len(depth)) * step).max() <= allowed:
        return EvenStack(hu, np.arange(len(hu)), ends), notes
    steps = np.diff(depth)
    usual = float(np.median(steps))
    count = round(depth[-1] / usual) + 1
    if count > 2 * len(hu) + 10:
        raise InputError(
            f"study {study}: found {len(hu)} slices {usual:.2f} mm apart that span {depth[-1]:.0f} mm; "
            "expected a stack without large gaps; check ImagePositionPatient (0020,0032)"
        )
    widest = int(steps.argmax())
    if steps[widest] > max(MAX_GAP_MM, MAX_GAP_STEPS * usual):
        raise InputError(
            f"study {study}: found a gap of {steps[widest]:.0f} mm behind {headers[widest].file.name}, among slices "
            f"{usual:.2f} mm apart; interpolation bridges {MAX_GAP_MM:.0f} mm at most, beyond it anatomy would be "
            "invented; get the missing slices, or name a folder with one side of the gap"
        )
    notes.append(
        f"steps of {steps.min():.2f} to {steps.max():.2f} mm between {len(hu)} slices: "
        f"interpolated to {count} slices {depth[-1] / (count - 1):.3f} mm apart"
    )
    where = np.interp(np.linspace(0, depth[-1], count), depth, np.arange(len(depth)))
    z_indices = np.rint(depth / depth[-1] * (count - 1)).astype(np.int64)
    return EvenStack(_between(hu, where), z_indices, ends), notes


def _shape_notes(corners: np.ndarray, depth: np.ndarray, normal: np.ndarray) -> list[str]:
    """What is unusual about the line of the slices' corners, float64 (slices, 3) as (x, y, z) in mm."""
    notes = []
    way = corners[-1] - corners[0]
    tilt = np.degrees(np.arccos(np.clip(abs(way @ normal) / np.linalg.norm(way), 0, 1)))
    if tilt > MAX_TILT_DEG:
        notes.append(
            f"each slice shifted against the last, as by a gantry tilted {tilt:.1f} degrees: a sheared grid"
        )
    line = corners[0] + (depth / depth[-1])[:, None] * way
    bend = np.linalg.norm(corners - line, axis=1).max()
    if bend > MAX_BEND_MM:
        notes.append(f"slices shift sideways by up to {bend:.1f} mm, taken as one straight stack")
    return notes


def _between(hu: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Slices at fractional z indices, linear between their neighbours, int16."""
    result = np.empty((len(where), *hu.shape[1:]), np.int16)
    for z, index in enumerate(where):
        below = min(int(index), len(hu) - 2)
        rest = index - below
        if rest < 0.01 or rest > 0.99:  # a slice that is there is kept as it is
            result[z] = hu[below + round(rest)]
        else:
            result[z] = cv2.addWeighted(hu[below], 1 - rest, hu[below + 1], rest, 0)
    return result


def z_of_numbers(kept: list[SliceHeader], stack: EvenStack, series: list[SliceHeader]) -> dict[int, int]:
    """File number -> z index, for slices that are in the stack and for others of the series at such a position.

    Parameters
    ----------
    kept : list of SliceHeader
        The slices of the stack.
    stack : EvenStack
        The stack.
    series : list of SliceHeader
        All of the series whose positions are right, those left out for their position included.

    Returns
    -------
    dict of int to int
        z index of each file number; files without a number (-1) are left out.
    """
    found = {
        header.number: int(z) for header, z in zip(kept, stack.z_indices, strict=True) if header.number >= 0
    }
    others = [header for header in series if header.number >= 0 and header.number not in found]
    if others:
        first, last, *heights = heights_of([kept[0], kept[-1], *others])
        for header, height in zip(others, heights, strict=True):
            z = round((first - height) / (first - last) * (len(stack.hu) - 1))
            if 0 <= z < len(stack.hu):
                found[header.number] = z
    return found


def affine_of(header: SliceHeader, files: FileGrid, stack: EvenStack) -> np.ndarray:
    """The affine of an even stack, whose slices lie on the line between its ends.

    Parameters
    ----------
    header : SliceHeader
        A slice of the stack.
    files : FileGrid
        Which way the files' rows and columns run.
    stack : EvenStack
        The slices.

    Returns
    -------
    ndarray of float64, shape (4, 4)
        From voxel (z, y, x, 1) to patient position (z, y, x) in mm.
    """
    across = np.array(header.row_cosines) * header.spacing_mm[1]
    down = np.array(header.column_cosines) * header.spacing_mm[0]
    slices, rows, columns = stack.hu.shape
    along = (stack.ends_mm[1] - stack.ends_mm[0]) / (slices - 1)
    y_step, x_step = (across, down) if files.transposed else (down, across)
    start = stack.ends_mm[0]
    if files.flipped_y:
        start, y_step = start + (rows - 1) * y_step, -y_step
    if files.flipped_x:
        start, x_step = start + (columns - 1) * x_step, -x_step
    affine = np.eye(4)
    affine[:3, :] = np.column_stack([along, y_step, x_step, start])[::-1]
    return affine
