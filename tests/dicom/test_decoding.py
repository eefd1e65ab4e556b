"""Pixels of one slice: fragments, fallbacks, and what a decoder may not decide by itself."""

import struct
from dataclasses import replace

import dicomsdl
import numpy as np
import pydicom
import pytest
from helpers.series import phantom, slices_of, write_slice
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cspine.dicom.decoding import decode
from cspine.dicom.header import Unreadable, read_header

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def slice_in(folder, syntax, **fields):
    """Header, content and stored pixels of a slice in this syntax."""
    path = write_slice(folder / "1.dcm", slices_of(phantom(), syntax=syntax, **fields)[0])
    return *read_header(path), phantom()[0].astype(int) - int(fields.get("intercept", -1024.0))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_eight_bits_go_to_pydicom(tmp_path, syntax):
    """Nothing but numpy and plain 16 bits is quick; the rest has to be right all the same."""
    pixels = np.arange(24 * 20).reshape(24, 20) % 251
    one = slices_of(pixels[None], intercept=0.0, signed=False)[0]
    one.more = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": pixels.astype("u1").tobytes()}
    path = write_slice(tmp_path / "1.dcm", one)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(path)
    header, content = read_header(path)
    stored, decoder = decode(content, header)
    assert decoder == "pydicom"
    np.testing.assert_array_equal(stored, pixels)


@pytest.mark.parametrize("signed", [True, False])
def test_pixels_of_a_big_endian_file_are_in_this_machines_order(tmp_path, signed):
    header, content, expected = slice_in(tmp_path, ExplicitVRBigEndian, signed=signed)
    stored, decoder = decode(content, header)
    np.testing.assert_array_equal(stored, expected)
    assert stored.dtype.isnative and stored.dtype == (np.int16 if signed else np.uint16)
    assert decoder == "pydicom"


@pytest.mark.parametrize("table", [b"", bytes(4)])
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_in_several_fragments_is_joined(tmp_path, syntax, table):
    """PS3.5 A.4 allows it; the offset table before them is no fragment."""
    header, content, expected = slice_in(tmp_path, syntax)
    frame = next(pydicom.encaps.generate_frames(content[header.data_start :], number_of_frames=1))
    frame += b"\0" * (-len(frame) % 6)
    third = len(frame) // 3
    parts = [table, frame[:third], frame[third : 2 * third], frame[2 * third :]]
    items = b"".join(ITEM + struct.pack("<I", len(part)) + part for part in parts)
    split = content[: header.data_start] + items + END
    for use_dicomsdl in (True, False):
        stored, _ = decode(split, header, use_dicomsdl=use_dicomsdl)
        np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_fragments_that_end_early_are_refused_before_a_decoder_sees_them(tmp_path, monkeypatch, syntax):
    header, content, _ = slice_in(tmp_path, syntax)
    monkeypatch.setattr(dicomsdl, "open_memory", None)
    monkeypatch.setattr(pydicom, "dcmread", None)
    for end in (len(content) - 9, header.data_start + 40, header.data_start + 3):
        with pytest.raises(Unreadable, match="^truncated: the compressed pixels end early$"):
            decode(content[:end], header)


def test_compressed_pixels_under_a_plain_syntax_are_refused(tmp_path):
    header, content, _ = slice_in(tmp_path, JPEGLosslessSV1)
    with pytest.raises(Unreadable, match=r"no compressed transfer syntax \(0002,0010\)"):
        decode(content, replace(header, syntax=ExplicitVRLittleEndian))


WRONG = {
    "cut": ({}, 100, "^truncated: 860 of 960 bytes of pixels$"),
    "one row too many": ({"rows": 25}, 0, "^960 bytes of pixels where Rows and Columns ask for 1000$"),
    "one row too few": ({"rows": 23}, 0, "^960 bytes of pixels where Rows and Columns ask for 920$"),
    "three samples": ({"samples": 3}, 0, "ask for 2880$"),
    "no bits allocated": ({"bits_allocated": None}, 0, r"BitsAllocated \(0028,0100\) .* missing"),
    "no samples": ({"samples": None}, 0, r"SamplesPerPixel \(0028,0002\) missing"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_plain_pixels_that_the_header_does_not_describe_are_refused(tmp_path, kind):
    fields, lost, words = WRONG[kind]
    header, content, _ = slice_in(tmp_path, ExplicitVRLittleEndian)
    with pytest.raises(Unreadable, match=words):
        decode(content[: len(content) - lost], replace(header, **fields))


def refuses(*args):
    raise RuntimeError("refused")


class OtherSize:
    """A decoder that sees an image of another size."""

    def getPixelDataInfo(self):
        return {"Rows": 24, "Cols": 21, "SamplesPerPixel": 1, "dtype": "int16"}

    def copyFrameData(self, index, target):
        raise AssertionError("it would write beyond the image")


@pytest.mark.parametrize("behaviour", [refuses, lambda content: OtherSize()], ids=["refuses", "other size"])
def test_what_dicomsdl_does_not_decode_goes_to_pydicom(tmp_path, monkeypatch, behaviour):
    header, content, expected = slice_in(tmp_path, JPEGLosslessSV1)
    assert decode(content, header)[1] == "dicomsdl"
    monkeypatch.setattr(dicomsdl, "open_memory", behaviour)
    stored, decoder = decode(content, header)
    np.testing.assert_array_equal(stored, expected)
    assert decoder == "pydicom"


def test_broken_rle_is_an_unreadable_slice(tmp_path):
    """The RLE decoder written in Rust panics with an exception that is no Exception."""
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom(), syntax=RLELossless)[0])
    header, content = read_header(path)
    frame = content.index(b"\x02\x00\x00\x00\x40\x00\x00\x00", header.data_start)
    reasons = set()
    for second_segment in (65, 100, 300):
        broken = content[: frame + 8] + second_segment.to_bytes(4, "little") + content[frame + 12 :]
        with pytest.raises(Unreadable, match="can't be decoded") as caught:
            decode(broken, header)
        reasons.add(type(caught.value.__cause__).__name__)
    assert "PanicException" in reasons


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_ends_the_process_is_not_taken_for_a_damaged_slice(tmp_path, monkeypatch, error):
    header, content, _ = slice_in(tmp_path, RLELossless)

    def interrupted(*args, **options):
        raise error

    monkeypatch.setattr(pydicom, "dcmread", interrupted)
    with pytest.raises(error):
        decode(content, header)


def test_the_reason_is_one_short_line(tmp_path, monkeypatch):
    header, content, _ = slice_in(tmp_path, RLELossless)

    def talks(*args, **options):
        raise ValueError("many\nlines " * 100)

    monkeypatch.setattr(pydicom, "dcmread", talks)
    with pytest.raises(Unreadable) as caught:
        decode(content, header)
    assert str(caught.value).startswith("can't be decoded (ValueError: many lines many")
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)
