"""Stored pixels of one slice: numpy for plain pixels, dicomsdl where it is right, pydicom for the rest.

dicomsdl is several times faster than pydicom with pylibjpeg, but it ends the process on damaged files and
decodes some valid ones wrongly without a word. So it only sees files whose header and JPEG frame agree, and
everything else goes to pydicom, which is also the judge in the tests.
"""

import io
from functools import lru_cache
from struct import Struct

import dicomsdl
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from cspine.dicom.data_elements import EXPLICIT, LENGTH, UNDEFINED_LENGTH
from cspine.dicom.header import SliceHeader, Unreadable
from cspine.dicom.jpeg import has_end, is_usual_lossless, jpeg_2000_size, jpeg_size, stray_marker

PLAIN = {ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian}
LOSSLESS_JPEG = {JPEGLossless, JPEGLosslessSV1}
JPEG_2000 = {JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL}

END_OF_FRAGMENTS = bytes.fromhex("feffdde0 00000000")
SHORT = Struct("<H")


def decode(content: bytes, header: SliceHeader, use_dicomsdl: bool = True) -> tuple[np.ndarray, str]:
    """Decode a slice's pixels.

    Parameters
    ----------
    content : bytes
        The bytes that `read_header` returned with the header.
    header : SliceHeader
        The slice's header.
    use_dicomsdl : bool
        False keeps away from dicomsdl, which may end the process on a file that is damaged within the
        compressed pixels.

    Returns
    -------
    stored : ndarray of integers, shape (rows, columns)
        The pixels as stored.
    decoder : str
        What decoded them: numpy, dicomsdl or pydicom.

    Raises
    ------
    Unreadable
        If the pixels are damaged, or another image than the header describes.
    """
    if header.syntax in PLAIN:
        _check_plain_length(content, header)
        if _is_plain_16_bit(header):
            kind = "<i2" if header.signed else "<u2"
            stored = np.frombuffer(content, kind, header.rows * header.columns, header.data_start)
            return stored.reshape(header.rows, header.columns), "numpy"
    elif header.data_length == UNDEFINED_LENGTH:
        frame = _first_frame(content, header)
        _check_frame(frame, header)
        if header.syntax in LOSSLESS_JPEG:
            stored = None
            if use_dicomsdl and _suits_dicomsdl(frame, header):
                stored = _by_dicomsdl(frame, header)
            if stored is not None:
                return stored, "dicomsdl"
            if stray_marker(frame):  # pylibjpeg would make up what it can't decode
                raise Unreadable("damaged: a marker within the compressed pixels")
    return _by_pydicom(content, header), "pydicom"


def _is_plain_16_bit(header: SliceHeader) -> bool:
    usual_bits = header.bits_stored is None or header.high_bit in (None, header.bits_stored - 1)
    return header.bits_allocated == 16 and header.samples == 1 and header.signed is not None and usual_bits


def _check_plain_length(content: bytes, header: SliceHeader) -> None:
    """Refuse pixels that end early, or that Rows and Columns do not describe."""
    if header.data_length == UNDEFINED_LENGTH:
        raise Unreadable("compressed pixels, but no compressed transfer syntax (0002,0010)")
    there = len(content) - header.data_start
    if there < header.data_length:
        raise Unreadable(f"truncated: {there} of {header.data_length} bytes of pixels")
    if header.bits_allocated is None or header.samples is None:
        raise Unreadable("BitsAllocated (0028,0100) or SamplesPerPixel (0028,0002) missing")
    needed, behind = header.pixel_bytes, header.bytes_behind
    if behind < 0 or (behind > needed % 2 and _are_pixels(content, header)):
        raise Unreadable(f"{header.data_length} bytes of pixels where Rows and Columns ask for {needed}")


def _are_pixels(content: bytes, header: SliceHeader) -> bool:
    """Whether bytes behind the pixels may be further rows or columns, that is, Rows or Columns may be wrong.

    Whole rows or columns are, unless they are all the same byte, as padding is.
    """
    start = header.data_start + header.pixel_bytes
    rest = content[start : header.data_start + header.data_length]
    sides = [header.pixel_bytes // side for side in (header.rows, header.columns)]
    return len(set(rest)) > 1 and any(side and len(rest) % side == 0 for side in sides)


def _first_frame(content: bytes, header: SliceHeader) -> bytes:
    """Join the fragments of an encapsulated frame (PS3.5 A.4), without the offset table before them."""
    fragments, at = [], header.data_start
    while True:
        tag, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8
        if tag == b"\xfe\xff\xdd\xe0":
            break
        if tag != b"\xfe\xff\x00\xe0" or at + length > len(content):
            raise Unreadable("truncated: the compressed pixels end early")
        fragments.append(content[at : at + length])
        at += length
    return fragments[1] if len(fragments) == 2 else b"".join(fragments[1:])


def _check_frame(frame: bytes, header: SliceHeader) -> None:
    """Refuse a codestream without end, or of another size than the header's: decoders would believe it."""
    if header.syntax == RLELossless:
        return
    found = jpeg_2000_size(frame) if header.syntax in JPEG_2000 else jpeg_size(frame)
    if not has_end(frame):
        raise Unreadable("truncated: the compressed pixels have no end marker")
    if found is None:
        raise Unreadable("no frame header in the compressed pixels")
    if found != (header.rows, header.columns):
        wanted = f"{header.rows} x {header.columns}"
        raise Unreadable(f"compressed image of {found[0]} x {found[1]} where Rows and Columns say {wanted}")


def _suits_dicomsdl(frame: bytes, header: SliceHeader) -> bool:
    """Whether dicomsdl is known to be right: unsigned or full 16 bit, and a frame without a flaw."""
    usual = _is_plain_16_bit(header) and (not header.signed or header.bits_stored == 16)
    return usual and is_usual_lossless(frame, header.rows, header.columns)


def _by_dicomsdl(frame: bytes, header: SliceHeader) -> np.ndarray | None:
    """Decode with dicomsdl; None where it refuses or sees another image than the header describes.

    It gets the frame in a file made here: around an odd or damaged header it may end the process.
    """
    stored = np.empty((header.rows, header.columns), np.int16 if header.signed else np.uint16)
    start = _start_of_file(
        header.syntax, header.rows, header.columns, header.bits_stored or 16, header.signed
    )
    try:
        data = dicomsdl.open_memory(b"".join((start, LENGTH.pack(len(frame)), frame, END_OF_FRAGMENTS)))
        info = data.getPixelDataInfo()
        seen = (info["Rows"], info["Cols"], info["SamplesPerPixel"], np.dtype(info["dtype"]))
        if seen != (header.rows, header.columns, 1, stored.dtype):
            return None
        data.copyFrameData(0, stored)
    except (dicomsdl.DicomException, RuntimeError, ValueError, KeyError, TypeError):
        return None  # the caller falls back and counts it
    return stored


@lru_cache(maxsize=16)
def _start_of_file(syntax: str, rows: int, columns: int, bits_stored: int, signed: bool) -> bytes:
    """A file with nothing but what describes one compressed grey image, up to the frame's length (PS3.5 A.4)."""
    uid = syntax.encode() + bytes(len(syntax) % 2)
    meta = _element(0x0002, 0x0010, b"UI", uid)
    described = {
        0x0002: 1,  # SamplesPerPixel
        0x0010: rows,
        0x0011: columns,
        0x0100: 16,  # BitsAllocated
        0x0101: bits_stored,
        0x0102: bits_stored - 1,  # HighBit
        0x0103: int(signed),  # PixelRepresentation
    }
    numbers = [_element(0x0028, element, b"US", SHORT.pack(value)) for element, value in described.items()]
    grey = _element(0x0028, 0x0004, b"CS", b"MONOCHROME2 ")
    # The pixel data element (OB, undefined length), an empty offset table, and one item.
    pixels = bytes.fromhex("e07f1000 4f420000 ffffffff feff00e0 00000000 feff00e0")
    parts = (bytes(128), b"DICM", _element(0x0002, 0x0000, b"UL", LENGTH.pack(len(meta))), meta)
    return b"".join((*parts, numbers[0], grey, *numbers[1:], pixels))


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return EXPLICIT.pack(group, element, vr, len(value)) + value


def _by_pydicom(content: bytes, header: SliceHeader) -> np.ndarray:
    """Decode with pydicom, compressed frames with pylibjpeg."""
    try:
        data = pydicom.dcmread(io.BytesIO(content), force=True)
        meta = getattr(data, "file_meta", None) or FileMetaDataset()
        if "TransferSyntaxUID" not in meta:  # a bare data set, or one that was inflated
            meta.TransferSyntaxUID = UID(header.syntax if header.bare else ExplicitVRLittleEndian)
            data.file_meta = meta
        # without this, pydicom asks gdcm too where it is installed, which may end the process
        data.pixel_array_options(decoding_plugin="pylibjpeg" if meta.TransferSyntaxUID.is_compressed else "")
        stored = data.pixel_array
    except BaseException as error:
        # pylibjpeg-rle panics with an exception beside Exception; what asks the process to end must go on.
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            raise Unreadable(f"can't be decoded ({type(error).__name__}: {_words(error)})") from error
        raise
    if stored.shape != (header.rows, header.columns) or stored.dtype.kind not in "iu":
        wanted = f"{header.rows} x {header.columns}"
        raise Unreadable(f"decodes to {stored.dtype} {stored.shape}; expected one grey image of {wanted}")
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
