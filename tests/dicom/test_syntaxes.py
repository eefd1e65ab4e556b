"""Pixels in every transfer syntax, held against pydicom with pylibjpeg."""

from collections import Counter
from pathlib import Path

import dicomsdl
import numpy as np
import pydicom
import pytest
from helpers.series import assert_same, phantom, slices_of, write_series
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
