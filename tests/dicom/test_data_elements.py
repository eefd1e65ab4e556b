"""A file taken apart: the strict parser against pydicom, and what it leaves to pydicom."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.series import phantom, slices_of, write_slice
from pydicom.data import get_testdata_files
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from cspine.dicom import data_elements
from cspine.dicom.data_elements import (
    TAG_OF,
    UNDEFINED_LENGTH,
    NotDicom,
    by_pydicom,
    read_data_elements,
)
from cspine.dicom.header import Unreadable, read_header

MORE = {
    "AcquisitionTime": "101530.25",
    "SliceThickness": 1.0,
    "ConvolutionKernel": "Br64",
    "SeriesNumber": 3,
    "AcquisitionNumber": 2,
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "Modality": "CT",
    "SeriesDescription": "Hals 0,6",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "ReferencedImageSequence": [pydicom.Dataset(), pydicom.Dataset()],
    "PixelPaddingValue": pydicom.DataElement("PixelPaddingValue", "SS", -2000),
}


def file_of(folder: Path, syntax: str, **more) -> bytes:
    """A slice in this syntax, with further tags."""
    one = slices_of(phantom(), syntax=syntax, more={**MORE, **more})[0]
    return write_slice(folder / "1.dcm", one).read_bytes()


def without_preamble(content: bytes, meta: bool) -> bytes:
    """The file without its preamble, and without its file meta information if asked."""
    content = content[132:]
    return content if meta else content[12 + int.from_bytes(content[8:12], "little") :]


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGLosslessSV1],
)
def test_the_strict_parser_and_pydicom_see_the_same(tmp_path, monkeypatch, syntax):
    content = file_of(tmp_path, syntax)
    expected = by_pydicom(content)
    monkeypatch.setattr(data_elements, "by_pydicom", None)
    found = read_data_elements(content)
    assert found.values == expected.values
    assert len(found.values) >= len(TAG_OF) - 2, "all but NumberOfFrames and PixelPaddingRangeLimit"
    assert (found.syntax, found.sop_class) == (syntax, "1.2.840.10008.5.1.4.1.1.2")
    assert not found.bare and not found.big_endian
    pixels = pydicom.dcmread(tmp_path / "1.dcm").PixelData
    if syntax == JPEGLosslessSV1:
        assert found == expected and found.data_length == UNDEFINED_LENGTH
        assert content[found.data_start :].startswith(pixels)
    else:
        start = found.data_start
        assert found.data_length == len(pixels) and found.content[start : start + len(pixels)] == pixels
    assert (found == expected) == (syntax != DeflatedExplicitVRLittleEndian), "pydicom inflates by itself"


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_bare_file_has_the_same_elements(tmp_path, syntax, meta):
    whole = read_data_elements(file_of(tmp_path, syntax))
    content = without_preamble(whole.content, meta)
    bare = read_data_elements(content)
    shift = len(whole.content) - len(content)
    assert bare == replace(whole, bare=True, content=content, data_start=whole.data_start - shift)


def test_a_big_endian_file_is_left_to_pydicom(tmp_path):
    found = read_data_elements(file_of(tmp_path, ExplicitVRBigEndian))
    assert found.big_endian and found.data_start == 0
    assert found.values[TAG_OF["Rows"]] == b"\0\x18" and found.values[TAG_OF["Modality"]] == b"CT"


@pytest.mark.parametrize(
    "content", [b"", b"DICM", b"<html>not found</html>" * 20, bytes(4000), bytes(128) + b"DICX"]
)
def test_what_is_no_dicom(content):
    with pytest.raises(NotDicom):
        read_data_elements(content)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_a_file_without_pixels_says_so(tmp_path, monkeypatch, syntax):
    content = file_of(tmp_path, syntax, PixelData=None)
    expected = by_pydicom(content)
    monkeypatch.setattr(data_elements, "by_pydicom", None)
    found = read_data_elements(content)
    assert (found.data_start, found.data_length) == (-1, 0)
    assert found.values == expected.values and found.values[TAG_OF["Rows"]] == b"\x18\0"


def test_pixels_that_end_early_keep_the_length_that_they_claim(tmp_path):
    """It is the decoder's to refuse them."""
    content = file_of(tmp_path, ExplicitVRLittleEndian)
    whole, cut = read_data_elements(content), read_data_elements(content[:-100])
    assert (cut.data_start, cut.data_length) == (whole.data_start, 960)


@pytest.mark.parametrize("lost", [2, 10, 100])
def test_a_deflated_file_that_ends_early_is_refused(tmp_path, lost):
    content = file_of(tmp_path, DeflatedExplicitVRLittleEndian)
    with pytest.raises(ValueError, match="the deflated data end early"):
        read_data_elements(content[:-lost])


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


def test_headers_are_the_same_whoever_reads_them(tmp_path):
    """A slice whose header only pydicom understands (a sequence of undefined length) is the same slice."""
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom())[0])
    plain, _ = read_header(path)
    data = pydicom.dcmread(path)
    data.ProcedureCodeSequence = [pydicom.Dataset()]
    data["ProcedureCodeSequence"].is_undefined_length = True
    data.save_as(path)
    odd, content = read_header(path)
    assert replace(odd, data_start=plain.data_start) == plain
    stored = np.frombuffer(content, "<i2", 480, odd.data_start).reshape(24, 20)
    np.testing.assert_array_equal(stored - 1024, phantom()[0])
