"""Stored values become Hounsfield units, and a scan whose units can't be right is flagged."""

from time import perf_counter

import numpy as np
import pydicom
import pytest
from helpers.series import Slice, phantom, slices_of, write_series, write_slice
from pydicom.uid import ExplicitVRBigEndian

from cspine.dicom.decoding import decode
from cspine.dicom.header import read_header
from cspine.dicom.hounsfield import AIR_HU, doubt_of, to_hu
from cspine.dicom.reader import read_series
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate


def hu_of(path):
    """Hounsfield units of one file, int16 (rows, columns)."""
    header, content = read_header(path)
    target = np.empty((header.rows, header.columns), np.int16)
    to_hu(decode(content, header)[0], header, target)
    return target


@pytest.mark.parametrize("intercept", [0.0, -1024.0, None])
@pytest.mark.parametrize(("signed", "bits"), [(True, 16), (True, 12), (False, 16), (False, 12)])
def test_every_way_of_storing_gives_the_same_hu(tmp_path, signed, bits, intercept):
    hu = phantom().clip(-1010, 1000)
    if not signed and not intercept:
        hu = hu.clip(0)  # can't be negative
    stored = slices_of(hu, signed=signed, bits_stored=bits, intercept=intercept)
    for one in stored:
        one.pixels = one.pixels & 0xFFFF >> 16 - bits  # as stored, the sign in the highest of the bits
    volume = read_series(write_series(tmp_path, stored))
    np.testing.assert_array_equal(volume.hu, hu)


def test_bits_above_bits_stored_are_dropped(tmp_path):
    """Old scanners kept overlays in the upper four bits."""
    stored = np.arange(64).reshape(8, 8) * 60
    dirty = Slice(stored | 0xA000, (0, 0, 0), signed=False, bits_stored=12)
    np.testing.assert_array_equal(hu_of(write_slice(tmp_path / "1.dcm", dirty)), stored - 1024)


def test_signed_12_bits_are_extended(tmp_path):
    stored = np.arange(-32, 32).reshape(8, 8) * 60
    one = Slice(stored & 0x0FFF, (0, 0, 0), bits_stored=12, intercept=0.0)
    np.testing.assert_array_equal(hu_of(write_slice(tmp_path / "1.dcm", one)), stored)


@pytest.mark.parametrize(
    ("slope", "intercept", "stored", "hu"),
    [
        (1, -1024, 0, -1024),
        (2, -1000, 300, -400),
        (0.5, 0.25, 10, 5),
        (-1, 10, 30, -20),
        (1, -1024, -32768, -32768),
        (1, -1024, -32000, -32768),
        (1, 1024, 32767, 32767),
        (1, 1024, 32000, 32767),
        (1, -100000, 5, -32768),
        (1, 0, -32768, -32768),
        (1000, 0, 500, 32767),
    ],
)
def test_rescaling_never_wraps_around(tmp_path, slope, intercept, stored, hu):
    one = Slice(np.full((4, 4), stored), (0, 0, 0), slope=slope, intercept=intercept)
    assert (hu_of(write_slice(tmp_path / "1.dcm", one)) == hu).all()


def test_unsigned_16_bits_never_wrap_around(tmp_path):
    one = Slice(np.array([[0, 40000, 65535]]), (0, 0, 0), signed=False)
    np.testing.assert_array_equal(hu_of(write_slice(tmp_path / "1.dcm", one)), [[-1024, 32767, 32767]])


@pytest.mark.parametrize("signed", [True, False])
def test_padding_is_air_whatever_the_sign_of_its_tag(tmp_path, signed):
    pixels = np.full((4, 4), 1024)
    pixels[0] = -2000 & 0xFFFF
    padding = pydicom.DataElement("PixelPaddingValue", "US", 65536 - 2000)
    one = Slice(pixels.astype(np.uint16).astype(np.int32), (0, 0, 0), signed=signed)
    one.more = {"PixelPaddingValue": padding}
    hu = hu_of(write_slice(tmp_path / "1.dcm", one))
    assert (hu[0] == AIR_HU).all() and (hu[1:] == 0).all()


def test_padding_in_bits_above_bits_stored(tmp_path):
    """A twelve-bit scan whose corners hold -2000 in all sixteen bits."""
    pixels = np.full((4, 4), 1024)
    pixels[0] = -2000 & 0xFFFF
    padding = pydicom.DataElement("PixelPaddingValue", "SS", -2000)
    one = Slice(pixels, (0, 0, 0), signed=False, bits_stored=12, more={"PixelPaddingValue": padding})
    hu = hu_of(write_slice(tmp_path / "1.dcm", one))
    assert (hu[0] == AIR_HU).all() and (hu[1:] == 0).all()


@pytest.mark.parametrize("ends", [(-3000, -2500), (-2500, -3000)])
def test_a_range_of_padding(tmp_path, ends):
    """PixelPaddingRangeLimit, PS3.3 C.7.5.1.1.2."""
    pixels = np.array([[-3001, -3000, -2700, -2500, -2499, 1024]])
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    more = {name: pydicom.DataElement(name, "SS", end) for name, end in zip(names, ends, strict=True)}
    hu = hu_of(write_slice(tmp_path / "1.dcm", Slice(pixels, (0, 0, 0), more=more, intercept=0.0)))
    np.testing.assert_array_equal(hu, [[-3001, AIR_HU, AIR_HU, AIR_HU, -2499, 1024]])


def test_padding_in_big_endian(tmp_path):
    padding = pydicom.DataElement("PixelPaddingValue", "SS", -2000)
    one = Slice(np.array([[-2000, 1064]]), (0, 0, 0), more={"PixelPaddingValue": padding})
    one.syntax = ExplicitVRBigEndian
    np.testing.assert_array_equal(hu_of(write_slice(tmp_path / "1.dcm", one)), [[AIR_HU, 40]])


def test_monochrome1_and_a_missing_intercept_are_noted(tmp_path):
    """MONOCHROME1 is about the display (PS3.3 C.7.6.3.1.2), behind the rescaling (C.11.1)."""
    hu = phantom()
    slices = slices_of(hu, intercept=None, more={"PhotometricInterpretation": "MONOCHROME1"})
    volume = read_series(write_series(tmp_path, slices))
    np.testing.assert_array_equal(volume.hu, hu)
    assert len(volume.notes) == 2 and "(0028,1052)" in volume.notes[0] and "MONOCHROME1" in volume.notes[1]


WINDOWS = {
    "several": {"WindowCenter": [400, 40, -600], "WindowWidth": [2000, 400, 1500]},
    "absurd": {"WindowCenter": "9999999", "WindowWidth": "0"},
    "one": {"WindowCenter": 40, "WindowWidth": 400},
    "none": {"WindowCenter": None, "WindowWidth": None},
}
ABSENT = [
    "Modality",
    "SOPClassUID",
    "FrameOfReferenceUID",
    "Manufacturer",
    "ConvolutionKernel",
    "KVP",
    "GantryDetectorTilt",
    "PatientSex",
    "PatientAge",
    "InstitutionName",
    "SliceThickness",
    "InstanceNumber",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SOPInstanceUID",
]


@pytest.mark.parametrize("windows", WINDOWS)
def test_windows_do_not_touch_hu(tmp_path, windows):
    volume = read_series(write_series(tmp_path, slices_of(phantom(), more=WINDOWS[windows])))
    np.testing.assert_array_equal(volume.hu, phantom())
    assert volume.notes == ()


def test_every_absent_tag_together(tmp_path):
    """What the competition's files lack, and more: position, orientation, spacing and pixels are enough."""
    write_series(tmp_path, slices_of(phantom()))
    for path in tmp_path.iterdir():
        data = pydicom.dcmread(path)
        for keyword in ABSENT:
            data.pop(keyword, None)
        data.save_as(path)
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.hu, phantom())
    assert volume.notes == () and volume.direction == "head-to-feet"


def neck(air=True):
    """A cylinder of fat, muscle and bone, noisy, in air or cropped to its inside; int16 (z, y, x)."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    radius = np.hypot(y, x)
    plane = np.select(
        [radius < 0.12, radius < 0.15, radius < 0.6, radius < 0.7], [250, 1100, 55, -100], -1000
    )
    hu = np.repeat(plane[None], 40, axis=0) + np.random.default_rng(0).normal(0, 40, (40, 96, 96))
    hu = hu if air else hu[:, 32:64, 32:64]
    return np.rint(hu).clip(-1024, 3071).astype(np.int16)


def rings(*tissues):
    """Rings of (radius, HU) in air, noisy; int16 (z, y, x)."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    radius = np.hypot(y, x)
    plane = np.select([radius < reach for reach, _ in tissues], [hu for _, hu in tissues], -1000)
    hu = np.repeat(plane[None], 40, axis=0) + np.random.default_rng(1).normal(0, 8, (40, 96, 96))
    return np.rint(hu).clip(-1024, 3071).astype(np.int16)


HEAD = rings((0.62, 32), (0.63, 300), (0.74, 1500), (0.75, 300), (0.78, 40))  # dense bone around the brain
CHEST = rings((0.2, 45), (0.66, -760), (0.7, 350), (0.74, 50), (0.9, -20))  # lungs, half of them above -800

RIGHT = {
    "head": HEAD,
    "chest": CHEST,
    "in air": neck(),
    "cropped within the body": neck(air=False),
    "mostly air": np.pad(neck(), ((0, 0), (60, 60), (60, 60)), constant_values=-1000),
    "with padding below air": np.pad(neck(), ((0, 0), (30, 30), (30, 30)), constant_values=-3024),
    "soft tissue alone": neck(air=False).clip(-50, 90),
}
WRONG = {
    "intercept missing": neck() + 1024,
    "intercept missing, cropped": neck(air=False) + 1024,
    "intercept missing, mostly air": RIGHT["mostly air"] + 1024,
    "intercept twice": neck() - 1024,
    "slope 2": neck() * 2,
    "slope 2 of the stored values": (neck() + 1024) * 2 - 1024,
    "slope 0.5": neck() // 2,
    "slope 0.5 of the stored values": (neck() + 1024) // 2 - 1024,
    "slope 10": (neck().astype(int) * 10).clip(-32768, 32767),
    "slope 0.1": (neck() + 1024) // 10 - 1024,
    "head, slope 2 of the stored values": (HEAD.astype(int) + 1024) * 2 - 1024,
    "inverted": -neck(),
    "inverted as stored": 4095 - (neck() + 1024) - 1024,
    "inverted as stored, cropped": 4095 - (neck(air=False) + 1024) - 1024,
    "bytes swapped": neck().byteswap(),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_right_units_are_not_doubted(kind):
    assert doubt_of(RIGHT[kind]) == ""


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_units_are_doubted(kind):
    assert doubt_of(WRONG[kind].astype(np.int16)) != ""


def test_the_doubt_is_a_note_in_words(tmp_path):
    hu = neck()[:12, ::2, ::2]
    slices = slices_of(hu, signed=False, bits_stored=12)
    for one in slices:
        one.intercept = None
    notes = read_series(write_series(tmp_path, slices)).notes
    assert "Hounsfield units can't be trusted (RescaleSlope 1, RescaleIntercept 0): " in notes[-1]
    assert "expected" in notes[-1]


def test_the_note_tells_how_far_the_intercepts_go(tmp_path):
    """They may differ from slice to slice; the first one's alone says little."""
    slices = slices_of(neck()[:12, ::2, ::2] + 1024)
    for number, one in enumerate(slices):
        one.intercept = -1020.0 - number
    notes = read_series(write_series(tmp_path, slices)).notes
    assert "(RescaleSlope 1, RescaleIntercept -1031 to -1020): " in notes[-1]


def test_the_check_is_cheap():
    hu = np.zeros((320, 512, 512), np.int16)
    started = perf_counter()
    doubt_of(hu)
    assert perf_counter() - started < 0.15  # some milliseconds, on a machine with other work


def test_replicas_are_not_doubted(tmp_path):
    """Ordinary studies of the synthetic competition, each with its own scanner."""
    replicate(ReplicaSettings(out=tmp_path, train=6, public=0, private=0, size=0.125, workers=1))
    folders = sorted(tmp_path.glob("**/train_images/*"))
    assert len(folders) == 6
    for folder in folders:
        assert not [note for note in read_series(folder).notes if "trusted" in note]
