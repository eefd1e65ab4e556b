"""Compressed frames: what is refused before a decoder sees it."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.series import Slice, phantom, slices_of, write_slice
from pydicom.uid import JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless

from cspine.dicom.decoding import decode
from cspine.dicom.header import Unreadable, read_header
from cspine.dicom.jpeg import is_usual_lossless, stray_marker

LOSSLESS = [JPEGLossless, JPEGLosslessSV1]


def frame_of(path: Path) -> bytes:
    return next(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_whose_tail_is_zero_is_refused(tmp_path, syntax):
    """All around the frame is right; pylibjpeg would make up the rest."""
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom(), syntax=syntax)[0])
    content, frame = path.read_bytes(), frame_of(path)
    half = len(frame) // 2
    path.write_bytes(content.replace(frame, frame[:half] + bytes(len(frame) - half)))
    header, content = read_header(path)
    for use_dicomsdl in (True, False):
        with pytest.raises(Unreadable, match="no end marker"):
            decode(content, header, use_dicomsdl)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_frame_goes_to_dicomsdl_only_if_it_is_sound(tmp_path, syntax):
    """Whatever is changed in front of the scan, the frame is no longer taken for a usual one, or means the same."""
    frame = frame_of(write_slice(tmp_path / "1.dcm", slices_of(phantom(), syntax=syntax)[0]))
    assert is_usual_lossless(frame, 24, 20)
    assert not is_usual_lossless(frame, 25, 20) and not is_usual_lossless(frame, 24, 21)
    assert not is_usual_lossless(frame.rstrip(b"\0")[:-2], 24, 20)
    tables = frame.index(b"\xff\xc4")
    length = int.from_bytes(frame[tables + 2 : tables + 4], "big")
    counts = tables + 5
    for at, value in ((tables + 1, 0xDB), (tables + 4, 0x10), (counts, 0xFF), (counts + 15, 0xFF)):
        assert not is_usual_lossless(frame[:at] + bytes([value]) + frame[at + 1 :], 24, 20)
    surplus = bytes([sum(frame[counts : counts + 16]), *bytes(15)])  # more codes of one bit than there can be
    assert not is_usual_lossless(frame[:counts] + surplus + frame[counts + 16 :], 24, 20)
    assert not is_usual_lossless(frame[: tables + 3] + bytes([length + 1]) + frame[tables + 4 :], 24, 20)
    scan = frame.index(b"\xff\xda")
    for at, value in ((scan + 5, 9), (scan + 6, 0x30), (scan + 7, 0), (scan + 7, 8), (scan + 9, 1)):
        assert not is_usual_lossless(frame[:at] + bytes([value]) + frame[at + 1 :], 24, 20)
    for cut in range(scan):
        assert not is_usual_lossless(frame[:cut], 24, 20)


def test_a_marker_within_the_pixels_is_damage(tmp_path):
    """pylibjpeg would go on and make up the rest."""
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom(), syntax=JPEGLosslessSV1)[0])
    content = path.read_bytes()
    frame = frame_of(path)
    assert not stray_marker(frame)
    at = content.index(frame) + len(frame) // 2
    path.write_bytes(content[:at] + b"\xff\xff\xff\xc4" + content[at + 4 :])
    header, content = read_header(path)
    with pytest.raises(Unreadable, match="marker within the compressed pixels"):
        decode(content, header, use_dicomsdl=False)


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEGLSLossless, JPEG2000Lossless])
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path, syntax):
    """A header that says 24 x 20 in front of an image of 3000 x 3000 must not cost the memory of the latter."""
    one = Slice(np.zeros((300, 200), np.int32), (0, 0, 0), syntax=syntax)
    path = write_slice(tmp_path / "1.dcm", one)
    data = pydicom.dcmread(path)
    data.Rows, data.Columns = 24, 20
    data.save_as(path)
    header, content = read_header(path)
    with pytest.raises(Unreadable, match="compressed image of 300 x 200 where Rows and Columns say 24 x 20"):
        decode(content, header)
