"""What one .dcm file says about itself, read without touching its pixels."""

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydicom.tag import Tag
from pydicom.uid import UID, EnhancedCTImageStorage

from cspine.dicom.data_elements import TAG_OF, UNDEFINED_LENGTH, DataElements, NotDicom, read_data_elements

MAX_FILE_BYTES = 1 << 27
"""A slice of 2048 x 2048 takes 8 MB; larger files are no single slice and are not loaded."""
MAX_SIDE = 4096
"""Rows and columns beyond this are a damaged header; the largest CT matrix is 2048 x 2048."""
NO_IMAGES = {"SR", "RTSTRUCT", "RTPLAN", "RTRECORD", "REG", "PR", "KO", "DOC", "PLAN", "FID"}
"""Modalities (PS3.3 C.7.3.1.1.1) of documents and plans that are kept beside images."""
ONE_SLICE_A_FILE = (
    "expected one slice a file; split it, for example with emf2sf of dcm4che, and read the result"
)
INTEGER_FIELDS = {
    "rows": "Rows",
    "columns": "Columns",
    "samples": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "high_bit": "HighBit",
    "padding": "PixelPaddingValue",
    "padding_limit": "PixelPaddingRangeLimit",
}
"""Field of a slice's header -> keyword of the number that it holds."""
SHARED = tuple(
    TAG_OF[name]
    for name in (
        *INTEGER_FIELDS.values(),
        "ImageType",
        "ImageOrientationPatient",
        "PixelSpacing",
        "PhotometricInterpretation",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
    )
)


ACQUISITION_TAGS = (
    "ConvolutionKernel",
    "SliceThickness",
    "SeriesNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ImageType",
)
"""Elements in which several acquisitions or reconstructions under one SeriesInstanceUID may differ."""


@dataclass(frozen=True)
class Series:
    """Which series a file belongs to, as far as it says; each may be empty."""

    uid: str
    description: str
    modality: str

    def __str__(self) -> str:
        if self.description:
            return f"series '{self.description[:40]}'"
        return f"series …{self.uid[-12:]}" if self.uid else "a series without UID"


class Unreadable(Exception):
    """One file can't be used; the message says why. It costs its slice, not the study."""

    def __init__(self, reason: str, series: Series | None = None) -> None:
        super().__init__(reason)
        self.series = series


class NoImage(Unreadable):
    """A valid DICOM file that is not meant to hold an image: a report, a plan, a directory."""


@dataclass(frozen=True)
class SliceHeader:
    """The part of a header that reading a slice needs.

    position_mm, row_cosines (direction in which the column index rises), column_cosines: (x, y, z) as in the
    file (PS3.3 C.7.6.2.1.1). spacing_mm: (between rows, between columns). The fields from bits_allocated to
    padding_limit are None where the file lacks the tag. bare: without preamble and file meta information.
    data_start, data_length: bytes of the pixel data element's value, in the content that `read_header`
    returns; data_length is UNDEFINED_LENGTH for compressed pixels.
    """

    file: Path
    number: int
    series: Series
    localizer: bool
    position_mm: tuple[float, float, float]
    row_cosines: tuple[float, float, float]
    column_cosines: tuple[float, float, float]
    spacing_mm: tuple[float, float]
    rows: int
    columns: int
    samples: int | None
    photometric: str
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    signed: bool | None
    padding: int | None
    padding_limit: int | None
    slope: float
    intercept: float
    rescaled: bool
    syntax: str
    bare: bool
    data_start: int
    data_length: int
    acquisition: tuple[str, ...] = ()
    """Values of `ACQUISITION_TAGS` as the file has them, then the root of its SOPInstanceUID."""

    @property
    def pixel_bytes(self) -> int:
        """What Rows and Columns ask for, uncompressed; 0 where SamplesPerPixel or BitsAllocated is missing."""
        return self.rows * self.columns * (self.samples or 0) * (self.bits_allocated or 0) // 8

    @property
    def bytes_behind(self) -> int:
        """What an uncompressed pixel data element holds beyond that, negative where it holds less."""
        return 0 if self.data_length == UNDEFINED_LENGTH else self.data_length - self.pixel_bytes


def read_file(file: Path) -> bytes:
    """All bytes of one file.

    Parameters
    ----------
    file : Path
        The file.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    Unreadable
        If it can't be opened, is no regular file, is empty, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        # A pipe without a writer would hold an open for ever; for files the flag changes nothing.
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("not a regular file")
            if status.st_size == 0:
                raise Unreadable("empty file")
            if status.st_size > MAX_FILE_BYTES:
                raise Unreadable(f"{status.st_size} bytes; {ONE_SLICE_A_FILE}")
            return os.read(handle, status.st_size)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unreadable(f"can't be opened ({error.strerror})") from error


def read_header(file: Path, content: bytes | None = None) -> tuple[SliceHeader, bytes]:
    """Read a header up to the pixels.

    Parameters
    ----------
    file : Path
        The file.
    content : bytes, optional
        Its bytes if they are at hand.

    Returns
    -------
    header : SliceHeader
        What the file says about itself.
    content : bytes
        The bytes that the header's data_start counts in.

    Raises
    ------
    NoImage
        For what is no image at all.
    Unreadable
        For anything else that is not a usable CT slice.
    """
    if content is None:
        content = read_file(file)
    try:
        elements = read_data_elements(content)
    except NotDicom as error:
        raise Unreadable("not a DICOM file") from error
    except Exception as error:  # pydicom lets any exception out of a damaged file
        raise Unreadable(f"broken header ({type(error).__name__}: {error})") from error
    series = Series(
        *(_text(elements.values, name) for name in ("SeriesInstanceUID", "SeriesDescription", "Modality"))
    )
    try:
        _check_image(elements, series.modality)
        return _slice_header(file, elements, series), elements.content
    except NoImage as error:
        raise NoImage(str(error), series) from error
    except Unreadable as error:
        raise Unreadable(str(error), series) from error


def _check_image(elements: DataElements, modality: str) -> None:
    """Raise NoImage or Unreadable for a file that can't hold a slice."""
    missing = elements.data_start < 0
    position = elements.values.get(TAG_OF["ImagePositionPatient"])
    name = UID(elements.sop_class).name if elements.sop_class else ""
    says_so = modality in NO_IMAGES or (name and "Image" not in name)
    if missing and says_so and not (position and elements.values.get(TAG_OF["Rows"])):
        raise NoImage(f"no image ({modality or name})")
    if elements.values.get(TAG_OF["SamplesPerPixel"]) in (b"\3\0", b"\0\3"):
        raise NoImage("a picture in colours")
    if not elements.syntax:
        raise Unreadable("TransferSyntaxUID (0002,0010) missing")
    frames = _text(elements.values, "NumberOfFrames")
    if frames.lstrip("0") not in ("", "1") or elements.sop_class == EnhancedCTImageStorage:
        raise Unreadable(f"multi-frame image, NumberOfFrames (0028,0008) {frames[:20]!r}; {ONE_SLICE_A_FILE}")
    if missing:
        raise Unreadable("no pixel data (7FE0,0010)")
    if not position:  # one that is there and damaged is that of a slice that is lost
        raise NoImage("ImagePositionPatient (0020,0032): found '', expected 3 finite numbers")


def _slice_header(file: Path, elements: DataElements, series: Series) -> SliceHeader:
    values = elements.values
    shared = tuple(values.get(tag) for tag in SHARED)
    x_mm, y_mm, z_mm = _floats(values, "ImagePositionPatient", 3)
    return SliceHeader(
        file=file,
        number=_number(file, elements),
        series=series,
        position_mm=(x_mm, y_mm, z_mm),
        syntax=elements.syntax,
        bare=elements.bare,
        data_start=elements.data_start,
        data_length=elements.data_length,
        acquisition=(
            *(_text(values, name) for name in ACQUISITION_TAGS),
            _text(values, "SOPInstanceUID").rpartition(".")[0],
        ),
        **_shared_fields(shared, "big" if elements.big_endian else "little"),
    )


@lru_cache(maxsize=64)
def _shared_fields(shared: tuple[bytes | None, ...], order: Literal["little", "big"]) -> dict[str, Any]:
    """The fields of a header that are the same in all slices of a series; shared: values of SHARED."""
    values = {tag: value for tag, value in zip(SHARED, shared, strict=True) if value is not None}
    cosines = _floats(values, "ImageOrientationPatient", 6)
    spacing = _floats(values, "PixelSpacing", 2)
    whole = {field: _whole(values, name, order) for field, name in INTEGER_FIELDS.items()}
    rows, columns = whole["rows"], whole["columns"]
    if not rows or not columns or max(rows, columns) > MAX_SIDE or min(spacing) <= 0:
        found = f"Rows {rows}, Columns {columns}, PixelSpacing {spacing}"
        raise Unreadable(f"{found}; expected values above 0 and at most {MAX_SIDE} pixels")
    stored, allocated = whole["bits_stored"], whole["bits_allocated"]
    if stored is not None and not 0 < stored <= (allocated or 32):
        raise Unreadable(f"BitsStored (0028,0101) {stored} of BitsAllocated (0028,0100) {allocated}")
    _check_directions(cosines)
    signed = _whole(values, "PixelRepresentation", order)
    intercept = _text(values, "RescaleIntercept")
    return {
        "localizer": "LOCALIZER" in _text(values, "ImageType").split("\\"),
        "row_cosines": cosines[:3],
        "column_cosines": cosines[3:],
        "spacing_mm": spacing,
        "photometric": _text(values, "PhotometricInterpretation"),
        "signed": None if signed is None else signed == 1,
        "slope": _floats(values, "RescaleSlope", 1)[0] if _text(values, "RescaleSlope") else 1.0,
        "intercept": _floats(values, "RescaleIntercept", 1)[0] if intercept else 0.0,
        "rescaled": bool(intercept),
        **whole,
    }


# Values are taken as the file has them: pydicom's own conversion takes longer than the rest of the header.
def _text(values: dict[int, bytes], name: str) -> str:
    return values.get(TAG_OF[name], b"").decode("utf-8", "replace").strip(" \x00")


def _floats(values: dict[int, bytes], name: str, count: int) -> tuple[float, ...]:
    """A decimal string (PS3.5, 6.2): numbers with backslashes between them."""
    text = _text(values, name)
    try:
        numbers = tuple(map(float, text.split("\\")))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(abs(number) < 1e6 for number in numbers):  # NaN fails this too
        raise Unreadable(f"{name} {Tag(name)}: found {text[:80]!r}, expected {count} finite numbers")
    return numbers


def _check_directions(cosines: tuple[float, ...]) -> None:
    """Refuse an orientation that is no pair of unit vectors at a right angle, give or take their rounding."""
    across, down = cosines[:3], cosines[3:]
    lengths = [sum(part * part for part in vector) for vector in (across, down)]
    together = sum(one * other for one, other in zip(across, down, strict=True))
    if max(abs(length - 1) for length in lengths) > 0.02 or abs(together) > 0.02:
        raise Unreadable(
            f"ImageOrientationPatient (0020,0037): {cosines} are no two directions at a right angle"
        )


def _whole(values: dict[int, bytes], name: str, order: Literal["little", "big"]) -> int | None:
    """An unsigned short; None if the file lacks it."""
    value = values.get(TAG_OF[name], b"")
    if len(value) not in (0, 2):
        raise Unreadable(f"{name} {Tag(name)}: found {len(value)} bytes, expected one number")
    return int.from_bytes(value, order) if value else None


def _number(file: Path, elements: DataElements) -> int:
    """The number in the file's name as on Kaggle, else InstanceNumber, else -1."""
    for text in (file.stem, _text(elements.values, "InstanceNumber")):
        if text.isdecimal() and len(text) < 10:
            return int(text)
    return -1
