"""What a header says, against files written byte by byte, and which headers are refused."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from helpers.damage import TRAPS
from helpers.series import phantom, slices_of, write_slice
from pydicom.uid import ExplicitVRBigEndian

from cspine.dicom.header import (
    MAX_FILE_BYTES,
    NoImage,
    Series,
    SliceHeader,
    Unreadable,
    read_file,
    read_header,
)

PIXELS = bytes(range(24))
ELEMENTS = {
    "ImageType": (0x0008, 0x0008, "CS", r"ORIGINAL\PRIMARY\AXIAL"),
    "SOPClassUID": (0x0008, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.2"),
    "Modality": (0x0008, 0x0060, "CS", "CT"),
    "SeriesDescription": (0x0008, 0x103E, "LO", "Neck  "),
    "SeriesInstanceUID": (0x0020, 0x000E, "UI", "1.2.3"),
    "InstanceNumber": (0x0020, 0x0013, "IS", " 7"),
    "ImagePositionPatient": (0x0020, 0x0032, "DS", r"-20.5\ -3.0E+1\+100"),
    "ImageOrientationPatient": (0x0020, 0x0037, "DS", r"1\0\0\0\0.96\-0.28"),
    "SamplesPerPixel": (0x0028, 0x0002, "US", 1),
    "PhotometricInterpretation": (0x0028, 0x0004, "CS", "MONOCHROME2"),
    "NumberOfFrames": (0x0028, 0x0008, "IS", "1"),
    "Rows": (0x0028, 0x0010, "US", 3),
    "Columns": (0x0028, 0x0011, "US", 4),
    "PixelSpacing": (0x0028, 0x0030, "DS", r"0.5\0.75"),
    "BitsAllocated": (0x0028, 0x0100, "US", 16),
    "BitsStored": (0x0028, 0x0101, "US", 12),
    "HighBit": (0x0028, 0x0102, "US", 11),
    "PixelRepresentation": (0x0028, 0x0103, "US", 1),
    "PixelPaddingValue": (0x0028, 0x0120, "US", 63536),
    "PixelPaddingRangeLimit": (0x0028, 0x0121, "US", 63036),
    "RescaleIntercept": (0x0028, 0x1052, "DS", "-1024"),
    "RescaleSlope": (0x0028, 0x1053, "DS", "2.5"),
}
"""Keyword -> tag, value representation and value of a slice; numbers are written as unsigned shorts."""


def element(group: int, number: int, kind: str, value: str | int | bytes) -> bytes:
    """A data element, explicit VR little endian (PS3.5 7.1.2)."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode()
    value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind.encode(), len(value)) + value


def write(path: Path, pixels: bool = True, syntax: str = "1.2.840.10008.1.2.1", **values) -> Path:
    """Write the slice with other values, or without those given as None."""
    content = [bytes(128), b"DICM", element(2, 0x10, "UI", syntax) if syntax else b""]
    for keyword, (group, number, kind, value) in ELEMENTS.items():
        value = values.pop(keyword, value)
        if value is not None:
            content.append(element(group, number, kind, value))
    assert not values, "each is a keyword of ELEMENTS"
    if pixels:
        content.append(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(PIXELS)) + PIXELS)
    path.write_bytes(b"".join(content))
    return path


def test_every_field_of_a_file_written_by_hand(tmp_path):
    path = write(tmp_path / "12.dcm")
    header, content = read_header(path)
    assert content == path.read_bytes()
    assert header == SliceHeader(
        file=path,
        number=12,
        series=Series("1.2.3", "Neck", "CT"),
        localizer=False,
        position_mm=(-20.5, -30.0, 100.0),
        row_cosines=(1.0, 0.0, 0.0),
        column_cosines=(0.0, 0.96, -0.28),
        spacing_mm=(0.5, 0.75),
        rows=3,
        columns=4,
        samples=1,
        photometric="MONOCHROME2",
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        signed=True,
        padding=63536,
        padding_limit=63036,
        slope=2.5,
        intercept=-1024.0,
        rescaled=True,
        syntax="1.2.840.10008.1.2.1",
        bare=False,
        data_start=len(content) - len(PIXELS),
        data_length=len(PIXELS),
        acquisition=("", "", "", "", "", "ORIGINAL\\PRIMARY\\AXIAL", ""),
    )
    assert read_header(tmp_path / "gone.dcm", content)[0] == replace(
        header, file=tmp_path / "gone.dcm", number=7
    )


MAY_LACK = {
    "SamplesPerPixel": {"samples": None},
    "PhotometricInterpretation": {"photometric": ""},
    "BitsAllocated": {"bits_allocated": None},
    "BitsStored": {"bits_stored": None},
    "HighBit": {"high_bit": None},
    "PixelRepresentation": {"signed": None},
    "PixelPaddingValue": {"padding": None},
    "PixelPaddingRangeLimit": {"padding_limit": None},
    "RescaleSlope": {"slope": 1.0},
    "RescaleIntercept": {"intercept": 0.0, "rescaled": False},
    "Modality": {"series": Series("1.2.3", "Neck", "")},
    "SeriesInstanceUID": {"series": Series("", "Neck", "CT")},
    "SeriesDescription": {"series": Series("1.2.3", "", "CT")},
    "ImageType": {},
    "NumberOfFrames": {},
    "SOPClassUID": {},
}


@pytest.mark.parametrize("keyword", MAY_LACK)
def test_what_a_file_may_lack(tmp_path, keyword):
    whole, _ = read_header(write(tmp_path / "1.dcm"))
    header, content = read_header(write(tmp_path / "1.dcm", **{keyword: None}))
    start = len(content) - len(PIXELS)
    acquisition = ("",) * 7 if keyword == "ImageType" else whole.acquisition
    assert header == replace(whole, data_start=start, acquisition=acquisition, **MAY_LACK[keyword])


@pytest.mark.parametrize(
    ("name", "instance", "number"),
    [
        ("59.dcm", "7", 59),
        ("0007.dcm", "3", 7),
        ("IM12.dcm", "7", 7),
        ("1234567890.dcm", "7", 7),
        ("1.2.3", "7", 7),
        ("scan", None, -1),
        ("scan", "-4", -1),
        ("scan", "12345678901", -1),
    ],
)
def test_the_number_is_that_of_the_name_or_else_of_the_instance(tmp_path, name, instance, number):
    assert read_header(write(tmp_path / name, InstanceNumber=instance))[0].number == number


def test_a_localizer_says_so_in_its_image_type(tmp_path):
    assert read_header(write(tmp_path / "1.dcm", ImageType=r"ORIGINAL\PRIMARY\LOCALIZER"))[0].localizer
    assert not read_header(write(tmp_path / "1.dcm", ImageType=r"ORIGINAL\PRIMARY\LOCALIZERS"))[0].localizer


def test_numbers_of_a_big_endian_file_are_read_the_other_way_round(tmp_path):
    one = slices_of(phantom())[0]
    little, _ = read_header(write_slice(tmp_path / "1.dcm", one))
    big, _ = read_header(write_slice(tmp_path / "1.dcm", replace(one, syntax=ExplicitVRBigEndian)))
    assert (little.rows, little.columns, little.bits_stored) == (24, 20, 16)
    assert replace(big, syntax=little.syntax, data_start=little.data_start, data_length=960) == little


NUMBERS = r"\(0020,0032\): found %s, expected 3 finite numbers"
REFUSED = {
    "no position": ({"ImagePositionPatient": None}, NUMBERS % "''"),
    "two coordinates": ({"ImagePositionPatient": r"1\2"}, NUMBERS % r"'1\\\\2'"),
    "no number": ({"ImagePositionPatient": r"1\2\feet"}, NUMBERS % ".*feet'"),
    "not a number": ({"ImagePositionPatient": r"1\2\nan"}, NUMBERS % ".*nan'"),
    "a thousand metres": ({"ImagePositionPatient": r"1\2\1000001"}, NUMBERS % ".*1000001'"),
    "no orientation": ({"ImageOrientationPatient": None}, r"ImageOrientationPatient \(0020,0037\): found ''"),
    "no direction": ({"ImageOrientationPatient": r"0\0\0\0\0\0"}, r"\(0020,0037\): .* no two directions"),
    "one direction": ({"ImageOrientationPatient": r"1\0\0\1\0\0"}, r"\(0020,0037\): .* no two directions"),
    "long directions": (
        {"ImageOrientationPatient": r"1.1\0\0\0\1\0"},
        r"\(0020,0037\): .* no two directions",
    ),
    "no spacing": ({"PixelSpacing": None}, r"PixelSpacing \(0028,0030\): found '', expected 2"),
    "spacing of zero": ({"PixelSpacing": r"0\1"}, r"PixelSpacing \(0\.0, 1\.0\); expected values above 0"),
    "no rows": ({"Rows": None}, r"Rows None, Columns 4, .* at most 4096 pixels"),
    "no columns": ({"Columns": 0}, r"Rows 3, Columns 0, .* expected values above 0"),
    "many rows": ({"Rows": 4097}, r"Rows 4097, .* at most 4096 pixels"),
    "two numbers of rows": ({"Rows": b"abcd"}, r"Rows \(0028,0010\): found 4 bytes, expected one number"),
    "more bits than room": (
        {"BitsStored": 17},
        r"BitsStored \(0028,0101\) 17 of BitsAllocated \(0028,0100\) 16",
    ),
    "no bits": ({"BitsStored": 0}, r"BitsStored \(0028,0101\) 0 of"),
    "a slope in words": ({"RescaleSlope": "steep"}, r"RescaleSlope \(0028,1053\): found 'steep'"),
    "an infinite intercept": ({"RescaleIntercept": "-inf"}, r"RescaleIntercept \(0028,1052\): found '-inf'"),
    "no syntax": ({"syntax": ""}, r"TransferSyntaxUID \(0002,0010\) missing"),
    "no pixels": ({"pixels": False}, r"no pixel data \(7FE0,0010\)"),
    "three frames": ({"NumberOfFrames": "3"}, r"NumberOfFrames \(0028,0008\) '3'; .* emf2sf"),
    "enhanced CT": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "multi-frame image, .* one slice a file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_header_that_can_not_be_right_names_its_tag(tmp_path, kind):
    values, words = REFUSED[kind]
    with pytest.raises(Unreadable, match=words) as caught:
        read_header(write(tmp_path / "1.dcm", **values))
    assert isinstance(caught.value, NoImage) == (kind == "no position"), (
        "a capture has none; what is damaged is lost"
    )
    assert caught.value.series == Series("1.2.3", "Neck", "CT"), "it is known to whom it belongs"


def test_directions_may_be_rounded(tmp_path):
    rounded = r"0.99\0\0\0\1.009\0"
    assert read_header(write(tmp_path / "1.dcm", ImageOrientationPatient=rounded))[0].row_cosines[0] == 0.99


DOCUMENTS = {
    "a report": ({"Modality": "SR"}, r"no image \(SR\)"),
    "contours": ({"Modality": "RTSTRUCT", "SOPClassUID": None}, r"no image \(RTSTRUCT\)"),
    "a plan, by its class": (
        {"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.5"},
        r"no image \(RT Plan Storage\)",
    ),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_are_no_images(tmp_path, kind):
    values, words = DOCUMENTS[kind]
    with pytest.raises(NoImage, match=words) as caught:
        read_header(write(tmp_path / "1.dcm", pixels=False, Rows=None, **values))
    assert caught.value.series.uid == "1.2.3"
    with pytest.raises(Unreadable) as caught:  # it has rows, so its pixels were lost
        read_header(write(tmp_path / "1.dcm", pixels=False, **values))
    assert not isinstance(caught.value, NoImage)


def test_a_truncated_slice_is_no_document(tmp_path):
    """A CT file cut off before Rows has no pixels either, but it says that it is a CT image."""
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom())[0])
    data = pydicom.dcmread(path)
    for keyword in [element.keyword for element in data if element.tag >= 0x00280000]:
        delattr(data, keyword)
    data.save_as(path)
    with pytest.raises(Unreadable, match="no pixel data") as caught:
        read_header(path)
    assert not isinstance(caught.value, NoImage)


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (Series("1.2.840.113619.2", "Neck 0.6", "CT"), "series 'Neck 0.6'"),
        (Series("1.2.840.113619.2", "", "CT"), "series …840.113619.2"),
        (Series("", "", "CT"), "a series without UID"),
    ],
)
def test_a_series_is_named_by_its_description_or_the_end_of_its_uid(series, words):
    assert str(series) == words


NO_FILES = {
    "pipe": "not a regular file",
    "folder": "not a regular file",
    "endless": "not a regular file",
    "loop": r"can't be opened \(Too many levels of symbolic links\)",
    "dangling": r"can't be opened \(No such file or directory\)",
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = write(tmp_path / "1.dcm")
    TRAPS[kind](path)
    with pytest.raises(Unreadable, match=NO_FILES[kind]):
        read_file(path)


def test_empty_and_enormous_files_are_not_read(tmp_path):
    path = write(tmp_path / "1.dcm")
    assert read_file(path) == path.read_bytes()
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(Unreadable, match=rf"^{MAX_FILE_BYTES + 1} bytes; expected one slice a file"):
        read_file(path)
    os.truncate(path, 0)
    with pytest.raises(Unreadable, match="^empty file$"):
        read_file(path)


def test_a_file_without_permission(tmp_path, monkeypatch):
    """Root may read everything, so the refusal is played."""
    path = write(tmp_path / "1.dcm")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unreadable, match=r"can't be opened \(Permission denied\)"):
        read_file(path)
