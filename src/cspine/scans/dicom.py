"""A folder of .dcm files becomes one Volume.

What is broken costs its slice; what was mended or left out is a note of the volume.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.config import disable_value_validation

from cspine.errors import InputError
from cspine.scans import ordering
from cspine.scans.decoding import decode_into
from cspine.scans.header import SliceHeader, Unreadable, read_header
from cspine.scans.volume import FileGrid, Volume

MAX_UNREADABLE = 0.1
"""Share of a study's files that may be unreadable."""


@dataclass
class _Reading:
    """A study while it is read: what went wrong so far."""

    study: str
    files: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise InputError if more slices are lost than may be mended."""
        if len(self.unreadable) > MAX_UNREADABLE * self.files:
            raise InputError(
                f"study {self.study}: found {len(self.unreadable)} unreadable files of {self.files} "
                f"({self.examples()}); expected at most {MAX_UNREADABLE:.0%}; "
                "copy or download the study again"
            )

    def examples(self) -> str:
        """The first few unreadable files with their reasons."""
        shown = [f"{name}: {reason}" for name, reason in list(self.unreadable.items())[:3]]
        return "; ".join(shown) + ("; ..." if len(self.unreadable) > 3 else "")


def read_series(folder: Path | str) -> Volume:
    """Read the axial CT series of a folder that covers most of the patient.

    Returns a Volume, z from head to feet, y from front to back, x from the patient's right to the left.
    Positions that were taken twice count once; missing, unreadable and unevenly spaced slices are replaced
    by linear interpolation on an even grid; each of these is a note.
    Raises InputError that names the study and the tag: no such folder, no files, no axial CT series, or more
    than a tenth of the files unreadable. A damaged compressed file may also end the process, so many studies
    are read through `engine.run_tasks`.
    """
    folder = Path(folder).absolute()
    reading = _Reading(folder.name)
    with disable_value_validation():
        headers = _read_headers(folder, reading)
        chosen, others = ordering.choose_series(headers, reading.study)
        reading.files -= len(headers) - len(chosen)
        reading.check()
        chosen, twice = ordering.one_position_each(chosen, reading.study)
        reading.notes += others + twice
        grid = ordering.file_grid(chosen[0])
        hu, kept = _decode(chosen, grid, reading)
    if reading.unreadable:
        lost = f"{len(reading.unreadable)} of {reading.files} files unreadable"
        reading.notes.append(f"{lost}: {reading.examples()}")
    stack, mended = ordering.even_grid(hu, kept, reading.study)
    reading.notes += mended
    numbers = np.full(len(stack.hu), -1, np.int64)
    numbers[stack.places] = [header.number for header in kept]
    z_of_number = ordering.z_of_numbers(kept, stack, headers)
    files = FileGrid(grid.transposed, grid.flipped_y, grid.flipped_x, z_of_number)
    affine = ordering.affine_of(kept[0], files, stack)
    return Volume(stack.hu, affine, numbers, reading.study, tuple(reading.notes), files)


def _read_headers(folder: Path, reading: _Reading) -> list[SliceHeader]:
    """All usable headers of a folder, by file number."""
    study = f"study {reading.study}"
    if not folder.is_dir():
        raise InputError(f"{study}: found no folder {folder}; expected one with .dcm files; check the path")
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    # A folder of one's own may hold files without a suffix; beside .dcm files anything else is no slice.
    files = [file for file in files if file.suffix.lower() == ".dcm"] or [
        file for file in files if file.name != "DICOMDIR"
    ]
    if not files:
        raise InputError(f"{study}: found no file in {folder}; expected .dcm files; check the download")
    reading.files = len(files)
    headers = []
    for file in sorted(files):
        try:
            headers.append(read_header(file))
        except Unreadable as error:
            reading.unreadable[file.name] = str(error)
    if not headers:
        raise InputError(
            f"{study}: found no readable CT slice among {len(files)} files ({reading.examples()}); "
            "expected DICOM files with position and pixels; check the download"
        )
    return sorted(headers, key=lambda header: (header.number, header.file.name))


def _decode(
    headers: list[SliceHeader], grid: FileGrid, reading: _Reading
) -> tuple[np.ndarray, list[SliceHeader]]:
    """Decode slices in their order, straight into the volume's axes; returns HU and those that worked."""
    first = headers[0]
    shape = (first.columns, first.rows) if grid.transposed else (first.rows, first.columns)
    hu = np.empty((len(headers), *shape), np.int16)
    as_in_files = hu[:, :: -1 if grid.flipped_y else 1, :: -1 if grid.flipped_x else 1]
    if grid.transposed:
        as_in_files = as_in_files.transpose(0, 2, 1)
    good, decoders = [], Counter()
    for z, header in enumerate(headers):
        try:
            decoders[decode_into(as_in_files[z], header)] += 1
            good.append(z)
        except Unreadable as error:
            reading.unreadable[header.file.name] = str(error)
    reading.check()
    if len(good) < 2:
        raise InputError(
            f"study {reading.study}: found {len(good)} readable slices; expected at least 2; copy it again"
        )
    kept = [headers[z] for z in good]
    oddities = {
        "decoded by pydicom, the slower fallback": decoders["pydicom"],
        "without RescaleIntercept (0028,1052), stored values taken as HU": sum(not h.rescaled for h in kept),
        "with MONOCHROME1, which leaves HU as they are": sum(h.photometric == "MONOCHROME1" for h in kept),
    }
    reading.notes += [f"{count} slices {words}" for words, count in oddities.items() if count]
    return hu if len(good) == len(headers) else hu[good], kept
