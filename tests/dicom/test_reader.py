"""A series folder becomes a volume: order, numbers and axes of whole series, and what stops a study."""

import numpy as np
import pytest
from helpers.series import SPACING_MM, Slice, assert_same, phantom, slices_of, write_series

from cspine.dicom.reader import read_series
from cspine.errors import InputError


def test_head_to_feet(tmp_path):
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu)))
    assert_same(volume, hu)
    assert volume.direction == "head-to-feet" and volume.notes == ()
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM)
    np.testing.assert_array_equal(volume.file_numbers, np.arange(1, 11))
    np.testing.assert_allclose(volume.files.heights_mm, 100 - 2.0 * np.arange(10))


def test_feet_to_head_is_the_same_volume(tmp_path):
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu)[::-1]))
    assert_same(volume, hu)
    assert volume.direction == "feet-to-head"
    np.testing.assert_array_equal(volume.file_numbers, np.arange(10, 0, -1))
    np.testing.assert_allclose(volume.files.heights_mm, 100 - 2.0 * np.arange(10))


def test_numbers_say_nothing_about_the_order(tmp_path):
    hu = phantom()
    names = [f"{number}.dcm" for number in (7, 3, 10, 59, 1, 100, 2, 20, 11, 5)]
    volume = read_series(write_series(tmp_path, slices_of(hu), names=names))
    assert_same(volume, hu)
    np.testing.assert_array_equal(volume.file_numbers, [7, 3, 10, 59, 1, 100, 2, 20, 11, 5])


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_the_files(tmp_path, seed):
    """Slices are moved within one block of memory: each has to arrive, whatever the permutation."""
    hu = phantom((23, 6, 5), seed)
    order = np.random.default_rng(seed).permutation(23)
    write_series(tmp_path, [slices_of(hu)[z] for z in order])
    (tmp_path / "8.dcm").write_bytes(b"broken")
    volume = read_series(tmp_path)
    lost = int(order[7])
    kept = volume.hu if lost in (0, 22) else np.delete(volume.hu, lost, 0)
    np.testing.assert_array_equal(kept, np.delete(hu, lost, 0))


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


def test_names_that_are_uids(tmp_path):
    hu = phantom()
    names = [f"1.2.840.113619.2.55.3.{7919 * n % 1000}.{n}" for n in range(10)]
    assert_same(read_series(write_series(tmp_path, slices_of(hu), names=names)), hu)


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


@pytest.mark.parametrize("shape", [(3, 512, 519), (3, 519, 512), (3, 768, 768)])
def test_matrices_that_are_not_512_square(tmp_path, shape):
    hu = phantom(shape)
    assert_same(read_series(write_series(tmp_path, slices_of(hu))), hu)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"study 1\.2\.3: found no folder .* check the path"):
        read_series(tmp_path / "1.2.3")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "1.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"found no folder .*1\.dcm"):
        read_series(tmp_path / "1.dcm")


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        read_series(tmp_path)


def test_a_folder_of_folders_names_them(tmp_path):
    (tmp_path / "series-2").mkdir()
    with pytest.raises(InputError, match=r"1 folder \(series-2\): name the one with the series"):
        read_series(tmp_path)


def test_no_readable_slice(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_text("not found (404)" * 100)
    with pytest.raises(InputError, match="no readable CT slice among 3 files.*not a DICOM file"):
        read_series(tmp_path)


def test_no_axial_series(tmp_path):
    slices = slices_of(phantom(), orientation=(0, 1, 0, 0, 0, -1))
    with pytest.raises(InputError, match=r"no axial CT series.*\(0020,0037\)"):
        read_series(write_series(tmp_path, slices))


def test_missing_position_in_all_files_names_the_tag(tmp_path):
    with pytest.raises(InputError, match=r"ImagePositionPatient \(0020,0032\)"):
        read_series(write_series(tmp_path, slices_of(phantom(), more={"ImagePositionPatient": None})))
