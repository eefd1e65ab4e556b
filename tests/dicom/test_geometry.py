"""Positions that are not a plain even stack: each kind has one defined outcome."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.series import SPACING_MM, Slice, assert_same, expected_affine, phantom, slices_of, write_series

from cspine.dicom.reader import read_series
from cspine.errors import InputError


def moved(one, z=None, x=0.0):
    """The slice at another height, or shifted to the side."""
    at = one.position
    return replace(one, position=(at[0] + x, at[1], at[2] if z is None else z))


def deep(depths_mm, pixels=(8, 8)):
    """Slices whose stored value is a hundred times their depth in mm."""
    return [Slice(np.full(pixels, round(100 * mm)), (0, 0, -mm), intercept=0.0) for mm in depths_mm]


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
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM)
    np.testing.assert_allclose(volume.mm_of([3, 0, 0])[::-1], stored[3].position, atol=1e-6)
    corner = np.array(stored[3].position) + 5 * SPACING_MM[1] * down + 7 * SPACING_MM[2] * across
    np.testing.assert_allclose(volume.mm_of([3, 5, 7])[::-1], corner, atol=1e-6)
    np.testing.assert_allclose(volume.files.heights_mm, -2.0 * np.arange(10), atol=1e-6)
    assert volume.notes == ()


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path):
    """The table moves along z while slices lean by 15 degrees: steps along the normal are shorter than along z."""
    angle = np.deg2rad(15)
    down = (0.0, np.cos(angle), -np.sin(angle))
    hu = phantom()
    stored = [
        replace(one, position=(0.0, 0.0, -2.0 * z), orientation=(1.0, 0.0, 0.0, *down))
        for z, one in enumerate(slices_of(hu))
    ]
    volume = read_series(write_series(tmp_path, stored))
    np.testing.assert_array_equal(volume.hu, hu)
    for z in (0, 4, 9):
        corner = np.array([0, 0, -2.0 * z]) + 11 * SPACING_MM[1] * np.array(down)
        np.testing.assert_allclose(volume.mm_of([z, 11, 0])[::-1], corner, atol=1e-9)
    np.testing.assert_allclose(-np.diff(volume.files.heights_mm), 2.0 * np.cos(angle))
    assert volume.notes == (
        "each slice shifted against the last, as by a gantry tilted 15.0 degrees: a sheared grid",
    )


def test_two_stacks_at_the_same_positions(tmp_path):
    """Like the study with 1,082 files and 541 positions: the first stack counts, box numbers of both do."""
    hu = phantom()
    volume = read_series(write_series(tmp_path, slices_of(hu) + slices_of(phantom(seed=1))))
    assert_same(volume, hu)
    assert volume.notes == ("10 slices left out, another one lies at their position",)
    assert volume.files.z_of_number[13] == volume.files.z_of_number[3] == 2
    assert len(volume.files.heights_mm) == 10


def test_two_stacks_slice_by_slice(tmp_path):
    hu = phantom()
    pairs = [one for pair in zip(slices_of(hu), slices_of(phantom(seed=1)), strict=True) for one in pair]
    volume = read_series(write_series(tmp_path, pairs))
    assert_same(volume, hu)
    assert volume.files.z_of_number[5] == volume.files.z_of_number[6] == 2


def test_the_second_stack_stands_in_for_a_broken_slice(tmp_path):
    hu = phantom()
    write_series(tmp_path, slices_of(hu) + slices_of(hu))
    (tmp_path / "4.dcm").write_bytes((tmp_path / "4.dcm").read_bytes()[:-100])
    volume = read_series(tmp_path)
    assert_same(volume, hu)
    assert volume.file_numbers[3] == 14


@pytest.mark.parametrize("missing", [[5], [5, 6, 7], [3, 8]])
def test_missing_slices_are_interpolated(tmp_path, missing):
    hu = phantom((12, 24, 20))
    write_series(tmp_path, slices_of(hu))
    for number in missing:
        (tmp_path / f"{number}.dcm").unlink()
    volume = read_series(tmp_path)
    lost = np.array(missing) - 1
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-9)
    np.testing.assert_array_equal(np.delete(volume.hu, lost, axis=0), np.delete(hu, lost, axis=0))
    if len(missing) == 1:
        np.testing.assert_allclose(volume.hu[4], (hu[3].astype(float) + hu[5]) / 2, atol=0.5)
    assert (volume.file_numbers[lost] == -1).all() and not set(missing) & set(volume.files.z_of_number)
    assert "interpolated to 12 slices" in volume.notes[0]
    assert len(volume.files.heights_mm) == 12 - len(missing)


def test_uneven_steps_are_put_on_an_even_grid(tmp_path):
    """HU equal to the depth in mm: after interpolation each slice must still read its own depth."""
    depths = np.cumsum([0, 1.0, 0.76, 1.24, 1.0, 1.0, 0.9, 1.1, 1.0, 1.0])
    volume = read_series(write_series(tmp_path, deep(depths)))
    real = -volume.mm_of([[z, 0, 0] for z in range(len(volume.hu))])[:, 0]
    np.testing.assert_allclose(volume.hu[:, 0, 0], 100 * real, atol=1)
    np.testing.assert_allclose(np.diff(real), np.diff(real)[0])
    assert volume.notes and volume.notes[0].startswith("steps of 0.76 to 1.24 mm")
    np.testing.assert_allclose(-np.diff(volume.files.heights_mm), np.diff(depths))


def test_steps_that_change_half_way(tmp_path):
    depths = np.r_[np.arange(20) * 0.5, 10 + np.arange(10) * 1.0]
    volume = read_series(write_series(tmp_path, deep(depths)))
    real = -volume.mm_of([[z, 0, 0] for z in range(len(volume.hu))])[:, 0]
    np.testing.assert_allclose(volume.hu[:, 0, 0], 100 * real, atol=1)
    np.testing.assert_allclose(real[-1], depths[-1])


def test_positions_rounded_to_a_tenth_are_an_even_grid(tmp_path):
    hu = phantom()
    slices = [replace(one, position=(0, 0, round(-0.625 * z, 1))) for z, one in enumerate(slices_of(hu))]
    volume = read_series(write_series(tmp_path, slices))
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.notes == ()


@pytest.mark.parametrize("thickness", ["0.625", "5", "0", "", None])
def test_slice_thickness_says_nothing_about_the_step(tmp_path, thickness):
    more = {"SliceThickness": thickness, "SpacingBetweenSlices": "7"} if thickness is not None else {}
    assert_same(read_series(write_series(tmp_path, slices_of(phantom(), more=more))), phantom())


STRAYS = {
    "far below": (17, {"z": -90000.0}),
    "far above": (2, {"z": 800.0}),
    "first, a bit too high": (0, {"z": 170.0}),
    "last, a bit too low": (39, {"z": -60.0}),
    "between two others": (7, {"z": 51.0}),
    "at another one's position": (7, {"z": 50.0}),
    "to the side": (20, {"x": 400.0}),
    "to the side, the first": (0, {"x": -9000.0}),
    "to the side, the last": (39, {"x": 50.0}),
}


@pytest.mark.parametrize("feet_first", [False, True])
@pytest.mark.parametrize("where", STRAYS)
def test_one_wrong_position_costs_one_slice(tmp_path, where, feet_first):
    hu = phantom((40, 12, 10))
    slices = slices_of(hu)
    z, shift = STRAYS[where]
    slices[z] = moved(slices[z], **shift)
    volume = read_series(write_series(tmp_path, slices[::-1] if feet_first else slices))
    first, last = (z == 0), (z == 39)
    np.testing.assert_array_equal(volume.mm_of([0, 0, 0])[0], 98.0 if first else 100.0)
    inside = hu[first : 39 if last else 40]
    assert volume.hu.shape == inside.shape
    kept = [n for n in range(40) if n != z]
    np.testing.assert_array_equal(volume.hu if first or last else np.delete(volume.hu, z, axis=0), hu[kept])
    word = {
        "at another one's position": "another one lies at their position",
        "between two others": "out of turn",
    }
    expected = word.get(where, "beside" if "side" in where else "from the others")
    assert expected in " ".join(volume.notes), volume.notes


def test_a_renumbered_slice_is_no_stray(tmp_path):
    """One file was sent again under another number; its position fits, so it stays."""
    hu = phantom((40, 12, 10))
    names = [f"{n}.dcm" for n in range(1, 41)]
    names[12] = "777.dcm"
    assert_same(read_series(write_series(tmp_path, slices_of(hu), names=names)), hu)


def test_many_wrong_positions_are_refused(tmp_path):
    """With half of the slices far away, nobody can tell which half is right."""
    slices = [moved(one, -90000.0 - 2 * n) if n % 2 else one for n, one in enumerate(slices_of(phantom()))]
    with pytest.raises(InputError, match="without large gaps.*ImagePositionPatient"):
        read_series(write_series(tmp_path, slices))


def test_one_position_is_no_volume(tmp_path):
    slices = [replace(one, position=(0, 0, 0)) for one in slices_of(phantom())]
    with pytest.raises(InputError, match=r"10 slices at one position.*\(0020,0032\)"):
        read_series(write_series(tmp_path, slices))


def test_one_slice_is_no_volume(tmp_path):
    with pytest.raises(InputError, match="found 1 slice of the axial series; expected at least 2"):
        read_series(write_series(tmp_path, slices_of(phantom())[:1]))
