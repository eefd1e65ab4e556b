"""Slices in their order: which positions can be right, and which slice stands for each.

Everything here follows ImagePositionPatient and ImageOrientationPatient (PS3.3 C.7.6.2.1.1); file numbers
only decide which of two slices at one position is kept, and help to tell a position that can't be right.
"""

from bisect import bisect_right

import numpy as np

from cspine.dicom.header import SliceHeader
from cspine.errors import InputError

SAME_POSITION = 0.1
"""Share of the usual step below which two slices count as one position."""
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


def heights_of(headers: list[SliceHeader]) -> np.ndarray:
    """Projection of each position on the slice normal, rising towards the head.

    Parameters
    ----------
    headers : list of SliceHeader
        Slices of one series; the first one's normal counts.

    Returns
    -------
    ndarray of float64, shape (slices,)
        Heights in mm.
    """
    normal = normal_of(headers[0])
    return np.array([header.position_mm for header in headers]) @ normal


def normal_of(header: SliceHeader) -> np.ndarray:
    """Unit vector across a slice, towards the head.

    Parameters
    ----------
    header : SliceHeader
        The slice.

    Returns
    -------
    ndarray of float64, shape (3,)
        The vector (x, y, z).
    """
    normal = np.cross(header.row_cosines, header.column_cosines)
    return normal * (np.sign(normal[2]) or 1) / np.linalg.norm(normal)


def strays(headers: list[SliceHeader]) -> dict[int, str]:
    """Find slices whose position can't be right: far beside or beyond the others, or between two of them.

    Parameters
    ----------
    headers : list of SliceHeader
        Slices of one series.

    Returns
    -------
    dict of int to str
        Index -> reason. Empty for fewer than `MIN_SLICES_TO_JUDGE` slices, and if the strays are more than
        `MAX_STRAYS` of the slices, since then it can't be told which ones are right.
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
    between = (nearest > SAME_POSITION * usual) & (nearest < BETWEEN * usual)
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
    """Positions in the order of slices behind a gap that would take more slices than it brings, and the gap."""
    edges = np.flatnonzero(steps > MAX_GAP_STEPS * usual) + 1
    groups = np.split(np.arange(len(steps) + 1), edges)
    main = max(range(len(groups)), key=lambda n: len(groups[n]))
    found = []
    for n, group in enumerate(groups):
        if n != main:
            gap = steps[group[-1]] if n < main else steps[group[0] - 1]
            if gap > len(group) * usual:
                found += [(position, gap) for position in group]
    return found


def in_line(headers: list[SliceHeader]) -> np.ndarray:
    """Whether each slice's position rises or falls with the file numbers.

    Parameters
    ----------
    headers : list of SliceHeader
        Slices of one series.

    Returns
    -------
    ndarray of bool, shape (slices,)
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

    One that is in line with the file numbers goes before one that is not.

    Parameters
    ----------
    headers : list of SliceHeader
        Slices of one series.
    study : str
        The study's name, for messages.

    Returns
    -------
    kept : list of int
        Indices of the slices kept, from head to feet.
    notes : list of str
        How many were left out, if any were.

    Raises
    ------
    InputError
        If all lie at one position.
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
    limit = SAME_POSITION * np.median(real)
    positions: list[list[int]] = []
    for index in order.tolist():
        if positions and heights[positions[-1][0]] - heights[index] < limit:
            positions[-1].append(index)
        else:
            positions.append([index])
    if len(positions) < len(headers):
        fits = in_line(headers)
        kept = [min(position, key=lambda n: (not fits[n], n)) for position in positions]
        return kept, [f"{len(headers) - len(kept)} slices left out, another one lies at their position"]
    return [position[0] for position in positions], []
