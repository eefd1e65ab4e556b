"""Pixels in every transfer syntax, held against pydicom with pylibjpeg."""

import zlib
from collections import Counter
from pathlib import Path

import dicomsdl
import numpy as np
import pydicom
import pytest
from helpers.series import assert_same, phantom, slices_of, write_series, write_slice
from pydicom.data import get_testdata_files
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cspine.dicom.data_elements import TAG_OF, NotDicom, by_pydicom, read_data_elements
from cspine.dicom.decoding import decode
from cspine.dicom.header import Unreadable, read_header
from cspine.dicom.reader import read_series

DECODERS = {
    ExplicitVRLittleEndian: "numpy",
    ImplicitVRLittleEndian: "numpy",
    DeflatedExplicitVRLittleEndian: "numpy",
    ExplicitVRBigEndian: "pydicom",
    RLELossless: "pydicom",
    JPEGLossless: "dicomsdl",
    JPEGLosslessSV1: "dicomsdl",
    JPEGLSLossless: "pydicom",
    JPEG2000Lossless: "pydicom",
}
STORED = {
    "signed 16": {},
    "signed 16 without offset": {"intercept": 0.0},
    "unsigned 16": {"signed": False},
    "unsigned 12": {"signed": False, "bits_stored": 12},
}


@pytest.mark.parametrize("feet_first", [False, True])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("syntax", DECODERS, ids=lambda syntax: syntax.name.replace(" ", "-")[:28])
def test_every_syntax_gives_the_same_hu(tmp_path, syntax, stored, feet_first):
    hu = phantom((5, 24, 20))
    slices = slices_of(hu, syntax=syntax, **STORED[stored])
    write_series(tmp_path, slices[::-1] if feet_first else slices)
    assert pydicom.dcmread(tmp_path / "1.dcm").file_meta.TransferSyntaxUID == syntax
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    header, content = read_header(tmp_path / "1.dcm")
    pixels, decoder = decode(content, header)
    assert decoder == DECODERS[syntax]
    np.testing.assert_array_equal(pixels, pydicom.dcmread(tmp_path / "1.dcm").pixel_array)
    fallback = ("5 slices decoded by pydicom, the slower fallback",)
    assert volume.notes == (fallback if decoder == "pydicom" else ())


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("stored", STORED)
def test_careful_reading_gives_the_same_without_dicomsdl(tmp_path, monkeypatch, syntax, stored):
    hu = phantom((5, 24, 20))
    write_series(tmp_path, slices_of(hu, syntax=syntax, **STORED[stored]))

    def called(*args):
        raise AssertionError("dicomsdl was called")

    monkeypatch.setattr(dicomsdl, "open_memory", called)
    volume = read_series(tmp_path, use_dicomsdl=False)
    assert_same(volume, hu)
    assert volume.notes == ("5 slices decoded by pydicom, the slower fallback",)


def test_signed_12_bit_jpeg_goes_to_pydicom(tmp_path):
    """dicomsdl forgets the sign of these."""
    hu = phantom().clip(-1000, 2000)
    write_series(tmp_path, slices_of(hu, intercept=0.0, bits_stored=12, syntax=JPEGLosslessSV1))
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.notes == ("10 slices decoded by pydicom, the slower fallback",)


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


MULTI_FRAME = "multi-frame"
REFUSED = {"MR_truncated.dcm": "truncated", "MR_small_padded.dcm": "8320 bytes of pixels"}
"""Files that pydicom decodes with a warning, by guessing what is missing or what is too much."""


@pytest.fixture(scope="module")
def grey_files():
    """Every grey file with pixels and a position of pydicom and of pydicom-data, enhanced CT included."""
    found = []
    for file in sorted({Path(name) for name in get_testdata_files()}):
        if not file.is_file():
            continue
        try:
            data = pydicom.dcmread(file)
        except pydicom.errors.InvalidDicomError:
            continue
        grey = str(data.get("PhotometricInterpretation")).startswith("MONOCHROME")
        if "PixelData" in data and grey and ("ImagePositionPatient" in data or data.get("Modality") == "CT"):
            found.append(file)
    return found


def test_pixels_of_the_test_sets_are_pydicoms(grey_files):
    modalities, syntaxes, refused = Counter(), set(), {}
    for file in grey_files:
        try:
            header, content = read_header(file)
            stored, _ = decode(content, header)
        except Unreadable as error:
            refused[file.name] = str(error)
            continue
        np.testing.assert_array_equal(stored, pydicom.dcmread(file).pixel_array, err_msg=str(file))
        modalities[header.series.modality] += 1
        syntaxes.add(UID(header.syntax))
    assert modalities["CT"] == 19 and modalities["MR"] >= 28  # too few means that files are not found
    assert {JPEGLosslessSV1, JPEG2000, JPEG2000Lossless, RLELossless, JPEGLSLossless} <= syntaxes
    assert {ExplicitVRBigEndian, ImplicitVRLittleEndian, ExplicitVRLittleEndian} <= syntaxes
    for name, reason in refused.items():
        assert REFUSED.get(name, MULTI_FRAME) in reason, (name, reason)
    assert REFUSED.keys() <= refused.keys() and "eCT_Supplemental.dcm" in refused


def test_headers_of_the_test_sets_are_pydicoms():
    """Whatever the strict parser reads by itself, pydicom reads as well, value by value."""
    by_itself = 0
    for file in sorted({Path(name) for name in get_testdata_files()}):
        content = file.read_bytes() if file.is_file() else b""
        try:
            plain = read_data_elements(content)
        except NotDicom:
            continue
        expected = by_pydicom(content, bare=plain.bare)
        deflated = plain.syntax == DeflatedExplicitVRLittleEndian
        if not deflated:
            assert plain == expected, file
        for keyword, tag in TAG_OF.items():
            assert plain.values.get(tag) == expected.values.get(tag), (file, keyword)
        by_itself += 1
    assert by_itself > 150


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_strict_parser_reads_plain_files_by_itself(tmp_path, monkeypatch, syntax):
    monkeypatch.setattr("cspine.dicom.data_elements.by_pydicom", None)
    more = {"ReferencedImageSequence": [pydicom.Dataset()], "PatientComments": "x" * 70000}
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom(), syntax=syntax, more=more)[0])
    assert read_header(path)[0].series.uid.startswith("1.2.826")


ODD = {
    "a wrong VR": (b"IS\x02\x00", b"ZZ\x02\x00"),
    "a length beyond the end": (b"IS\x02\x00", b"IS\xff\xff"),
    "the same tag twice": (b"\x28\x00\x11\x00US", b"\x28\x00\x10\x00US"),
    "tags out of order": (b"\x28\x00\x11\x00US", b"\x08\x00\x11\x00US"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_headers_are_left_to_pydicom(tmp_path, monkeypatch, kind):
    content = write_slice(tmp_path / "1.dcm", slices_of(phantom())[0]).read_bytes()
    before, after = ODD[kind]
    assert before in content
    asked = []
    monkeypatch.setattr("cspine.dicom.data_elements.by_pydicom", asked.append)
    read_data_elements(content.replace(before, after, 1))
    assert len(asked) == 1


def test_a_small_file_that_inflates_to_gigabytes_is_refused(tmp_path):
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom(), syntax=DeflatedExplicitVRLittleEndian)[0])
    content = path.read_bytes()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(129)) + packer.flush()
    start = 144 + int.from_bytes(content[140:144], "little")
    for broken in (content[:start] + bomb, content[:132] + b"\x02\x00\x00\x00ZZ" + content[138:start] + bomb):
        path.write_bytes(broken)
        with pytest.raises(Unreadable, match="inflates to more|damaged file meta"):
            read_header(path)
