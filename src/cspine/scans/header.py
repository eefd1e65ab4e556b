"""What one .dcm file says about itself, read without touching its pixels."""

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

TAGS = [
    "SOPClassUID",
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleIntercept",
    "RescaleSlope",
]
PIXEL_DATA = b"\xe0\x7f\x10\x00"
"""Tag (7FE0,0010) as it stands in a little endian file."""
UNDEFINED_LENGTH = 0xFFFFFFFF


class Unreadable(Exception):
    """One file can't be used; the message says why. It costs its slice, not the study."""


@dataclass(frozen=True)
class SliceHeader:
    """The part of a header that reading a slice needs.

    position_mm, row_cosines (direction in which the column index rises), column_cosines: (x, y, z) as in the
    file (PS3.3 C.7.6.2.1.1). spacing_mm: (between rows, between columns). The fields from bits_allocated to
    padding are None where the file lacks the tag. data_start, data_length: bytes of the pixel data element's
    value; data_length is UNDEFINED_LENGTH for compressed pixels.
    """

    file: Path
    number: int
    series: str
    localizer: bool
    modality: str
    position_mm: tuple[float, float, float]
    row_cosines: tuple[float, float, float]
    column_cosines: tuple[float, float, float]
    spacing_mm: tuple[float, float]
    rows: int
    columns: int
    samples: int | None
    frames: int
    photometric: str
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    signed: bool | None
    padding: int | None
    slope: float
    intercept: float
    rescaled: bool
    syntax: str
    data_start: int
    data_length: int


def read_header(file: Path) -> SliceHeader:
    """Read a header up to the pixels. Raises Unreadable for anything that is not a usable CT slice."""
    try:
        with open(file, "rb") as stream:
            data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS)
            syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
            start = stream.tell()
            element = stream.read(12)
    except Exception as error:  # pydicom lets any exception out of a damaged file
        raise Unreadable(_reason(file, error)) from error
    if not syntax:
        raise Unreadable("TransferSyntaxUID (0002,0010) missing")
    if syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        start, element = 0, bytes(12)  # only pydicom finds its way in these
    elif element[:4] != PIXEL_DATA:
        raise Unreadable("no pixel data (7FE0,0010)")
    head = 8 if syntax == ImplicitVRLittleEndian else 12
    length = int.from_bytes(element[head - 4 : head], "little")
    try:
        return _slice_header(file, data, syntax, start + head, length)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unreadable(f"a header value can't be read: {error}") from error


def _slice_header(file: Path, data: Dataset, syntax: str, start: int, length: int) -> SliceHeader:
    cosines = _floats(data, "ImageOrientationPatient", 6)
    rows, columns = (_whole(data, name) for name in ("Rows", "Columns"))
    spacing = _floats(data, "PixelSpacing", 2)
    if not rows or not columns or min(spacing) <= 0:
        raise Unreadable(f"Rows {rows}, Columns {columns}, PixelSpacing {spacing}; expected values above 0")
    signed = _whole(data, "PixelRepresentation")
    return SliceHeader(
        file=file,
        number=_number(file, data),
        series=_text(data, "SeriesInstanceUID"),
        localizer="LOCALIZER" in _text(data, "ImageType").split("\\"),
        modality=_text(data, "Modality"),
        position_mm=_floats(data, "ImagePositionPatient", 3),
        row_cosines=cosines[:3],
        column_cosines=cosines[3:],
        spacing_mm=spacing,
        rows=rows,
        columns=columns,
        samples=_whole(data, "SamplesPerPixel"),
        frames=int(_text(data, "NumberOfFrames") or 1),
        photometric=_text(data, "PhotometricInterpretation"),
        bits_allocated=_whole(data, "BitsAllocated"),
        bits_stored=_whole(data, "BitsStored"),
        high_bit=_whole(data, "HighBit"),
        signed=None if signed is None else signed == 1,
        padding=_whole(data, "PixelPaddingValue"),
        slope=_floats(data, "RescaleSlope", 1)[0] if _text(data, "RescaleSlope") else 1.0,
        intercept=_floats(data, "RescaleIntercept", 1)[0] if _text(data, "RescaleIntercept") else 0.0,
        rescaled=bool(_text(data, "RescaleIntercept")),
        syntax=syntax,
        data_start=start,
        data_length=length,
    )


# Values are taken as the file has them: pydicom's own conversion takes longer than the rest of the header.
NUMBERS = {name: tag_for_keyword(name) for name in TAGS}


def _raw(data: Dataset, name: str) -> bytes:
    element = data.get_item(NUMBERS[name])
    value = None if element is None else element.value
    return value if isinstance(value, bytes) else b""


def _text(data: Dataset, name: str) -> str:
    return _raw(data, name).decode("latin-1").strip(" \x00")


def _floats(data: Dataset, name: str, count: int) -> tuple[float, ...]:
    """A decimal string (PS3.5, 6.2): numbers with backslashes between them."""
    text = _text(data, name)
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        values = ()
    if len(values) != count or not all(abs(value) < 1e6 for value in values):  # NaN fails this too
        raise Unreadable(f"{name} {Tag(name)}: found {text[:80]!r}, expected {count} finite numbers")
    return values


def _whole(data: Dataset, name: str) -> int | None:
    """An unsigned short; None if the file lacks it."""
    value = _raw(data, name)
    if len(value) not in (0, 2):
        raise Unreadable(f"{name} {Tag(name)}: found {len(value)} bytes, expected one number")
    order = "little" if data.original_encoding[1] else "big"
    return int.from_bytes(value, order) if value else None


def _number(file: Path, data: Dataset) -> int:
    """The number in the file's name as on Kaggle, else InstanceNumber, else -1."""
    for text in (file.stem, _text(data, "InstanceNumber")):
        if text.isdecimal() and len(text) < 10:
            return int(text)
    return -1


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"can't be opened ({error.strerror})"
    if file.stat().st_size == 0:
        return "empty file"
    if isinstance(error, pydicom.errors.InvalidDicomError):
        return "not a DICOM file"
    return f"broken header ({type(error).__name__}: {error})"
