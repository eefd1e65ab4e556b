"""Damaged files: each costs its slice or is read right, none gives invented pixels or ends the process."""

import os
from collections.abc import Callable
from pathlib import Path

import dicomsdl
import numpy as np
import pydicom
import pytest
from helpers.series import phantom, slices_of, write_series, write_slice
from pydicom.uid import (
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
from cspine.dicom.header import MAX_FILE_BYTES, Unreadable, read_header
from cspine.dicom.reader import read_series
from cspine.errors import InputError

PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
JPEG = [JPEGLossless, JPEGLosslessSV1]
COMPRESSED = [*JPEG, JPEGLSLossless, JPEG2000Lossless, RLELossless]


def name(value):
    """Short names for test ids."""
    return value.rsplit(".", 1)[-1] if isinstance(value, str) else getattr(value, "__name__", None)


def edited(**tags) -> Callable[[Path], None]:
    """Damage that sets tags, or removes those given as None."""

    def damage(path: Path) -> None:
        data = pydicom.dcmread(path)
        for keyword, value in tags.items():
            if value is None:
                del data[keyword]
            else:
                data[keyword].value = value
        data.save_as(path)

    damage.__name__ = "-".join(f"{keyword}={value}" for keyword, value in tags.items())
    return damage


def empty(path):
    path.write_bytes(b"")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:300])


def text(path):
    path.write_text("not found (404)" * 100)


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


def dangling_link(path):
    path.unlink()
    path.symlink_to("gone")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def enormous(path):
    with open(path, "ab") as file:
        file.truncate(MAX_FILE_BYTES + 1)


def a_length_of_4_gb(path):
    content = path.read_bytes()
    at = content.index(b"\x20\x00\x0d\x00")  # StudyInstanceUID
    path.write_bytes(content[: at + 4] + b"UT\0\0\xf0\xff\xff\xff" + content[at + 12 :])


DAMAGES = [
    *(
        empty,
        truncated,
        cut_in_the_header,
        text,
        link_to_itself,
        dangling_link,
        pipe,
        enormous,
        a_length_of_4_gb,
    ),
    *(
        edited(**{keyword: None})
        for keyword in ("PixelData", "BitsAllocated", "ImagePositionPatient", "Rows")
    ),
    *(edited(**{keyword: None}) for keyword in ("PixelRepresentation", "SamplesPerPixel", "PixelSpacing")),
    *(edited(Rows=rows) for rows in (0, 25, 48, 65535)),
    *(edited(Columns=columns) for columns in (0, 21, 40, 65535)),
    *(edited(BitsStored=bits) for bits in (0, 17, 200)),
    edited(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    edited(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
    edited(SamplesPerPixel=3),
]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLosslessSV1, JPEG2000Lossless], ids=name)
@pytest.mark.parametrize("damage", DAMAGES, ids=name)
def test_a_damaged_file_costs_one_slice(tmp_path, damage, syntax):
    hu = phantom((12, 24, 20))
    write_series(tmp_path, slices_of(hu, syntax=syntax))
    damage(tmp_path / "6.dcm")
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(np.delete(volume.hu, 5, axis=0), np.delete(hu, 5, axis=0))
    words = "; ".join(volume.notes)
    assert "1 of 12 files unreadable: 6.dcm: " in words or "1 file of series …680043.101.0 left out" in words
    assert "interpolated" in volume.notes[-1]


WRONG_IN_DICOMSDL = [
    *(edited(**{keyword: None}) for keyword in ("BitsAllocated", "PixelRepresentation", "SamplesPerPixel")),
    *(edited(Rows=rows) for rows in (25, 48, 1000)),
    *(edited(BitsAllocated=bits) for bits in (8, 12, 32)),
    *(edited(**tags) for tags in ({"BitsStored": 12, "HighBit": 11}, {"HighBit": 7}, {"BitsStored": None})),
    truncated,
    empty,
]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("syntax", [*PLAIN, *COMPRESSED], ids=name)
@pytest.mark.parametrize("damage", WRONG_IN_DICOMSDL, ids=name)
def test_where_dicomsdl_invents_pixels_or_dies_they_are_right_or_refused(tmp_path, damage, syntax, signed):
    hu = phantom((1, 24, 20)).clip(-1010, 1000)
    one = slices_of(hu, syntax=syntax, signed=signed, intercept=0.0 if signed else -1024.0)[0]
    path = write_slice(tmp_path / "1.dcm", one)
    stored = pydicom.dcmread(path).pixel_array
    damage(path)
    try:
        header, content = read_header(path)
        found, _ = decode(content, header)
    except Unreadable as error:
        assert str(error)
        return
    mask = np.int64((1 << min(header.bits_stored or 16, 16)) - 1)
    np.testing.assert_array_equal(found & mask, stored & mask)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_careful_reading_loses_damaged_compressed_slices_only(tmp_path, monkeypatch, syntax, share):
    """What is cut off is filled with zeros, as by a download that set the space aside and then broke off."""
    hu = phantom((24, 24, 20))
    write_series(tmp_path, slices_of(hu, syntax=syntax))
    content = (tmp_path / "6.dcm").read_bytes()
    start = read_header(tmp_path / "6.dcm")[0].data_start
    kept = start + round((len(content) - start) * share)
    (tmp_path / "6.dcm").write_bytes(content[:kept] + bytes(len(content) - kept))
    (tmp_path / "9.dcm").write_bytes(content[:kept])
    monkeypatch.setattr(dicomsdl, "open_memory", called)
    volume = read_series(tmp_path, use_dicomsdl=False)
    np.testing.assert_array_equal(np.delete(volume.hu, [5, 8], 0), np.delete(hu, [5, 8], 0))
    assert any(note.startswith("2 of 24 files unreadable") for note in volume.notes)


def called(*args):
    raise AssertionError("dicomsdl was called")


def test_too_many_damaged_files(tmp_path):
    write_series(tmp_path, slices_of(phantom()))
    empty(tmp_path / "3.dcm")
    truncated(tmp_path / "4.dcm")
    with pytest.raises(InputError, match=r"2 unreadable files of 10 .*empty file.*truncated.*at most 10%"):
        read_series(tmp_path)


def capture(data: pydicom.Dataset) -> None:
    """A picture in colours, as a workstation adds it to a series."""
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = bytes(3 * data.Rows * data.Columns)


def without_place(data: pydicom.Dataset) -> None:
    del data["ImagePositionPatient"]


def capture_without_place(data: pydicom.Dataset) -> None:
    capture(data)
    del data["ImagePositionPatient"], data["ImageOrientationPatient"]


def document(data: pydicom.Dataset) -> None:
    """A structured report that kept Rows and Columns of the template it was made from."""
    data.Modality, data.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.11"
    del data["PixelData"], data["ImagePositionPatient"]


@pytest.mark.parametrize("count", [1, 5, 200])
@pytest.mark.parametrize("becomes", [capture, without_place, capture_without_place, document])
def test_what_is_no_slice_is_no_lost_slice_however_many(tmp_path, becomes, count):
    hu = phantom()
    write_series(tmp_path, slices_of(hu))
    template = tmp_path / "1.dcm"
    for number in range(count):
        data = pydicom.dcmread(template)
        becomes(data)
        data.InstanceNumber, data.SOPInstanceUID = 500 + number, f"{data.SOPInstanceUID}.{number}"
        data.save_as(tmp_path / f"{500 + number}.dcm")
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert any(f"{count} file" in note and "left out" in note for note in volume.notes), volume.notes
    assert not any("unreadable" in note for note in volume.notes)
