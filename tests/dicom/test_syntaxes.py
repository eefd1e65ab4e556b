"""Pixels in every transfer syntax, held against pydicom with pylibjpeg."""

import io
from collections import Counter
from pathlib import Path

import dicomsdl
import numpy as np
import pydicom
import pytest
from helpers.series import assert_same, phantom, slices_of, write_series
from pydicom.data import get_testdata_files
from pydicom.datadict import tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
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

from cspine.dicom.decoding import decode
from cspine.dicom.header import Unreadable, read_header
from cspine.dicom.reader import read_series
from cspine.errors import InputError

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


MULTI_FRAME = "multi-frame"
REFUSED = {"MR_truncated.dcm": "truncated"}
"""What pydicom decodes with a warning, by guessing what is missing."""


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
    assert "MR_small_padded.dcm" not in refused, "bytes behind its pixels"


def rewritten(file: Path, **changes: object) -> None:
    """Write a file anew with elements of pydicom's making; keyword -> (value representation, value)."""
    data = pydicom.dcmread(file)
    for keyword, (representation, value) in changes.items():
        data[keyword] = pydicom.DataElement(tag_for_keyword(keyword), representation, value)
    data.save_as(file)


def said_otherwise(file: Path, implicit: bool, said: str) -> None:
    """Write the data set in one representation under file meta information that names another."""
    data = pydicom.dcmread(file)
    data.file_meta.TransferSyntaxUID = UID(said)
    meta, body = io.BytesIO(), DicomBytesIO()
    write_file_meta_info(meta, data.file_meta)
    body.is_little_endian, body.is_implicit_VR = True, implicit
    data._is_implicit_VR = implicit
    write_dataset(body, data)
    file.write_bytes(bytes(128) + b"DICM" + meta.getvalue() + body.getvalue())


@pytest.mark.parametrize("written", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1])
@pytest.mark.parametrize("implicit", [False, True])
def test_the_representation_may_be_another_than_the_syntax_says(tmp_path, written, implicit):
    hu = phantom()
    write_series(tmp_path, slices_of(hu, syntax=written))
    said = written
    if not UID(written).is_compressed:
        said = ExplicitVRLittleEndian if implicit else ImplicitVRLittleEndian
    for file in tmp_path.iterdir():
        said_otherwise(file, implicit, said)
    np.testing.assert_array_equal(read_series(tmp_path).hu, hu)


@pytest.mark.parametrize("many", [1, 2, 3, 16, 127, 512, 5010])
@pytest.mark.parametrize("what", [0, 0x55, "any"])
@pytest.mark.parametrize("inside", [False, True])
def test_bytes_behind_the_pixels_are_left_out(tmp_path, many, what, inside):
    """Behind the last element, and within the pixel data element's value (PS3.5 8.1.1)."""
    hu = phantom()
    write_series(tmp_path, slices_of(hu))
    rest = (
        np.random.default_rng(many).integers(0, 256, many, np.uint8).tobytes()
        if what == "any"
        else bytes([what]) * many
    )
    for file in tmp_path.iterdir():
        if inside:
            data = pydicom.dcmread(file)
            data.PixelData = data.PixelData + rest + bytes(len(rest) % 2)
            data.save_as(file)
        else:
            file.write_bytes(file.read_bytes() + rest)
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert any("bytes behind their pixels" in note for note in volume.notes) == inside


@pytest.mark.parametrize(("rows", "columns"), [(23, 20), (12, 20), (24, 19), (24, 10)])
def test_further_rows_and_columns_are_no_bytes_behind(tmp_path, rows, columns):
    write_series(tmp_path, slices_of(phantom()))
    for file in tmp_path.iterdir():
        rewritten(file, Rows=("US", rows), Columns=("US", columns))
    with pytest.raises(InputError, match="bytes of pixels where Rows and Columns ask for"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "representation", "of"),
    [
        ("ImagePositionPatient", "FD", lambda value: [float(one) for one in value]),
        ("ImagePositionPatient", "LO", lambda value: [str(one) for one in value]),
        ("ImagePositionPatient", "UN", lambda value: "\\".join(map(str, value)).encode()),
        ("ImageOrientationPatient", "FL", lambda value: [float(one) for one in value]),
        ("PixelSpacing", "FL", lambda value: [float(one) for one in value]),
        ("RescaleIntercept", "FD", float),
        ("RescaleIntercept", "SS", int),
        ("RescaleSlope", "US", int),
        ("Rows", "UL", int),
        ("Rows", "IS", int),
        ("Columns", "SS", int),
        ("BitsAllocated", "DS", int),
        ("PixelRepresentation", "UL", int),
        ("InstanceNumber", "US", int),
        ("PhotometricInterpretation", "LO", str),
    ],
)
def test_elements_may_have_another_representation_than_the_standards(tmp_path, keyword, representation, of):
    hu = phantom()
    write_series(tmp_path, slices_of(hu))
    for file in tmp_path.iterdir():
        rewritten(file, **{keyword: (representation, of(pydicom.dcmread(file)[keyword].value))})
    np.testing.assert_array_equal(read_series(tmp_path).hu, hu)
