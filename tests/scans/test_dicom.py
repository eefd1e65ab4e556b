"""Series folders: order, axes, spacing and pixels, whole and damaged."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)
from scans.series import SPACING_MM, Slice, expected_affine, phantom, slices_of, write_series, write_slice

from cspine.errors import InputError
from cspine.scans import decoding
from cspine.scans.dicom import read_series
from cspine.scans.header import Unreadable, read_header


def assert_same(volume, hu):
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-9)
    assert volume.hu.dtype == np.int16 and volume.hu.flags.c_contiguous


def test_head_to_feet(tmp_path):
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu)))
    assert_same(volume, hu)
    assert volume.direction == "head-to-feet" and volume.notes == ()
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM)
    np.testing.assert_array_equal(volume.file_numbers, np.arange(1, 11))


def test_feet_to_head_is_the_same_volume(tmp_path):
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu)[::-1]))
    assert_same(volume, hu)
    assert volume.direction == "feet-to-head"
    np.testing.assert_array_equal(volume.file_numbers, np.arange(10, 0, -1))


def test_numbers_say_nothing_about_the_order(tmp_path):
    hu = phantom()
    names = [f"{number}.dcm" for number in (7, 3, 10, 59, 1, 100, 2, 20, 11, 5)]
    volume = read_series(write_series(tmp_path, slices_of(hu), names=names))
    assert_same(volume, hu)
    np.testing.assert_array_equal(volume.file_numbers, [7, 3, 10, 59, 1, 100, 2, 20, 11, 5])


def test_numbering_may_start_anywhere(tmp_path):
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu), first=59))
    assert_same(volume, hu)
    np.testing.assert_array_equal(volume.file_numbers, np.arange(59, 69))


def test_names_without_numbers_fall_back_to_instance_number(tmp_path):
    hu = phantom()
    names = [f"IM{letter}" for letter in "jihgfedcba"]
    volume = read_series(write_series(tmp_path, slices_of(hu), names=names))
    assert_same(volume, hu)
    np.testing.assert_array_equal(volume.file_numbers, np.arange(1, 11))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("feet_first", [False, True])
def test_any_orientation_of_the_files_gives_the_patients_axes(
    tmp_path, transposed, flip_y, flip_x, feet_first
):
    """The same patient, stored with rows and columns in every direction."""
    hu = phantom()
    stored = []
    for one in slices_of(hu):
        pixels, (x, y, z) = one.pixels, one.position
        y_step, x_step = SPACING_MM[1:]
        y_axis, x_axis = np.array([0.0, 1, 0]), np.array([1.0, 0, 0])
        if flip_y:
            pixels, y, y_axis = pixels[::-1], y + (hu.shape[1] - 1) * y_step, -y_axis
        if flip_x:
            pixels, x, x_axis = pixels[:, ::-1], x + (hu.shape[2] - 1) * x_step, -x_axis
        orientation, spacing = (*x_axis, *y_axis), (y_step, x_step)
        if transposed:
            pixels, orientation, spacing = pixels.T, (*y_axis, *x_axis), (x_step, y_step)
        stored.append(Slice(pixels, (x, y, z), orientation, spacing))
    volume = read_series(write_series(tmp_path, stored[::-1] if feet_first else stored))
    assert_same(volume, hu)


def test_oblique_slices_keep_their_axes(tmp_path):
    """A head tilted by 20 degrees: the affine must give back ImagePositionPatient of every slice."""
    angle = np.deg2rad(20)
    across, down = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    normal = np.cross(across, down)
    hu = phantom()
    stored = [
        replace(one, position=tuple(-normal * 2.0 * z), orientation=(*across, *down))
        for z, one in enumerate(slices_of(hu))
    ]
    volume = read_series(write_series(tmp_path, stored[::-1]))
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.mm_of([3, 0, 0])[::-1], stored[3].position, atol=1e-6)
    corner = np.array(stored[3].position) + 5 * SPACING_MM[1] * down + 7 * SPACING_MM[2] * across
    np.testing.assert_allclose(volume.mm_of([3, 5, 7])[::-1], corner, atol=1e-6)


def test_two_stacks_at_the_same_positions(tmp_path):
    """Like the study with 1,082 files and 541 positions: the first stack counts, box numbers of both do."""
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu) + slices_of(phantom(seed=1))))
    assert_same(volume, hu)
    assert volume.notes == ("10 slices left out, another one lies at their position",)
    assert volume.files.z_of_number[13] == volume.files.z_of_number[3] == 2


def test_a_missing_slice_is_interpolated(tmp_path):
    hu = phantom()
    slices = slices_of(hu)
    write_series(tmp_path, slices)
    (tmp_path / "5.dcm").unlink()
    volume = read_series(tmp_path)
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-9)
    np.testing.assert_array_equal(np.delete(volume.hu, 4, axis=0), np.delete(hu, 4, axis=0))
    np.testing.assert_allclose(volume.hu[4], (hu[3].astype(float) + hu[5]) / 2, atol=0.5)
    assert volume.file_numbers[4] == -1 and 5 not in volume.files.z_of_number
    assert "interpolated to 10 slices" in volume.notes[0]


def test_uneven_steps_are_put_on_an_even_grid(tmp_path):
    """HU equal to the depth in mm: after interpolation each slice must still read its own depth."""
    depths = np.cumsum([0, 1.0, 0.76, 1.24, 1.0, 1.0, 0.9, 1.1, 1.0, 1.0])
    slices = [Slice(np.full((8, 8), round(100 * depth)), (0, 0, -depth), intercept=0.0) for depth in depths]
    volume = read_series(write_series(tmp_path, slices))
    real = -volume.mm_of([[z, 0, 0] for z in range(len(volume.hu))])[:, 0]
    np.testing.assert_allclose(volume.hu[:, 0, 0], 100 * real, atol=1)
    np.testing.assert_allclose(np.diff(real), np.diff(real)[0])
    assert volume.notes and volume.notes[0].startswith("steps of 0.76 to 1.24 mm")


def test_positions_rounded_to_a_tenth_are_an_even_grid(tmp_path):
    hu = phantom()
    slices = [replace(one, position=(0, 0, round(-0.625 * z, 1))) for z, one in enumerate(slices_of(hu))]
    volume = read_series(write_series(tmp_path, slices))
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.notes == ()


def test_a_far_away_slice_is_refused(tmp_path):
    slices = slices_of(phantom())
    slices[-1] = replace(slices[-1], position=(0, 0, -90000.0))
    with pytest.raises(InputError, match="without large gaps.*ImagePositionPatient"):
        read_series(write_series(tmp_path, slices))


def test_the_series_that_covers_most_is_read(tmp_path):
    hu = phantom()
    write_series(tmp_path, slices_of(hu))
    other = slices_of(phantom((4, 24, 20)), more={"SeriesInstanceUID": "1.2.3"})
    write_series(tmp_path, other, first=50)
    sagittal = [replace(one, orientation=(0, 1, 0, 0, 0, -1)) for one in slices_of(phantom((20, 24, 20)))]
    write_series(tmp_path, sagittal, first=70)
    write_series(
        tmp_path, slices_of(phantom((1, 24, 20)), more={"ImageType": ["ORIGINAL", "LOCALIZER"]}), first=99
    )
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    assert volume.notes == ("25 files of 3 other series left out",)


def test_no_axial_series(tmp_path):
    slices = [replace(one, orientation=(0, 1, 0, 0, 0, -1)) for one in slices_of(phantom())]
    with pytest.raises(InputError, match=r"no axial CT series.*\(0020,0037\)"):
        read_series(write_series(tmp_path, slices))


KINDS = {
    "explicit signed": {},
    "implicit signed": {"syntax": ImplicitVRLittleEndian},
    "explicit unsigned 12 of 16": {"signed": False, "bits_stored": 12},
    "jpeg lossless unsigned 12": {"signed": False, "bits_stored": 12, "syntax": JPEGLosslessSV1},
    "jpeg lossless signed 16": {"syntax": JPEGLosslessSV1},
    "jpeg lossless unsigned 16": {"signed": False, "syntax": JPEGLosslessSV1},
    "jpeg 2000": {"signed": False, "bits_stored": 12, "syntax": JPEG2000Lossless},
    "jpeg 2000 signed": {"syntax": JPEG2000Lossless},
}
DECODERS = {"jpeg lossless": "dicomsdl", "jpeg 2000": "pydicom", "explicit": "numpy", "implicit": "numpy"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_syntax_gives_the_same_hu(tmp_path, kind):
    hu = phantom()
    write_series(tmp_path, slices_of(hu, **KINDS[kind]))
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    header = read_header(tmp_path / "1.dcm")
    stored, decoder = decoding.decode((tmp_path / "1.dcm").read_bytes(), header)
    assert decoder == next(name for start, name in DECODERS.items() if kind.startswith(start))
    np.testing.assert_array_equal(stored, pydicom.dcmread(tmp_path / "1.dcm").pixel_array)
    assert bool(volume.notes) == (decoder == "pydicom")


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_retired_and_deflated_syntaxes_go_to_pydicom(tmp_path, syntax):
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom())[0])
    data = pydicom.dcmread(path)
    stored = data.pixel_array.copy()
    data.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        data.PixelData = stored.astype(">i2").tobytes()
        data.set_original_encoding(False, False)
    data.save_as(path)
    target = np.empty(phantom().shape[1:], np.int16)
    assert decoding.decode_into(target, read_header(path)) == "pydicom"
    np.testing.assert_array_equal(target, phantom()[0])


def test_signed_12_bit_jpeg_goes_to_pydicom(tmp_path):
    hu = phantom().clip(-1000, 2000)
    write_series(tmp_path, slices_of(hu, intercept=0.0, bits_stored=12, syntax=JPEGLosslessSV1))
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.notes == ("10 slices decoded by pydicom, the slower fallback",)


def test_bits_above_bits_stored_are_dropped(tmp_path):
    """Old scanners kept overlays in the upper four bits."""
    stored = np.arange(64).reshape(8, 8) * 60
    dirty = Slice(stored | 0xA000, (0, 0, 0), signed=False, bits_stored=12)
    path = write_slice(tmp_path / "1.dcm", dirty)
    target = np.empty((8, 8), np.int16)
    decoding.decode_into(target, read_header(path))
    np.testing.assert_array_equal(target, stored - 1024)


def test_signed_12_bits_are_extended(tmp_path):
    stored = np.arange(-32, 32).reshape(8, 8) * 60
    path = write_slice(tmp_path / "1.dcm", Slice(stored & 0x0FFF, (0, 0, 0), bits_stored=12, intercept=0.0))
    target = np.empty((8, 8), np.int16)
    decoding.decode_into(target, read_header(path))
    np.testing.assert_array_equal(target, stored)


@pytest.mark.parametrize(
    ("slope", "intercept", "stored", "hu"),
    [
        (1, -1024, 0, -1024),
        (2, -1000, 300, -400),
        (0.5, 0.25, 10, 5),
        (1, -1024, -32768, -32768),
        (1, 1024, 32767, 32767),
    ],
)
def test_rescaling(tmp_path, slope, intercept, stored, hu):
    path = write_slice(
        tmp_path / "1.dcm", Slice(np.full((4, 4), stored), (0, 0, 0), slope=slope, intercept=intercept)
    )
    target = np.empty((4, 4), np.int16)
    decoding.decode_into(target, read_header(path))
    assert (target == hu).all()


def test_padding_is_air_whatever_the_sign_of_its_tag(tmp_path):
    pixels = np.full((4, 4), 1024)
    pixels[0] = -2000
    padding = pydicom.DataElement("PixelPaddingValue", "US", 65536 - 2000)
    path = write_slice(tmp_path / "1.dcm", Slice(pixels, (0, 0, 0), more={"PixelPaddingValue": padding}))
    target = np.empty((4, 4), np.int16)
    decoding.decode_into(target, read_header(path))
    assert (target[0] == decoding.AIR_HU).all() and (target[1:] == 0).all()


def test_monochrome1_and_a_missing_intercept_are_noted(tmp_path):
    hu = phantom()
    slices = slices_of(hu, intercept=None, more={"PhotometricInterpretation": "MONOCHROME1"})
    volume = read_series(write_series(tmp_path, slices))
    np.testing.assert_array_equal(volume.hu, hu)
    assert len(volume.notes) == 2 and "(0028,1052)" in volume.notes[0] and "MONOCHROME1" in volume.notes[1]


def damage_empty(path):
    path.write_bytes(b"")


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_header(path):
    path.write_bytes(path.read_bytes()[:300])


def damage_text(path):
    path.write_text("not found (404)" * 100)


def damage_rows(path):
    data = pydicom.dcmread(path)
    data.Rows = data.Rows * 2
    data.save_as(path)


def without(keyword):
    def damage(path):
        data = pydicom.dcmread(path)
        delattr(data, keyword)
        data.save_as(path)

    damage.__name__ = f"without {keyword}"
    return damage


DAMAGES = [damage_empty, damage_truncated, damage_header, damage_text] + [
    without(keyword)
    for keyword in (
        "PixelData",
        "BitsAllocated",
        "PixelRepresentation",
        "SamplesPerPixel",
        "ImagePositionPatient",
        "Rows",
    )
]


@pytest.mark.parametrize(
    "syntax", [KINDS["explicit signed"], KINDS["jpeg lossless signed 16"]], ids=["plain", "jpeg"]
)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_costs_one_slice(tmp_path, damage, syntax):
    hu = phantom((12, 24, 20))
    write_series(tmp_path, slices_of(hu, **syntax))
    damage(tmp_path / "6.dcm")
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(np.delete(volume.hu, 5, axis=0), np.delete(hu, 5, axis=0))
    assert volume.notes[0].startswith("1 of 12 files unreadable: 6.dcm: ")
    assert "interpolated" in volume.notes[1]


def test_rows_that_do_not_fit_the_pixels_are_never_decoded(tmp_path):
    """dicomsdl would return an image with invented rows."""
    for name, kind in KINDS.items():
        path = write_slice(tmp_path / f"{name}.dcm", slices_of(phantom(), **kind)[0])
        damage_rows(path)
        header = read_header(path)
        with pytest.raises(Unreadable):
            decoding.decode_into(np.empty((header.rows, header.columns), np.int16), header)


def test_broken_rle_is_an_unreadable_slice(tmp_path):
    """The RLE decoder written in Rust panics with an exception that is no Exception."""
    path = write_slice(tmp_path / "1.dcm", slices_of(phantom())[0])
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)
    header, content = read_header(path), path.read_bytes()
    stored, decoder = decoding.decode(content, header)
    assert decoder == "pydicom" and (stored - 1024 == phantom()[0]).all()
    frame = content.index(b"\x02\x00\x00\x00\x40\x00\x00\x00", header.data_start)
    reasons = set()
    for second_segment in (65, 100, 300):
        broken = content[: frame + 8] + second_segment.to_bytes(4, "little") + content[frame + 12 :]
        with pytest.raises(Unreadable, match="can't be decoded") as caught:
            decoding.decode(broken, header)
        reasons.add(type(caught.value.__cause__).__name__)
    assert "PanicException" in reasons


def test_too_many_damaged_files(tmp_path):
    write_series(tmp_path, slices_of(phantom()))
    damage_empty(tmp_path / "3.dcm")
    damage_truncated(tmp_path / "4.dcm")
    with pytest.raises(InputError, match=r"2 unreadable files of 10 .*empty file.*truncated.*at most 10%"):
        read_series(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"study 1\.2\.3: found no folder .* check the path"):
        read_series(tmp_path / "1.2.3")


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        read_series(tmp_path)


def test_no_readable_slice(tmp_path):
    for number in range(3):
        damage_text(tmp_path / f"{number}.dcm")
    with pytest.raises(InputError, match="no readable CT slice among 3 files.*not a DICOM file"):
        read_series(tmp_path)


def test_one_position_is_no_volume(tmp_path):
    slices = [replace(one, position=(0, 0, 0)) for one in slices_of(phantom())]
    with pytest.raises(InputError, match=r"10 slices at one position.*\(0020,0032\)"):
        read_series(write_series(tmp_path, slices))


def test_missing_position_in_all_files_names_the_tag(tmp_path):
    with pytest.raises(InputError, match=r"ImagePositionPatient \(0020,0032\)"):
        read_series(write_series(tmp_path, slices_of(phantom(), more={"ImagePositionPatient": None})))
