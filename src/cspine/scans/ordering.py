"""Slices in their place: which of a folder's files form the series, in which order, on which grid.

Everything here follows ImagePositionPatient and ImageOrientationPatient (PS3.3 C.7.6.2.1.1); file numbers
only decide which of two slices at one position is kept, and help to tell a position that can't be right.
"""

from bisect import bisect_right
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
MAX_TILT_DEGREES = 0.5
"""Angle between the slice normal and the way from slice to slice without a note."""
MIN_STEP_MM = 0.02
"""Positions closer than this are the same; no scanner makes slices at such steps."""
MAX_STRAYS = 0.1
"""Share of slices whose position may be disbelieved."""
MIN_SLICES_TO_JUDGE = 8
"""With fewer slices no position is disbelieved."""
MAX_BESIDE_MM = 20.0
"""A slice's corner farther beside the others' line than this is a wrong position, not a curved table path."""
MAX_GAP_STEPS = 10
"""Gaps beyond this many steps are looked at: which of the sides is a stray?"""
BETWEEN = 0.75
"""Share of the usual step below which a slice out of turn lies between two others."""


@dataclass(frozen=True)
class Stack:
    """Slices on an even grid.

    hu: int16 (z, y, x). places: int64 (slices,), z index of each slice that was read. ends_mm: float64
    (2, 3), positions (x, y, z) of the first pixel of the first and of the last slice.
    """

    hu: np.ndarray
    places: np.ndarray
    ends_mm: np.ndarray


def heights_of(headers: list[SliceHeader]) -> np.ndarray:
    """Projection of each position on the slice normal, float64 (n,) mm, rising towards the head."""
    normal = _normal(headers[0])
    return np.array([header.position_mm for header in headers]) @ normal


def _normal(header: SliceHeader) -> np.ndarray:
    """Unit vector (x, y, z) across a slice, towards the head."""
    normal = np.cross(header.row_cosines, header.column_cosines)
    return normal * (np.sign(normal[2]) or 1) / np.linalg.norm(normal)


def strays(headers: list[SliceHeader]) -> dict[int, str]:
    """Find slices whose position can't be right: far beside or beyond the others, or between two of them.

    Returns index -> reason; nothing if they are more than MAX_STRAYS of the slices, since then it can't be
    told which ones are right.
    """
    heights = heights_of(headers)
    if len(headers) < MIN_SLICES_TO_JUDGE:
        return {}
    found = {int(n): f"lies {mm:.0f} mm beside the others" for n, mm in _beside(headers, heights)}
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    if not (steps > MIN_STEP_MM).any():
        return {}
    usual = float(np.median(steps[steps > MIN_STEP_MM]))
    found |= {int(order[n]): f"lies {mm:.0f} mm from the others" for n, mm in _beyond(steps, usual)}
    nearest = np.minimum(np.append(steps, np.inf), np.append(np.inf, steps))  # of each in its order
    between = (nearest > SAME_PLACE * usual) & (nearest < BETWEEN * usual)
    out_of_line = ~in_line(headers)[order]
    found |= {int(n): "lies out of turn between two others" for n in order[between & out_of_line]}
    return found if len(found) <= MAX_STRAYS * len(headers) else {}


def _beside(headers: list[SliceHeader], heights: np.ndarray) -> list[tuple[int, float]]:
    """Slices whose corner lies beside the straight line through most of them, with the distance in mm."""
    corners = np.array([header.position_mm for header in headers])
    order = np.argsort(heights, kind="stable")
    half = len(headers) // 2
    rise = heights[order[half:]] - heights[order[: len(headers) - half]]
    run = corners[order[half:]] - corners[order[: len(headers) - half]]
    slope = np.median(run[rise > MIN_STEP_MM] / rise[rise > MIN_STEP_MM, None], axis=0) if rise.any() else 0
    rest = corners - heights[:, None] * slope
    distance = np.linalg.norm(rest - np.median(rest, axis=0), axis=1)
    return [(n, distance[n]) for n in np.flatnonzero(distance > MAX_BESIDE_MM)]


def _beyond(steps: np.ndarray, usual: float) -> list[tuple[int, float]]:
    """Places in the order of slices behind a gap that would take more slices than it brings, and the gap."""
    edges = np.flatnonzero(steps > MAX_GAP_STEPS * usual) + 1
    groups = np.split(np.arange(len(steps) + 1), edges)
    main = max(range(len(groups)), key=lambda n: len(groups[n]))
    found = []
    for n, group in enumerate(groups):
        if n != main:
            gap = steps[group[-1]] if n < main else steps[group[0] - 1]
            if gap > len(group) * usual:
                found += [(place, gap) for place in group]
    return found


def in_line(headers: list[SliceHeader]) -> np.ndarray:
    """Whether each slice's position rises or falls with the file numbers, bool (n,).

    True for all where the numbers do not follow the positions anyway: then they say nothing.
    """
    heights = heights_of(headers)
    order = np.argsort([header.number for header in headers], kind="stable")
    best = max((_longest_rise(sign * heights[order]) for sign in (1, -1)), key=len)
    result = np.ones(len(headers), bool)
    if len(best) >= (1 - MAX_STRAYS) * len(headers):
        result[:] = False
        result[order[best]] = True
    return result


def _longest_rise(values: np.ndarray) -> list[int]:
    """Indices of a longest subsequence that never falls (patience sorting)."""
    if (np.diff(values) >= 0).all():
        return list(range(len(values)))
    tops: list[float] = []
    last: list[int] = []
    before = np.full(len(values), -1)
    for n, value in enumerate(values.tolist()):
        pile = bisect_right(tops, value)
        before[n] = last[pile - 1] if pile else -1
        tops[pile : pile + 1] = [value]
        last[pile : pile + 1] = [n]
    result, n = [], last[-1]
    while n >= 0:
        result.append(int(n))
        n = before[n]
    return result[::-1]


def one_position_each(headers: list[SliceHeader], study: str) -> tuple[list[int], list[str]]:
    """Order slices from head to feet and keep, of each position, the one that comes first in `headers`.

    One that is in line with the file numbers goes before one that is not. Returns the indices of the slices
    and notes. Raises InputError if all lie at one position.
    """
    heights = heights_of(headers)
    order = np.argsort(-heights, kind="stable")
    steps = -np.diff(heights[order])
    real = steps[steps > MIN_STEP_MM]
    if not len(real):
        raise InputError(
            f"study {study}: found {len(headers)} slices at one position; expected several along the body; "
            "check ImagePositionPatient (0020,0032)"
        )
    limit = SAME_PLACE * np.median(real)
    places: list[list[int]] = []
    for index in order.tolist():
        if places and heights[places[-1][0]] - heights[index] < limit:
            places[-1].append(index)
        else:
            places.append([index])
    if len(places) < len(headers):
        fits = in_line(headers)
        kept = [min(place, key=lambda n: (not fits[n], n)) for place in places]
        return kept, [f"{len(headers) - len(kept)} slices left out, another one lies at their position"]
    return [place[0] for place in places], []


def file_grid(header: SliceHeader) -> FileGrid:
    """Which way the files' rows and columns run in the patient."""
    across, down = np.array(header.row_cosines), np.array(header.column_cosines)
    transposed = bool(abs(across[0]) < abs(down[0]))
    x_axis, y_axis = (down, across) if transposed else (across, down)
    return FileGrid(transposed, bool(y_axis[1] < 0), bool(x_axis[0] < 0), {}, np.zeros(0))


def even_grid(hu: np.ndarray, headers: list[SliceHeader], study: str) -> tuple[Stack, list[str]]:
    """Put slices on an even grid along z: as they are if they fit, else linear between neighbours.

    hu: int16 (z, y, x) with one header a slice, head to feet. Returns the stack and notes. Raises InputError
    if the slices leave gaps larger than themselves.
    """
    heights = heights_of(headers)
    depth = heights[0] - heights
    corners = np.array([header.position_mm for header in headers])
    ends = corners[[0, -1]]
    notes = _shape_notes(corners, depth, _normal(headers[0]))
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


def _shape_notes(corners: np.ndarray, depth: np.ndarray, normal: np.ndarray) -> list[str]:
    """What is unusual about the line of the slices' corners, float64 (slices, 3) as (x, y, z) in mm."""
    notes = []
    way = corners[-1] - corners[0]
    tilt = np.degrees(np.arccos(np.clip(abs(way @ normal) / np.linalg.norm(way), 0, 1)))
    if tilt > MAX_TILT_DEGREES:
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
    for z, place in enumerate(where):
        below = min(int(place), len(hu) - 2)
        rest = place - below
        if rest < 0.01 or rest > 0.99:  # a slice that is there is kept as it is
            result[z] = hu[below + round(rest)]
        else:
            result[z] = cv2.addWeighted(hu[below], 1 - rest, hu[below + 1], rest, 0)
    return result


def z_of_numbers(kept: list[SliceHeader], stack: Stack, series: list[SliceHeader]) -> dict[int, int]:
    """File number -> z index, for slices that are in the stack and for others of the series at such a place.

    kept: the slices of the stack. series: all of the series whose positions are right, those left out for
    their position included.
    """
    found = {
        header.number: int(z) for header, z in zip(kept, stack.places, strict=True) if header.number >= 0
    }
    others = [header for header in series if header.number >= 0 and header.number not in found]
    if others:
        first, last, *heights = heights_of([kept[0], kept[-1], *others])
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
