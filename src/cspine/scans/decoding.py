"""Stored pixels of one slice: numpy for plain pixels, dicomsdl where it is right, pydicom for the rest.

dicomsdl is several times faster than pydicom with pylibjpeg, but it ends the process on damaged files and
decodes some valid ones wrongly without a word. So it only sees files whose header and JPEG frame agree, and
everything else goes to pydicom, which is also the judge in the tests.
"""

import io
from pathlib import Path

import dicomsdl
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLossless, JPEGLosslessSV1

from cspine.scans.header import UNDEFINED_LENGTH, SliceHeader, Unreadable

AIR_HU = -1000
PLAIN = {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
LOSSLESS_JPEG = {JPEGLossless, JPEGLosslessSV1}


def decode_into(target: np.ndarray, header: SliceHeader) -> str:
    """Decode a slice and write its Hounsfield units.

    target: int16 (rows, columns), may be a flipped or transposed view. Returns the decoder's name.
    Raises Unreadable, and leaves `target` undefined then.
    """
    try:
        content = Path(header.file).read_bytes()
    except OSError as error:
        raise Unreadable(f"can't be read ({error.strerror})") from error
    if header.frames != 1:
        raise Unreadable(f"NumberOfFrames {header.frames}; expected one slice a file")
    stored, decoder = decode(content, header)
    to_hu(stored, header, target)
    return decoder


def decode(content: bytes, header: SliceHeader) -> tuple[np.ndarray, str]:
    """Decode a file's pixels.

    Returns integers (rows, columns) as stored, and the decoder: numpy, dicomsdl or pydicom.
    Raises Unreadable.
    """
    if header.syntax in PLAIN:
        _check_plain_length(content, header)
        if _is_plain_16_bit(header):
            kind = "<i2" if header.signed else "<u2"
            stored = np.frombuffer(content, kind, header.rows * header.columns, header.data_start)
            return stored.reshape(header.rows, header.columns), "numpy"
    elif header.data_length == UNDEFINED_LENGTH:
        frame = _first_frame(content, header)
        if header.syntax in LOSSLESS_JPEG and _suits_dicomsdl(frame, header):
            stored = _by_dicomsdl(content, header)
            if stored is not None:
                return stored, "dicomsdl"
    return _by_pydicom(content, header), "pydicom"


def to_hu(stored: np.ndarray, header: SliceHeader, target: np.ndarray) -> None:
    """Turn stored values into Hounsfield units, slope * stored + intercept (PS3.3 C.11.1.1.2), in int16.

    stored: integers (rows, columns). target: int16 (rows, columns), written to, clipped to its range. Bits
    above BitsStored are dropped, the padding value becomes air. MONOCHROME1 needs nothing: it concerns the
    display, which lies behind the rescaling.
    """
    low, high = int(stored.min()), int(stored.max())
    bits = header.bits_stored or header.bits_allocated or stored.dtype.itemsize * 8
    first = -(1 << (bits - 1)) if header.signed else 0
    if low < first or high >= first + (1 << bits):
        shift = stored.dtype.itemsize * 8 - bits
        stored = (stored << shift) >> shift
        low, high = int(stored.min()), int(stored.max())
    offset = int(header.intercept)
    whole = header.slope == 1 and offset == header.intercept and stored.dtype.itemsize == 2
    if whole and min(low, low + offset) >= -32768 and max(high, high + offset) <= 32767:
        np.add(stored.view(stored.dtype.str.replace("u", "i")), np.int16(offset), out=target)
    else:
        exact = stored * np.float64(header.slope) + header.intercept
        target[...] = np.clip(np.rint(exact), -32768, 32767)
    if header.padding is not None:
        # The tag may be written unsigned for signed pixels and the other way round: compare the bits.
        bits_of = (1 << stored.dtype.itemsize * 8) - 1
        target[(stored.astype(np.int64) & bits_of) == (header.padding & bits_of)] = AIR_HU


def _is_plain_16_bit(header: SliceHeader) -> bool:
    usual_bits = header.bits_stored is None or header.high_bit in (None, header.bits_stored - 1)
    return header.bits_allocated == 16 and header.samples == 1 and header.signed is not None and usual_bits


def _check_plain_length(content: bytes, header: SliceHeader) -> None:
    """Refuse pixels that end early, or that Rows and Columns do not describe."""
    there = len(content) - header.data_start
    if there < header.data_length:
        raise Unreadable(f"truncated: {there} of {header.data_length} bytes of pixels")
    if header.bits_allocated is None or header.samples is None:
        raise Unreadable("BitsAllocated (0028,0100) or SamplesPerPixel (0028,0002) missing")
    needed = header.rows * header.columns * header.samples * header.bits_allocated // 8
    if header.data_length - needed not in (0, needed % 2):
        raise Unreadable(f"{header.data_length} bytes of pixels where Rows and Columns ask for {needed}")


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
    return b"".join(fragments[1:])


def _suits_dicomsdl(frame: bytes, header: SliceHeader) -> bool:
    """Whether dicomsdl is known to be right: file complete, unsigned or full 16 bit, sizes in agreement."""
    whole = frame.rstrip(b"\x00").endswith(b"\xff\xd9")
    usual = _is_plain_16_bit(header) and (not header.signed or header.bits_stored == 16)
    return whole and usual and _jpeg_size(frame) == (header.rows, header.columns, 1)


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components in a lossless JPEG's frame header (ITU T.81, B.2.2); None if absent."""
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 10 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == 0xC3:
            rows, columns = (int.from_bytes(frame[at + n : at + n + 2], "big") for n in (5, 7))
            return rows, columns, frame[at + 9]
        at += 2 + length
    return None


def _by_dicomsdl(content: bytes, header: SliceHeader) -> np.ndarray | None:
    """Decode with dicomsdl; None where it refuses or sees another image than the header describes."""
    try:
        data = dicomsdl.open_memory(content)
        info = data.getPixelDataInfo()
        stored = np.empty((header.rows, header.columns), np.int16 if header.signed else np.uint16)
        seen = (info["Rows"], info["Cols"], info["SamplesPerPixel"], np.dtype(info["dtype"]))
        if seen != (header.rows, header.columns, 1, stored.dtype):
            return None
        data.copyFrameData(0, stored)
    except (RuntimeError, ValueError, KeyError, TypeError):  # the caller falls back and counts it
        return None
    return stored


def _by_pydicom(content: bytes, header: SliceHeader) -> np.ndarray:
    """Decode with pydicom and whatever plugin it finds."""
    try:
        stored = pydicom.dcmread(io.BytesIO(content)).pixel_array
    except BaseException as error:
        # pylibjpeg-rle panics with an exception beside Exception; what asks the process to end must go on.
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            raise Unreadable(f"can't be decoded ({type(error).__name__}: {_first_line(error)})") from error
        raise
    if stored.shape != (header.rows, header.columns) or stored.dtype.kind not in "iu":
        wanted = f"{header.rows} x {header.columns}"
        raise Unreadable(f"decodes to {stored.dtype} {stored.shape}; expected one grey image of {wanted}")
    return stored


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:160] if lines else ""
