"""What else lies in a study's folder: other series, reports, plans, directories, files that are no DICOM."""

from dataclasses import replace

import pydicom
import pytest
from helpers.series import UID, assert_same, phantom, slices_of, write_series, write_slice
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1

from cspine.dicom.folder import kind_of
from cspine.dicom.reader import read_series
from cspine.errors import InputError

SAGITTAL = (0, 1, 0, 0, 0, -1)
REPORT, PLAN, DIRECTORY = (
    "1.2.840.10008.5.1.4.1.1.88.67",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.1.3.10",
)


def write_document(path, sop_class, **tags):
    """A valid DICOM file without rows, columns and pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop_class
    meta.MediaStorageSOPInstanceUID = f"{UID}.9.9"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    if sop_class != DIRECTORY:
        data.SeriesInstanceUID = f"{UID}.9"
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.save_as(path, enforce_file_format=True)


def others(volume):
    return " | ".join(volume.notes)


def test_the_series_that_covers_most_is_read(tmp_path):
    hu = phantom()
    write_series(tmp_path, slices_of(hu), first=20)
    short = {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "NECK 5 mm"}
    write_series(tmp_path, slices_of(phantom((4, 24, 20)), more=short), first=50)
    write_series(tmp_path, slices_of(phantom((20, 24, 20)), orientation=SAGITTAL), first=70)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesDescription": "Scout"}
    write_series(tmp_path, slices_of(phantom((2, 24, 20)), more=scout), first=1)
    foreign = {"Modality": "MR", "SeriesInstanceUID": "1.2.840.1234567890"}
    write_series(tmp_path, slices_of(phantom((3, 24, 20)), more=foreign), first=97)
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    assert volume.notes == (
        "2 files of series 'Scout' left out: localizer",
        "4 files of series 'NECK 5 mm' left out: covers 6 mm, the one taken 18 mm",
        "20 files of series …680043.101.0 left out: not axial",
        "3 files of series …0.1234567890 left out: Modality MR",
    )
    assert set(volume.files.z_of_number) == set(range(20, 30))


def test_thin_slices_before_thick_ones_of_the_same_body(tmp_path):
    """Every fifth slice of a reconstruction covers nearly as much, and may even cover a little more."""
    hu = phantom((40, 24, 20))
    thick = slices_of(hu, more={"SeriesInstanceUID": "1.2.3"})[::5]
    thick[-1] = replace(thick[-1], position=(-20.0, -30.0, 20.0))
    write_series(tmp_path, thick, first=1)
    write_series(tmp_path, slices_of(hu), first=100)
    assert_same(read_series(tmp_path), hu)


def test_a_wrong_position_makes_no_series_longer(tmp_path):
    hu = phantom((40, 24, 20))
    other = slices_of(phantom((12, 24, 20)), more={"SeriesInstanceUID": "1.2.3"})
    other[5] = replace(other[5], position=(0, 0, -90000.0))
    write_series(tmp_path, other, first=1)
    write_series(tmp_path, slices_of(hu), first=100)
    assert_same(read_series(tmp_path), hu)


def test_reports_plans_and_directories_are_no_damaged_slices(tmp_path):
    """Eight of eighteen files are no slices: named, and not held against the study."""
    hu = phantom()
    write_series(tmp_path, slices_of(hu))
    for n in range(4):
        dose = {"Modality": "SR", "SeriesDescription": "Dose Report"}
        write_document(tmp_path / f"{90 + n}.dcm", REPORT, **dose)
    write_document(tmp_path / "RS.dcm", PLAN, Modality="RTSTRUCT", SeriesDescription="Contours")
    write_document(tmp_path / "DICOMDIR", DIRECTORY)
    (tmp_path / "readme.txt").write_text("exported by somebody")
    (tmp_path / "viewer.exe").write_bytes(b"MZ" * 5000)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "thumbs").mkdir()
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    words = others(volume)
    assert "4 files of series 'Dose Report' left out: no image (SR)" in words
    assert "1 file of series 'Contours' left out: no image (RTSTRUCT)" in words
    assert "left out: no image (Media Storage Directory Storage)" in words
    assert "2 other files (readme.txt, viewer.exe) left out" in words
    assert "1 hidden file (.DS_Store) left out" in words and "1 folder (thumbs) left out" in words
    assert "unreadable" not in words


def test_pictures_without_a_position_are_another_series(tmp_path):
    """A dose page as secondary capture has pixels, but no position in the patient."""
    hu = phantom()
    write_series(tmp_path, slices_of(hu))
    page = {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "Dose page", "ImagePositionPatient": None}
    write_series(tmp_path, slices_of(phantom((5, 24, 20)), more=page), first=50)
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    assert volume.notes[0].startswith(
        "5 files of series 'Dose page' left out: ImagePositionPatient (0020,0032)"
    )


def test_a_slice_of_the_series_without_a_position_is_left_out_and_its_place_filled(tmp_path):
    write_series(tmp_path, slices_of(phantom((12, 24, 20))))
    write_slice(tmp_path / "6.dcm", slices_of(phantom(), more={"ImagePositionPatient": None})[0])
    volume = read_series(tmp_path)
    assert len(volume.hu) == 12
    assert "left out: ImagePositionPatient (0020,0032)" in volume.notes[0]
    assert any("interpolated to 12 slices" in note for note in volume.notes)


def test_a_damaged_file_counts_where_the_slices_are_called_so(tmp_path):
    names = [f"IM{n:04d}" for n in range(12)]
    write_series(tmp_path, slices_of(phantom((12, 24, 20))), names=names)
    (tmp_path / "IM0005").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    volume = read_series(tmp_path)
    assert "1 other file (notes.txt) left out" in volume.notes
    assert any(note.startswith("1 of 12 files unreadable: IM0005: empty file") for note in volume.notes)


def test_a_folder_of_reports_says_so(tmp_path):
    write_document(tmp_path / "1.dcm", REPORT, Modality="SR")
    with pytest.raises(InputError, match=r"no readable CT slice among 1 files \(1\.dcm: no image \(SR\)\)"):
        read_series(tmp_path)


def test_many_other_series_make_a_short_note(tmp_path):
    write_series(tmp_path, slices_of(phantom()))
    for n in range(40):
        one = slices_of(phantom(), more={"SeriesInstanceUID": f"1.2.{n}"})[0]
        write_slice(tmp_path / f"{100 + n}.dcm", one, 100 + n)
    notes = read_series(tmp_path).notes
    assert len(notes) == 11 and notes[-1] == "30 further series left out"


@pytest.mark.parametrize("frames", [1, 3])
def test_enhanced_multi_frame_images_say_what_to_do(tmp_path, frames):
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom())[0])
    data = pydicom.dcmread(path)
    data.NumberOfFrames = frames
    data.PixelData = data.PixelData * frames
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    data.save_as(path)
    with pytest.raises(
        InputError, match=r"multi-frame image, NumberOfFrames \(0028,0008\).*emf2sf of dcm4che"
    ):
        read_series(tmp_path)


@pytest.mark.parametrize("meta", ["no preamble", "neither preamble nor meta"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_without_preamble_are_read(tmp_path, syntax, meta):
    hu = phantom()
    write_series(tmp_path, slices_of(hu, syntax=syntax))
    for path in tmp_path.iterdir():
        content = path.read_bytes()[132:]
        if meta != "no preamble":
            content = content[12 + int.from_bytes(content[8:12], "little") :]
        path.write_bytes(content)
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    assert volume.notes == ("10 slices without preamble (PS3.10 7.1), read all the same",)


def test_compressed_files_without_meta_are_refused(tmp_path):
    write_series(tmp_path, slices_of(phantom(), syntax=JPEGLosslessSV1))
    for path in tmp_path.iterdir():
        content = path.read_bytes()[132:]
        path.write_bytes(content[12 + int.from_bytes(content[8:12], "little") :])
    with pytest.raises(
        InputError, match=r"10 unreadable files of 10.*no compressed transfer syntax \(0002,0010\)"
    ):
        read_series(tmp_path)


def test_files_of_another_size_or_order_in_the_same_series(tmp_path):
    """One slice with another matrix is another series; the first file need not belong to the one taken."""
    hu = phantom((12, 24, 20))
    write_series(tmp_path, slices_of(hu), first=2)
    write_slice(tmp_path / "1.dcm", slices_of(phantom((1, 16, 16)))[0], 1)
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    assert volume.notes == ("1 file of series …680043.101.0 left out: covers 0 mm, the one taken 22 mm",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("7.dcm", ".dcm"), ("7.IMA", ".ima"), ("IM0007", ""), ("1.2.840.7", ""), ("a.txt", ".txt")],
)
def test_the_kind_of_a_name(tmp_path, name, kind):
    assert kind_of(tmp_path / name) == kind
