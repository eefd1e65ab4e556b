"""Which of a folder's series is read, and what becomes of its other files."""

import numpy as np

from cspine.dicom.header import Series, SliceHeader
from cspine.dicom.order import heights_of, strays
from cspine.errors import InputError

NEARLY_ALL = 0.95
"""Share of the largest coverage from which on a series with more slices is preferred: thin ones to thick ones."""
MAX_NAMED = 10
"""How many of the other series and files are named, each."""


def choose_series(headers: list[SliceHeader], study: str) -> tuple[list[SliceHeader], list[str]]:
    """Choose the axial CT series that covers most from head to feet.

    Among series that cover nearly the same, the one with most positions is taken, then the one that comes
    first.

    Parameters
    ----------
    headers : list of SliceHeader
        Slices of a folder's series, mixed.
    study : str
        The study's name, for messages.

    Returns
    -------
    chosen : list of SliceHeader
        The slices of the series taken, in the order given.
    notes : list of str
        One on each other series.

    Raises
    ------
    InputError
        If there is no axial CT series.
    """
    groups: list[list[SliceHeader]] = []
    for header in headers:
        same = next((group for group in groups if same_series(group[0], header)), None)
        if same is None:
            groups.append([header])
        else:
            same.append(header)
    covered = [covered_mm(group) if is_axial_ct(group[0]) else -1.0 for group in groups]
    most = max(covered)
    if most < 0:
        first = headers[0]
        cosines = first.row_cosines + first.column_cosines
        found = f"{cosines} (Modality {first.series.modality or 'absent'}{', localizer' * first.localizer})"
        raise InputError(
            f"study {study}: found no axial CT series, ImageOrientationPatient (0020,0037) is {found}; "
            "expected nearly 1, 0, 0, 0, 1, 0; name a folder with the axial series"
        )
    able = [n for n, mm in enumerate(covered) if mm >= NEARLY_ALL * most]
    best = max(able, key=lambda n: (len({round(h, 1) for h in heights_of(groups[n])}), -n))
    notes = [
        left_out(len(group), group[0].series, _why(group[0], covered[n], covered[best]))
        for n, group in enumerate(groups)
        if n != best
    ]
    return groups[best], notes


def left_out(count: int, series: Series, why: str) -> str:
    """The note on a series that is not read.

    Parameters
    ----------
    count : int
        How many files it has.
    series : Series
        The series.
    why : str
        Why it is not read.

    Returns
    -------
    str
        The note.
    """
    return f"{count} file{'s' * (count > 1)} of {series} left out: {why}"


def shortened(notes: list[str]) -> list[str]:
    """At most `MAX_NAMED` notes, and one on how many more there are.

    Parameters
    ----------
    notes : list of str
        One a series that is left out.

    Returns
    -------
    list of str
        The first ones, and the count of the rest.
    """
    more = len(notes) - MAX_NAMED
    return [*notes[:MAX_NAMED], f"{more} further series left out"] if more > 0 else notes


def same_series(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether two slices can be layers of one volume.

    Parameters
    ----------
    one, other : SliceHeader
        The slices.

    Returns
    -------
    bool
        True if size, series, modality, orientation and spacing agree, the last two give or take 0.01.
    """
    for name in ("rows", "columns", "localizer"):
        if getattr(one, name) != getattr(other, name):
            return False
    if (one.series.uid, one.series.modality) != (other.series.uid, other.series.modality):
        return False
    here = (*one.row_cosines, *one.column_cosines, *one.spacing_mm)
    there = (*other.row_cosines, *other.column_cosines, *other.spacing_mm)
    return here == there or max(abs(a - b) for a, b in zip(here, there, strict=True)) < 0.01


def is_axial_ct(header: SliceHeader) -> bool:
    """Whether a slice may be part of the volume that is wanted.

    Parameters
    ----------
    header : SliceHeader
        The slice.

    Returns
    -------
    bool
        True for CT or an unnamed modality, no localizer, nearest to axial.
    """
    normal = np.abs(np.cross(header.row_cosines, header.column_cosines))
    axial = normal.argmax() == 2 and normal[2] > 0
    return header.series.modality in ("", "CT") and not header.localizer and bool(axial)


def covered_mm(headers: list[SliceHeader]) -> float:
    """Distance between the first and the last slice whose position can be believed.

    Parameters
    ----------
    headers : list of SliceHeader
        Slices of one series.

    Returns
    -------
    float
        Distance of their centres along the slice normal in mm.
    """
    lost = strays(headers)
    heights = np.delete(heights_of(headers), list(lost))
    return float(np.ptp(heights))


def _why(header: SliceHeader, covered: float, most: float) -> str:
    if header.localizer:
        return "localizer"
    if header.series.modality not in ("", "CT"):
        return f"Modality {header.series.modality[:16]}"
    if covered < 0:
        return "not axial"
    return f"covers {covered:.0f} mm, the one taken {most:.0f} mm"
