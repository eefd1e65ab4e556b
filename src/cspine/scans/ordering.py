"""Slices in their place: which of a folder's files form the series, in which order, on which grid.

Everything here follows ImagePositionPatient and ImageOrientationPatient (PS3.3 C.7.6.2.1.1); file numbers
only decide which of two slices at one position is kept.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from cspine.errors import InputError
from cspine.scans.header import SliceHeader
from cspine.scans.volume import FileGrid

MAX_STEP_ERROR = 0.01
"""Share of the step by which a slice may miss its place on an even grid."""
ROUNDING_MM = 0.101
"""Positions are often written with one decimal; slice and end positions may err by half of that, each."""
LESS_THAN_A_GAP = 0.4
"""Share of the step that rounding may reach; a missing slice moves its neighbours by half a step or more."""
SAME_PLACE = 0.1
"""Share of the usual step below which two slices count as one position."""
MAX_BEND_MM = 1.0
"""How far a slice's corner may lie beside the line between the first and the last one without a note."""


@dataclass(frozen=True)
class Stack:
    """Slices on an even grid.

    hu: int16 (z, y, x). places: int64 (slices,), z index of each slice that was read. ends_mm: float64
    (2, 3), positions (x, y, z) of the first pixel of the first and of the last slice.
    """

    hu: np.ndarray
    places: np.ndarray
    ends_mm: np.ndarray


def choose_series(headers: list[SliceHeader], study: str) -> tuple[list[SliceHeader], list[str]]:
    """Choose the axial CT series with the largest extent from head to feet.

    Returns its headers, in the order given, and notes. Raises InputError if there is no axial CT series.
    """
    groups: list[list[SliceHeader]] = []
    for header in headers:
        same = next((group for group in groups if same_series(group[0], header)), None)
        if same is None:
            groups.append([header])
        else:
            same.append(header)
    axial = [group for group in groups if _is_axial_ct(group[0])]
    if not axial:
        first = headers[0]
        found = f"{first.row_cosines + first.column_cosines} (Modality {first.modality or 'absent'})"
        raise InputError(
            f"study {study}: found no axial CT series, ImageOrientationPatient (0020,0037) is {found}; "
            "expected nearly 1, 0, 0, 0, 1, 0; name a folder with the axial series"
        )
    chosen = max(axial, key=lambda group: (np.ptp([header.position_mm[2] for header in group]), len(group)))
    others = len(headers) - len(chosen)
    return chosen, [f"{others} files of {len(groups) - 1} other series left out"] if others else []


def same_series(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether two slices can be layers of one volume."""
    for name in ("series", "rows", "columns", "localizer", "modality"):
        if getattr(one, name) != getattr(other, name):
            return False
    here = (*one.row_cosines, *one.column_cosines, *one.spacing_mm)
    there = (*other.row_cosines, *other.column_cosines, *other.spacing_mm)
    return max(abs(a - b) for a, b in zip(here, there, strict=True)) < 0.01


def _is_axial_ct(header: SliceHeader) -> bool:
    normal = np.abs(np.cross(header.row_cosines, header.column_cosines))
    return header.modality in ("", "CT") and not header.localizer and normal.argmax() == 2 and normal[2] > 0


def _heights(headers: list[SliceHeader]) -> np.ndarray:
    """Projection of each position on the slice normal, float64 (n,) mm, rising towards the head."""
    normal = np.cross(headers[0].row_cosines, headers[0].column_cosines)
    normal *= np.sign(normal[2]) / np.linalg.norm(normal)
    return np.array([header.position_mm for header in headers]) @ normal


def one_position_each(headers: list[SliceHeader], study: str) -> tuple[list[SliceHeader], list[str]]:
    """Order slices from head to feet and keep, of each position, the one that comes first in `headers`.

    Returns the slices and notes. Raises InputError if all lie at one position.
    """
    heights = _heights(headers)
    order = np.argsort(-heights, kind="stable")
    steps = -np.diff(heights[order])
    real = steps[steps > 1e-3]
    if not len(real):
        raise InputError(
            f"study {study}: found {len(headers)} slices at one position; expected several along the body; "
            "check ImagePositionPatient (0020,0032)"
        )
    limit = SAME_PLACE * np.median(real)
    places: list[list[int]] = []
    for index in order:
        if places and heights[places[-1][0]] - heights[index] < limit:
            places[-1].append(int(index))
        else:
            places.append([int(index)])
    kept = [headers[min(place)] for place in places]
    twice = len(headers) - len(kept)
    return kept, [f"{twice} slices left out, another one lies at their position"] if twice else []


def file_grid(header: SliceHeader) -> FileGrid:
    """Which way the files' rows and columns run in the patient."""
    across, down = np.array(header.row_cosines), np.array(header.column_cosines)
    transposed = bool(abs(across[0]) < abs(down[0]))
    x_axis, y_axis = (down, across) if transposed else (across, down)
    return FileGrid(transposed, bool(y_axis[1] < 0), bool(x_axis[0] < 0), {})


def even_grid(hu: np.ndarray, headers: list[SliceHeader], study: str) -> tuple[Stack, list[str]]:
    """Put slices on an even grid along z: as they are if they fit, else linear between neighbours.

    hu: int16 (z, y, x) with one header a slice, head to feet. Returns the stack and notes. Raises InputError
    if the slices leave gaps larger than themselves.
    """
    heights = _heights(headers)
    depth = heights[0] - heights
    corners = np.array([header.position_mm for header in headers])
    ends = corners[[0, -1]]
    notes = []
    line = ends[0] + (depth / depth[-1])[:, None] * (ends[1] - ends[0])
    bend = np.linalg.norm(corners - line, axis=1).max()
    if bend > MAX_BEND_MM:
        notes.append(f"slices shift sideways by up to {bend:.1f} mm, taken as one straight stack")
    step = depth[-1] / (len(depth) - 1)
    allowed = max(MAX_STEP_ERROR * step, min(ROUNDING_MM, LESS_THAN_A_GAP * step))
    if np.abs(depth - np.arange(len(depth)) * step).max() <= allowed:
        return Stack(hu, np.arange(len(hu)), ends), notes
    steps = np.diff(depth)
    usual = float(np.median(steps))
    count = round(depth[-1] / usual) + 1
    if count > 2 * len(hu) + 10:
        raise InputError(
            f"study {study}: found {len(hu)} slices {usual:.2f} mm apart that span {depth[-1]:.0f} mm; "
            "expected a stack without large gaps; check ImagePositionPatient (0020,0032)"
        )
    notes.append(
        f"steps of {steps.min():.2f} to {steps.max():.2f} mm between {len(hu)} slices: "
        f"interpolated to {count} slices {depth[-1] / (count - 1):.3f} mm apart"
    )
    where = np.interp(np.linspace(0, depth[-1], count), depth, np.arange(len(depth)))
    places = np.rint(depth / depth[-1] * (count - 1)).astype(np.int64)
    return Stack(_between(hu, where), places, ends), notes


def _between(hu: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Slices at fractional z indices, linear between their neighbours, int16."""
    result = np.empty((len(where), *hu.shape[1:]), np.int16)
    for z, place in enumerate(where):
        below = min(int(place), len(hu) - 2)
        rest = place - below
        if rest < 0.01 or rest > 0.99:  # a slice that is there is kept as it is
            result[z] = hu[below + round(rest)]
        else:
            result[z] = cv2.addWeighted(hu[below], 1 - rest, hu[below + 1], rest, 0)
    return result


def z_of_numbers(kept: list[SliceHeader], stack: Stack, headers: list[SliceHeader]) -> dict[int, int]:
    """File number -> z index, for slices that are in the stack and for others of the series at such a place.

    kept: the slices of the stack. headers: all of the folder, those left out for their position included.
    """
    found = {
        header.number: int(z) for header, z in zip(kept, stack.places, strict=True) if header.number >= 0
    }
    others = [h for h in headers if h.number >= 0 and h.number not in found and same_series(kept[0], h)]
    if others:
        first, last, *heights = _heights([kept[0], kept[-1], *others])
        for header, height in zip(others, heights, strict=True):
            z = round((first - height) / (first - last) * (len(stack.hu) - 1))
            if 0 <= z < len(stack.hu):
                found[header.number] = z
    return found


def affine_of(header: SliceHeader, files: FileGrid, stack: Stack) -> np.ndarray:
    """Voxel (z, y, x, 1) to patient mm (z, y, x), float64 (4, 4); slices lie on the line between the ends."""
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
