"""Which series lie in a file, an export of any shape, or a zip: by their UIDs, whatever the folders are called."""

import os
import time
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from cspine.errors import InputError

TAGS = [
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "SeriesDescription",
    "Modality",
    "ContrastBolusAgent",
    "ImagePositionPatient",
]
"""What is asked of each file."""
IMAGES = ("", "CT")
"""Modalities that are read; the others are named."""
MAX_ZIP_BYTES = 64 << 30
"""What a zip may grow to."""


@dataclass(frozen=True)
class Instance:
    """One slice of a series, as its file says it."""

    uid: str
    """SOPInstanceUID."""
    number: int
    """InstanceNumber, or -1."""
    position_mm: tuple[float, ...]
    """ImagePositionPatient (x, y, z); empty where it is none."""


@dataclass
class ExamSeries:
    """One series of one patient, by the UIDs in its files."""

    patient: str
    """PatientID."""
    name: str
    """PatientName; only told on request."""
    study: str
    series: str
    """SeriesInstanceUID; empty where each slice has one of its own, or none."""
    description: str
    modality: str
    contrast: str
    """ContrastBolusAgent."""
    files: list[Path] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    """One a file, in the same order."""

    @property
    def folder(self) -> Path:
        """The folder that holds all of its files."""
        return Path(os.path.commonpath([file.parent for file in self.files]))


@dataclass
class Found:
    """What was found in a place."""

    root: Path
    """The folder from which the paths of what was found are told."""
    series: list[ExamSeries] = field(default_factory=list)
    """Of all patients, in the order of patient, study and series."""
    niftis: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    """Suffix of files that are none of these -> how many there are."""


def find_exams(place: Path, unpacked: Path) -> Found:
    """Look for series of images.

    Parameters
    ----------
    place : Path
        A DICOM or NIfTI file, a folder with any folders in it, or a zip of these.
    unpacked : Path
        A folder for what is in a zip.

    Returns
    -------
    Found
        What is there; series are never mixed, also where two patients share a folder.

    Raises
    ------
    InputError
        If there is no such place, or a zip can't be unpacked.
    """
    if not place.exists():
        raise InputError(
            f"{place}: no such file or folder; expected DICOM files, a folder with some, a zip, or NIfTI"
        )
    found = Found(place if place.is_dir() else place.parent)
    groups: dict[tuple[str, str, str], ExamSeries] = {}
    seen: set[str] = set()
    for file in _files_in(place, unpacked, found):
        if file.name.lower().endswith((".nii", ".nii.gz")):
            found.niftis.append(file)
            continue
        header = _header_of(file)
        if header is None:
            found.others[file.suffix.lower() or "no suffix"] += 1
            continue
        instance = _text(header, "SOPInstanceUID")
        if instance in seen:
            found.others["second copies"] += 1
            continue
        seen.update([instance] if instance else [])
        key = (
            _text(header, "PatientID"),
            _text(header, "StudyInstanceUID"),
            _text(header, "SeriesInstanceUID"),
        )
        if key not in groups:
            groups[key] = ExamSeries(
                patient=key[0],
                name=_text(header, "PatientName"),
                study=key[1],
                series=key[2],
                description=_text(header, "SeriesDescription"),
                modality=_text(header, "Modality"),
                contrast=_text(header, "ContrastBolusAgent"),
            )
        groups[key].files.append(file)
        groups[key].instances.append(_instance_of(header, instance))
    found.series = _joined([groups[key] for key in sorted(groups)])
    return found


def _joined(series: list[ExamSeries]) -> list[ExamSeries]:
    """Join the slices of a study whose writer gave each slice a series of its own."""
    kept: list[ExamSeries] = []
    alone: defaultdict[tuple[str, str, str], list[ExamSeries]] = defaultdict(list)
    for one in series:
        if len(one.files) == 1:
            alone[one.patient, one.study, one.modality].append(one)
        else:
            kept.append(one)
    for ones in alone.values():
        if len(ones) < 3:  # a localizer, a report, a capture
            kept += ones
            continue
        first = ones[0]
        whole = ExamSeries(
            first.patient, first.name, first.study, "", first.description, first.modality, first.contrast
        )
        for one in ones:
            whole.files += one.files
            whole.instances += one.instances
        kept.append(whole)
    return sorted(kept, key=lambda one: (one.patient, one.study, one.series))


def lay_out(series: ExamSeries, folder: Path) -> dict[str, str]:
    """Link the files of a series into a folder of its own, in which nothing else lies.

    Parameters
    ----------
    series : ExamSeries
        The series.
    folder : Path
        The folder; it is made.

    Returns
    -------
    dict of str to str
        Name of a link -> the file's own path, where they differ. Two files of one name get new ones, and so does one
        that is called by a number: the reader would take that for the slice's, which is an InstanceNumber here.
    """
    folder.mkdir(parents=True)
    names = Counter(file.name for file in series.files)
    renamed = {}
    for number, file in enumerate(series.files):
        name = file.name
        if names[name] > 1 or name.startswith(".") or file.stem.isdecimal():
            name = f"file-{number:05d}.dcm"
            renamed[name] = str(file)
        (folder / name).symlink_to(file.absolute())
    return renamed


def _files_in(place: Path, unpacked: Path, found: Found) -> Iterator[Path]:
    """Every file of a place, in order; what can't be opened is counted."""
    if place.is_file() and zipfile.is_zipfile(place):
        _unpack(place, unpacked)
        place = found.root = unpacked
    if place.is_file():
        yield place
        return

    def refused(error: OSError) -> None:
        found.others[f"can't be opened ({error.strerror})"] += 1

    for folder, folders, names in os.walk(place, onerror=refused):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if name == "DICOMDIR" or name.startswith("._"):
                continue
            if file.is_file():
                yield file


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip; names that lead out of the folder are made harmless by zipfile."""
    try:
        with zipfile.ZipFile(archive) as content:
            size = sum(entry.file_size for entry in content.infolist())
            if size > MAX_ZIP_BYTES:
                raise InputError(
                    f"{archive}: would unpack to {size / 1e9:.0f} GB; unpack it yourself and name the folder"
                )
            for entry in content.infolist():
                made = content.extract(entry, folder)
                when = time.mktime((*entry.date_time, 0, 0, -1))
                os.utime(made, (when, when))  # by which a file that was seen before is known again
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{archive}: can't be unpacked ({error}); unpack it yourself and name the folder"
        ) from error


def _header_of(file: Path) -> Dataset | None:
    """The asked elements of a file; None for what is no DICOM file of a patient."""
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
        bare = start[:2] == b"\x08\x00" and start[128:] != b"DICM"
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS, force=bare)
    except (InvalidDicomError, OSError, EOFError):
        return None
    except Exception:  # noqa: BLE001 (pydicom lets any exception out of a damaged file; the reader says more)
        return Dataset() if start[128:] == b"DICM" else None
    return header


def _instance_of(header: Dataset, uid: str) -> Instance:
    number = _text(header, "InstanceNumber")
    try:
        position = tuple(float(part) for part in header.get("ImagePositionPatient") or ())
    except Exception:  # noqa: BLE001 (a damaged value)
        position = ()
    return Instance(uid, int(number) if number.isdecimal() else -1, position if len(position) == 3 else ())


def _text(header: Dataset, name: str) -> str:
    try:
        value = header.get(name)
    except Exception:  # noqa: BLE001 (a damaged value)
        return ""
    return "" if value is None else str(value).strip()[:200]
