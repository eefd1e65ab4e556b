"""Which of a folder's series is read, and what becomes of its other files."""

import numpy as np

from cspine.dicom.header import ACQUISITION_TAGS, Series, SliceHeader
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
    groups = [part for group in _joined(groups) for part in acquisitions(group)]
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
        left_out(len(group), group[0].series, _why(group[0], covered[n], covered[best], groups[best][0]))
        for n, group in enumerate(groups)
        if n != best
    ]
    return groups[best], notes


def acquisitions(group: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Part the slices of a series that were taken or reconstructed several times at the same places.

    A value that differs from slice to slice parts nothing, and neither does one whose parts follow each other from
    head to feet, such as an acquisition number that counts the rotations.

    Parameters
    ----------
    group : list of SliceHeader
        Slices of one series.

    Returns
    -------
    list of list of SliceHeader
        One or more parts, in each of which a place occurs once as far as the headers tell.
    """
    if not is_axial_ct(group[0]):
        return [group]
    places = [round(float(height), 2) for height in heights_of(group)]
    if len(set(places)) == len(places):
        spans_part = _by(group, 0)  # a soft and a bone reconstruction may lie between each other's slices
        return spans_part if len(spans_part) > 1 and _overlap(spans_part) else [group]
    for number in range(len(group[0].acquisition)):
        parts = _by(group, number)
        if 1 < len(parts) <= len(group) / 2 and _overlap(parts):
            return [piece for part in parts for piece in acquisitions(part)]
    return [group]


def _by(group: list[SliceHeader], number: int) -> list[list[SliceHeader]]:
    """Slices by one of the values that they tell."""
    parts: dict[str, list[SliceHeader]] = {}
    for header in group:
        parts.setdefault(header.acquisition[number] if header.acquisition else "", []).append(header)
    return list(parts.values())


def _overlap(parts: list[list[SliceHeader]]) -> bool:
    """Whether the parts lie at the same heights instead of following each other."""
    spans = sorted((float(heights.min()), float(heights.max())) for heights in map(heights_of, parts))
    return all(len(part) > 1 for part in parts) and any(
        lower[1] - upper[0] > 0.5 * min(lower[1] - lower[0], upper[1] - upper[0])
        for lower, upper in zip(spans, spans[1:], strict=False)
    )


def _joined(groups: list[list[SliceHeader]]) -> list[list[SliceHeader]]:
    """Join single axial slices that agree in everything but the series' UID: their writer gave each its own."""
    if any(len(group) > 1 and is_axial_ct(group[0]) for group in groups):
        return groups
    joined: list[list[SliceHeader]] = []
    for group in groups:
        first = group[0]
        same = next((other for other in joined if _alike(other[0], first)), None)
        if same is None or not is_axial_ct(first):
            joined.append(list(group))
        else:
            same += group
    return joined


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
    return one.series.uid == other.series.uid and _alike(one, other)


def _alike(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether size, modality, orientation and spacing agree."""
    for name in ("rows", "columns", "localizer"):
        if getattr(one, name) != getattr(other, name):
            return False
    if one.series.modality != other.series.modality:
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


def _why(header: SliceHeader, covered: float, most: float, taken: SliceHeader) -> str:
    if same_series(header, taken):
        tags = (*ACQUISITION_TAGS, "SOPInstanceUID")
        values = zip(tags, header.acquisition, taken.acquisition, strict=True)
        differs = [
            f"{name} {one or 'none'}, of the one taken {other or 'none'}"
            for name, one, other in values
            if one != other
        ]
        return f"another acquisition or reconstruction under its UID ({'; '.join(differs)[:160]})"
    if header.localizer:
        return "localizer"
    if header.series.modality not in ("", "CT"):
        return f"Modality {header.series.modality[:16]}"
    if covered < 0:
        return "not axial"
    return f"covers {covered:.0f} mm, the one taken {most:.0f} mm"
