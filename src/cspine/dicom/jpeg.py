"""What a compressed frame says about itself in front of its pixels: sizes, and whether all is as usual."""

import re
from collections.abc import Iterator

FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
"""SOF0 to SOF15 of ITU T.81, and SOF55 of JPEG-LS (ITU T.87)."""
LOSSLESS, TABLES, SCAN, RESTART = 0xC3, 0xC4, 0xDA, 0xDD
"""Markers SOF3, DHT, SOS and DRI (ITU T.81, table B.1)."""
COMMENTS = {*range(0xE0, 0xF0), 0xFE}
"""Markers APP0 to APP15 and COM."""
STRAY = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker among the pixels, where 0xFF as data is followed by 0; but RST0 to RST7 belong there (B.1.1.2)."""


def jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns in the frame header of a JPEG or JPEG-LS.

    Parameters
    ----------
    frame : bytes
        The compressed frame.

    Returns
    -------
    tuple of int, or None
        Rows and columns; None if there is no frame header.

    References
    ----------
    ITU T.81, B.2.2.
    """
    for marker, segment in _segments(frame):
        if marker in FRAME_MARKERS and len(segment) >= 5:
            return int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    return None


def jpeg_2000_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns in a JPEG 2000 codestream's SIZ marker.

    Parameters
    ----------
    frame : bytes
        The compressed frame.

    Returns
    -------
    tuple of int, or None
        Rows and columns; None if there is no SIZ marker.

    References
    ----------
    ITU T.800, A.5.1.
    """
    # DICOM wants a bare codestream, some files hold a whole JP2.
    at = frame.find(b"\xff\x4f\xff\x51", 0, 1024)
    if at < 0 or at + 24 > len(frame):
        return None
    right, bottom, left, top = (int.from_bytes(frame[at + n : at + n + 4], "big") for n in (8, 12, 16, 20))
    return bottom - top, right - left


def has_end(frame: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 frame has its end marker; some writers fill up with 0xFF or zeros.

    Parameters
    ----------
    frame : bytes
        The compressed frame.

    Returns
    -------
    bool
        True if the marker is there.
    """
    return b"\xff\xd9" in frame.rstrip(b"\x00")[-3:]


def stray_marker(frame: bytes) -> bool:
    """Whether a marker that does not belong there stands within the scan of a JPEG: damaged pixels.

    Parameters
    ----------
    frame : bytes
        The compressed frame, of one component.

    Returns
    -------
    bool
        True if there is one.
    """
    start = next((at for marker, at in _markers(frame) if marker == SCAN), None)
    found = STRAY.search(frame, start + 2) if start is not None else None
    return found is not None and found.start() < frame.rfind(b"\xff\xd9")


def is_usual_lossless(frame: bytes, rows: int, columns: int) -> bool:
    """Whether a frame is a whole lossless JPEG of one component in every detail.

    A decoder in C may believe a damaged table and write where it should not; this asks for nothing but one
    frame header of this size with 9 to 16 bits, sound Huffman tables, one scan with one of the seven
    predictors, and an end marker.

    Parameters
    ----------
    frame : bytes
        The compressed frame.
    rows, columns : int
        Its size as the DICOM header has it.

    Returns
    -------
    bool
        True if all of this is so.

    References
    ----------
    ITU T.81, annexes B and H.
    """
    component: int | None = None
    tables: set[int] = set()
    for marker, segment in _segments(frame):
        if marker == LOSSLESS:
            size = (int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big"))
            if component is not None or len(segment) != 9 or size != (rows, columns):
                return False
            if not 9 <= segment[0] <= 16 or segment[5] != 1 or segment[7] != 0x11:
                return False
            component = segment[6]
        elif marker == TABLES:
            found = _huffman_tables(segment)
            if not found:
                return False
            tables |= found
        elif marker == SCAN:
            if len(segment) != 6 or segment[0] != 1 or segment[1] != component or segment[4:] != b"\0\0":
                return False
            return has_end(frame) and segment[2] >> 4 in tables and 1 <= segment[3] <= 7
        elif marker not in COMMENTS and not (marker == RESTART and len(segment) == 2):
            return False
    return False


def _segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers and what follows their length, up to the first scan (ITU T.81, B.1.1)."""
    for marker, at in _markers(frame):
        yield marker, frame[at + 2 : at + int.from_bytes(frame[at : at + 2], "big")]


def _markers(frame: bytes) -> Iterator[tuple[int, int]]:
    """Markers and where their length stands, up to the first scan."""
    at, marker = 2, 0
    while marker != SCAN and frame[:2] == b"\xff\xd8" and at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(frame):
            return
        yield marker, at + 2
        at += 2 + length


def _huffman_tables(segment: bytes) -> set[int]:
    """Numbers of the tables that a DHT segment defines (ITU T.81, B.2.4.2); empty if one of them is not sound."""
    numbers, at = set(), 0
    while at < len(segment):
        counts = segment[at + 1 : at + 17]
        values = segment[at + 17 : at + 17 + sum(counts)]
        codes = sum(count << 16 - bits for bits, count in enumerate(counts, 1))
        sound = len(counts) == 16 and len(values) == sum(counts) > 0 and max(values, default=17) <= 16
        if segment[at] > 3 or not sound or codes > 1 << 16:
            return set()
        numbers.add(segment[at])
        at += 17 + len(values)
    return numbers
