"""The top-level data elements of one file, as bytes: a strict parser for plain files, pydicom for odd ones.

The parser is kept beside pydicom for its speed: with every header parsed by pydicom, the whole stage `prepare` reads
2,953 slices of explicit LE a second instead of 6,204, and 568 of JPEG Lossless instead of 646 (`make bench-scans`,
row (d); two cores, benchmarks/results/scans.md). Nearly every slice is a short list of elements in little endian;
walking over that takes a tenth of the time that pydicom needs. Whatever is not quite that (sequences of undefined
length, elements out of order, an unknown value representation, big endian, a length beyond the end) goes to
pydicom, and the tests hold both ways to the same values.
"""

import io
import re
import zlib
from dataclasses import dataclass
from struct import Struct
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "AcquisitionTime",
    "SliceThickness",
    "ConvolutionKernel",
    "SeriesNumber",
    "AcquisitionNumber",
    "ImageType",
    "Modality",
    "SeriesDescription",
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
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
)
TAG_OF = {keyword: tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None}
WANTED = frozenset(TAG_OF.values())
MEDIA_CLASS, SYNTAX = 0x00020002, 0x00020010
PIXEL_DATA = 0x7FE00010
UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_INFLATED_BYTES = 1 << 27
"""What a deflated file may grow to; a slice of 2048 x 2048 takes 8 MB."""
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with a length of four bytes (PS3.5 7.1.2)."""
TEXT = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UN UR UT".split())
NUMBER = frozenset((b"US", b"SS", b"UN"))
USUAL = {tag: NUMBER if dictionary_VR(tag) in ("US", "SS", "US or SS") else TEXT for tag in WANTED}
"""Value representations in which an element's bytes read as those of the one that the standard names."""
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
EXPLICIT, IMPLICIT, LENGTH = Struct("<HH2sH"), Struct("<HHI"), Struct("<I")
BARE_START = re.compile(rb"[\x02\x08]\x00[\x00-\x20]\x00")
"""How a data set without preamble begins: group 0002 or 0008, one of its first elements."""


class NotDicom(Exception):
    """The bytes are no DICOM file."""


@dataclass(frozen=True, slots=True)
class DataElements:
    """A file's elements up to the pixels.

    values: tag -> value as stored, for the tags in `WANTED` that have one. sop_class: what the file meta
    information or else the data set says. syntax: transfer syntax UID, empty if the file names none. bare: no
    preamble and file meta information (PS3.10 7.1). content: the bytes in which data_start lies, those of
    the file or, for a deflated one, what it inflates to. data_start, data_length: value of the pixel data
    element; -1 without one, 0 where only pydicom finds its way; length UNDEFINED_LENGTH if compressed.
    """

    values: dict[int, bytes]
    sop_class: str
    syntax: str
    bare: bool
    content: bytes
    data_start: int
    data_length: int
    big_endian: bool = False


def read_data_elements(content: bytes) -> DataElements:
    """Take a file apart up to its pixels.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    DataElements
        The elements wanted, and where the pixels lie.

    Raises
    ------
    NotDicom
        If the bytes are no DICOM file.
    ValueError
        If a deflated file inflates to too much, ends early, or follows damaged file meta information.
    Exception
        Whatever pydicom raises for a damaged file.
    """
    if content[128:132] != b"DICM":
        if BARE_START.match(content):
            return by_pydicom(content, bare=True)
        raise NotDicom
    meta: dict[int, bytes] = {}
    start = _walk_explicit(content, 132, meta, 0x0002FFFF)[0]
    if start < 0 and DeflatedExplicitVRLittleEndian.encode() in content[:4096]:
        raise ValueError("damaged file meta information before deflated data")  # pydicom inflates unbounded
    plain = None
    if start >= 0 and _uid(meta, SYNTAX) not in ("", ExplicitVRBigEndian):
        plain = _plain(content, meta, start)
    return by_pydicom(content) if plain is None else plain


def _plain(content: bytes, meta: dict[int, bytes], start: int) -> DataElements | None:
    """Elements of a little endian data set that begins at `start`; None if there is anything odd."""
    syntax = _uid(meta, SYNTAX)
    values: dict[int, bytes] = {}
    if syntax == DeflatedExplicitVRLittleEndian:
        content, start = _inflate(content[start:]), 0
    walk = _walk_implicit if syntax == ImplicitVRLittleEndian else _walk_explicit
    at, length = walk(content, start, values, PIXEL_DATA - 1)
    if at < 0:
        return None
    sop_class = _uid(meta, MEDIA_CLASS) or _uid(values, TAG_OF["SOPClassUID"])
    if at == len(content):
        at, length = -1, 0
    return DataElements(values, sop_class, syntax, False, content, at, length)


def _walk_explicit(content: bytes, at: int, found: dict[int, bytes], last: int) -> tuple[int, int]:
    """Collect elements with tags up to `last`, explicit VR.

    Returns where the next element's value starts and its length for the pixel data, where the next element
    starts for the file meta information, the content's size at its end, and -1 for anything odd.
    """
    size, before, odd = len(content), -1, (-1, 0)
    while at + 8 <= size:
        group, element, vr, length = EXPLICIT.unpack_from(content, at)
        tag = group << 16 | element
        if tag > last and last != PIXEL_DATA - 1:
            return at, 0
        if vr in SHORT:
            start = at + 8
        elif vr in LONG and at + 12 <= size:
            start, length = at + 12, LENGTH.unpack_from(content, at + 8)[0]
        else:
            return odd
        if tag == PIXEL_DATA:
            return start, length
        if tag > last or tag <= before or start + length > size:
            return odd
        if length and tag in WANTED and vr not in USUAL[tag]:
            return odd
        if length and (tag in WANTED or group == 2):
            found[tag] = content[start : start + length]
        at, before = start + length, tag
    return (at, 0) if at == size else odd


def _walk_implicit(content: bytes, at: int, found: dict[int, bytes], last: int) -> tuple[int, int]:
    """The same for implicit VR; a file whose elements do carry a VR is odd."""
    size, before, odd = len(content), -1, (-1, 0)
    if content[at + 4 : at + 6].isalpha():
        return odd
    while at + 8 <= size:
        group, element, length = IMPLICIT.unpack_from(content, at)
        tag, start = group << 16 | element, at + 8
        if tag == PIXEL_DATA:
            return start, length
        if tag > last or tag <= before or start + length > size:
            return odd
        if length and tag in WANTED:
            found[tag] = content[start : start + length]
        at, before = start + length, tag
    return (at, 0) if at == size else odd


def _as_usual(value: Any, tag: int) -> bytes:
    """A value in another representation than the standard's, as bytes of the standard's."""
    values = [value] if isinstance(value, str | bytes | int | float) else list(value)
    if USUAL[tag] is NUMBER:
        return b"".join(int(one).to_bytes(2, "little", signed=int(one) < 0) for one in values)
    return "\\".join(str(one) for one in values).encode()


def _uid(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").decode("latin-1").strip(" \x00")


def _inflate(content: bytes) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5), but not without a limit: few bytes can stand for gigabytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content, MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ValueError(f"inflates to more than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof:
        raise ValueError("the deflated data end early")
    return inflated


def by_pydicom(content: bytes, bare: bool = False) -> DataElements:
    """Take any file apart up to its pixels as pydicom sees it.

    Parameters
    ----------
    content : bytes
        The whole file.
    bare : bool
        Whether the file has neither preamble nor file meta information (PS3.10 7.1).

    Returns
    -------
    DataElements
        The same as `read_data_elements` gives.

    Raises
    ------
    Exception
        Whatever pydicom raises for a damaged file.
    """
    stream = io.BytesIO(content)
    data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(KEYWORDS), force=bare)
    meta: Any = getattr(data, "file_meta", {})
    syntax, start = str(meta.get("TransferSyntaxUID", "")), stream.tell()
    implicit, little = data.original_encoding
    if not syntax and bare:
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    values: dict[int, bytes] = {}
    for tag in WANTED:
        element = data.get_item(tag)
        if element is None:
            continue
        vr = (element.VR or "UN").encode()
        if vr not in USUAL[tag]:
            values[tag] = _as_usual(data[tag].value, tag)
        elif isinstance(element.value, bytes) and element.value:
            values[tag] = element.value
    sop_class = str(meta.get("MediaStorageSOPClassUID", "")) or _uid(values, TAG_OF["SOPClassUID"])
    if syntax == DeflatedExplicitVRLittleEndian or not little:
        pixels = little or content[start : start + 4] == b"\x7f\xe0\x00\x10"
        return DataElements(values, sop_class, syntax, bare, content, 0 if pixels else -1, 0, not little)
    # As the pixel data element itself is written, whatever the transfer syntax says.
    head = 12 if content[start + 4 : start + 6] in LONG | SHORT else 8
    beginning = content[start : start + head]
    if len(beginning) < head or beginning[:4] != b"\xe0\x7f\x10\x00":
        return DataElements(values, sop_class, syntax, bare, content, -1, 0)
    length = LENGTH.unpack_from(beginning, head - 4)[0]
    return DataElements(values, sop_class, syntax, bare, content, start + head, length)
