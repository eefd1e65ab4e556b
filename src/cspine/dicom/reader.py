"""A folder of .dcm files becomes one Volume.

What is broken costs its slice; what was mended or left out is a note of the volume.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom.config import disable_value_validation

from cspine.dicom.folder import Files, kind_of, list_files, named
from cspine.dicom.grid import affine_of, even_grid, z_of_numbers
from cspine.dicom.header import NoImage, Series, SliceHeader, Unreadable, read_header
from cspine.dicom.hounsfield import doubt_of
from cspine.dicom.order import heights_of, one_position_each, strays
from cspine.dicom.series import choose_series, is_axial_ct, left_out, same_series, shortened
from cspine.dicom.slices import Slices
from cspine.dicom.volume import Volume
from cspine.errors import InputError

MAX_UNREADABLE = 0.1
"""Share of a series' files that may be unreadable."""
KEPT_BYTES = 24 << 20
"""glibc gives memory back to the system, and fetches it again page by page, for every slice, which takes a
quarter of the time of a compressed one; once a block of this size was freed, it keeps as much (mallopt(3),
M_MMAP_THRESHOLD)."""
READ_AGAIN = "fast decoder ended its process; read again by pydicom"
WITHOUT_FAST_DECODER = "without the fast decoder"
"""How a second attempt differs, for messages."""


@dataclass
class _Reading:
    """A study while it is read: what was found and what went wrong so far."""

    study: str
    files: Files
    headers: list[SliceHeader] = field(default_factory=list)
    failed: dict[Path, Unreadable] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def check(self, expected: int) -> None:
        """Raise InputError if more of the `expected` files are lost than may be mended."""
        if len(self.failed) > MAX_UNREADABLE * expected:
            raise InputError(
                f"study {self.study}: found {len(self.failed)} unreadable files of {expected} "
                f"({self.examples()}); expected at most {MAX_UNREADABLE:.0%}; "
                "copy or download the study again"
            )

    def examples(self) -> str:
        """The first few unreadable files with their reasons."""
        shown = [f"{file.name[:60]}: {reason}" for file, reason in list(self.failed.items())[:3]]
        return "; ".join(shown) + ("; ..." if len(self.failed) > 3 else "")


def read_series(folder: Path | str, use_dicomsdl: bool = True) -> Volume:
    """Read the axial CT series of a folder that covers most of the patient.

    Other series, reports and files that are no slices are left out. Positions that were taken twice count
    once; missing, unreadable, stray and unevenly spaced slices are replaced by linear interpolation on an
    even grid. A tilted gantry or an oblique series keeps its own axes, which the affine states. Each of these
    is a note, and so is a scan whose Hounsfield units can't be trusted.

    Parameters
    ----------
    folder : Path or str
        The study's folder.
    use_dicomsdl : bool
        False decodes without it, several times slower, but no damaged file can end the process. With it a
        damaged compressed file may, so many studies are read through `engine.run_tasks`.

    Returns
    -------
    Volume
        The scan, z from head to feet, y from front to back, x from the patient's right to the left.

    Raises
    ------
    InputError
        That names the study and the tag: no such folder, no files, no axial CT series, fewer than two slices,
        all slices at one position, large gaps, or more than a tenth of the series unreadable.
    """
    folder = Path(folder).absolute()
    reading = _Reading(folder.name, list_files(folder))
    with disable_value_validation():
        slices = _read_files(reading, use_dicomsdl)
        chosen, others = choose_series(reading.headers, reading.study)
        reading.notes += shortened(others + _set_apart(reading, chosen[0]))
        expected = len(chosen) + len(reading.failed)
        reading.check(expected)
        wanted = {header.file for header in chosen}
        if {header.file for header in slices.headers} | set(slices.failed) != wanted:
            slices = _read_again(chosen, use_dicomsdl)
    hu, kept = _in_order(slices, reading, expected)
    stack, mended = even_grid(hu, kept, reading.study)
    reading.notes += mended
    doubt = doubt_of(stack.hu)
    if doubt:
        rescaling = f"RescaleSlope {_span(one.slope for one in kept)}, "
        rescaling += f"RescaleIntercept {_span(one.intercept for one in kept)}"
        reading.notes.append(f"Hounsfield units can't be trusted ({rescaling}): {doubt}")
    numbers = np.full(len(stack.hu), -1, np.int64)
    numbers[stack.z_indices] = [header.number for header in kept]
    # A slice whose pixels are lost still has its position; a stray has none that can be right.
    strayed = reading.failed.keys() - slices.failed.keys()
    z_of_number = z_of_numbers(kept, stack, [header for header in chosen if header.file not in strayed])
    files = replace(slices.grid, z_of_number=z_of_number, heights_mm=heights_of(kept))
    affine = affine_of(kept[0], files, stack)
    return Volume(stack.hu, affine, numbers, reading.study, tuple(reading.notes), files)


def _span(values: Iterable[float]) -> str:
    """One number, or from where to where they go."""
    every = sorted(set(values))
    return f"{every[0]:g}" if len(every) == 1 else f"{every[0]:g} to {every[-1]:g}"


def read_study(folder: Path | str, fallback: bool) -> Volume:
    """Read a series in a process that may die: at the first attempt, or once more after it did.

    Parameters
    ----------
    folder : Path or str
        The study's folder.
    fallback : bool
        The first attempt ended its process, so dicomsdl is left out, which is noted.

    Returns
    -------
    Volume
        The scan, as of `read_series`.

    Raises
    ------
    InputError
        As of `read_series`.
    """
    if not fallback:
        return read_series(folder)
    volume = read_series(folder, use_dicomsdl=False)
    return replace(volume, notes=(READ_AGAIN, *volume.notes))


def _read_files(reading: _Reading, use_dicomsdl: bool) -> Slices:
    """Read every file once: all headers, and the slices of the first axial series that turns up."""
    np.empty(KEPT_BYTES, np.uint8)  # set aside, never touched, and freed at once
    slices = Slices(len(reading.files.paths), use_dicomsdl)
    first = None
    for file in reading.files.paths:
        try:
            header, content = read_header(file)
        except Unreadable as error:
            reading.failed[file] = error
            continue
        reading.headers.append(header)
        if first is None and is_axial_ct(header):
            first = header
        if first is not None and same_series(first, header):
            slices.add(header, content)
    if not reading.headers:
        raise InputError(
            f"study {reading.study}: found no readable CT slice among {len(reading.files.paths)} files "
            f"({reading.examples()}); expected DICOM files with position and pixels; check the download"
        )
    reading.headers.sort(key=_by_number)
    return slices


def _by_number(header: SliceHeader) -> tuple[int, str]:
    return header.number, header.file.name


def _read_again(chosen: list[SliceHeader], use_dicomsdl: bool) -> Slices:
    """Read the slices of a series that was not the first one in the folder."""
    slices = Slices(len(chosen), use_dicomsdl)
    for header in chosen:
        try:
            slices.add(*read_header(header.file))
        except Unreadable as error:
            slices.failed[header.file] = error
    return slices


def _set_apart(reading: _Reading, chosen: SliceHeader) -> list[str]:
    """Take files that are no part of the chosen series out of the failed ones; returns notes on them."""
    apart: Counter[tuple[Series, str]] = Counter()
    extra = []
    kinds = {kind_of(header.file) for header in reading.headers if header.series == chosen.series}
    for file, error in list(reading.failed.items()):
        series = error.series
        foreign = series is not None and series.uid not in ("", chosen.series.uid)
        if series is not None and (foreign or isinstance(error, NoImage)):
            apart[series, str(error)] += 1
        elif series is None and kind_of(file) not in kinds:
            extra.append(file)
        else:
            continue
        del reading.failed[file]
    notes = [left_out(count, series, why) for (series, why), count in apart.items()]
    return notes + reading.files.notes + ([f"{named('other file', extra)} left out"] if extra else [])


def _in_order(slices: Slices, reading: _Reading, expected: int) -> tuple[np.ndarray, list[SliceHeader]]:
    """HU of the slices that can be used, from head to feet, one a position, and their headers."""
    reading.failed |= slices.failed
    order = sorted(range(len(slices.headers)), key=lambda n: _by_number(slices.headers[n]))
    disbelieved = strays([slices.headers[n] for n in order]) if order else {}
    for n, reason in disbelieved.items():
        reading.failed[slices.headers[order[n]].file] = Unreadable(
            f"{reason}, ImagePositionPatient (0020,0032)"
        )
    reading.check(expected)
    order = [index for n, index in enumerate(order) if n not in disbelieved]
    if len(order) < 2:
        raise InputError(
            f"study {reading.study}: found {len(order)} slice of the axial series; expected at least 2, since "
            "one has no extent from head to feet; name a folder with the whole series"
        )
    firsts, twice = one_position_each([slices.headers[n] for n in order], reading.study)
    order = [order[n] for n in firsts]
    kept = [slices.headers[n] for n in order]
    reading.notes += twice + _oddities(slices, kept)
    if reading.failed:
        lost = f"{len(reading.failed)} of {expected} files unreadable"
        reading.notes.append(f"{lost}: {reading.examples()}")
    return slices.take(order), kept


def _oddities(slices: Slices, kept: list[SliceHeader]) -> list[str]:
    """Notes on slices that were read in another way than most."""
    counts = {
        "decoded by pydicom, the slower fallback": slices.decoders["pydicom"],
        "without preamble (PS3.10 7.1), read all the same": sum(h.bare for h in kept),
        "without RescaleIntercept (0028,1052), stored values taken as HU": sum(not h.rescaled for h in kept),
        "with bytes behind their pixels, which are left out": sum(
            h.bytes_behind > h.pixel_bytes % 2 for h in kept
        ),
        "with MONOCHROME1, which leaves HU as they are": sum(h.photometric == "MONOCHROME1" for h in kept),
    }
    return [f"{count} slices {words}" for words, count in counts.items() if count]
