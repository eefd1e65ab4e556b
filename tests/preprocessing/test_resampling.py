"""Resampling keeps what lies where; the window keeps its ends."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.series import expected_affine, phantom

from cspine.dicom.volume import FileGrid, Volume
from cspine.preprocessing.resampling import _grid, resample, resample_array, window


def volume_of(hu, affine=None):
    return Volume(hu, expected_affine() if affine is None else affine, np.arange(1, len(hu) + 1), "1.2.3")


@pytest.mark.parametrize("ratios", [(1.7, 3.3, 2.9), (0.6, 0.45, 0.8), (1.0, 4.0, 0.5), (1.0, 1.0, 1.0)])
def test_a_ramp_stays_a_ramp(ratios):
    """Each voxel's value is its position along an axis; shrunk or grown, it is so still, away from the border."""
    shape = (40, 50, 60)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    grids = [_grid(count, 1.0, ratio)[0] for count, ratio in zip(shape, ratios, strict=True)]
    positions = np.meshgrid(*grids, indexing="ij")
    inner = (slice(4, -4),) * 3
    for axis in range(3):
        sampled = resample_array(index[axis], grids, ratios)
        assert sampled.dtype == np.float32
        np.testing.assert_allclose(sampled[inner], positions[axis][inner], atol=1e-3)


def test_resampled_voxels_lie_where_the_affine_says():
    """HU that equals a position in the patient must equal it after resampling too."""
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = expected_affine()
    affine[:3, :3] = turn @ affine[:3, :3]
    empty = volume_of(np.zeros((40, 60, 50), np.int16), affine)
    index = np.stack(np.meshgrid(*map(np.arange, empty.hu.shape), indexing="ij"), axis=-1)
    for axis in range(3):
        hu = np.rint(empty.mm_of(index)[..., axis] * 100).astype(np.int16)
        small = resample(volume_of(hu, affine), (3.1, 2.3, 1.7))
        np.testing.assert_allclose(small.spacing_mm, (3.1, 2.3, 1.7))
        at = np.stack(np.meshgrid(*map(np.arange, small.hu.shape), indexing="ij"), axis=-1)
        inner = (slice(2, -2),) * 3
        np.testing.assert_allclose(small.hu[inner], 100 * small.mm_of(at)[inner][..., axis], atol=1.5)


@pytest.mark.parametrize("spacing_mm", [1.3, (5.0, 0.3, 0.9)])
def test_resampling_keeps_the_middle_and_the_extent(spacing_mm):
    volume = volume_of(phantom((31, 64, 48)))
    small = resample(volume, spacing_mm)
    middles = [v.mm_of((np.array(v.hu.shape) - 1) / 2) for v in (volume, small)]
    np.testing.assert_allclose(*middles, atol=1e-9)
    half_a_voxel = np.broadcast_to(spacing_mm, 3) / 2
    assert (np.abs(np.subtract(small.extent_mm, volume.extent_mm)) <= half_a_voxel + 1e-9).all()


def test_a_resampled_volume_knows_no_files_any_more():
    files = FileGrid(False, False, False, {1: 0}, np.arange(10.0))
    volume = replace(volume_of(phantom()), files=files)
    assert volume.direction == "head-to-feet"
    small = resample(volume, 1.3)
    assert small.files is None and small.direction == "unknown"
    assert len(small.file_numbers) == len(small.hu) and (small.file_numbers == -1).all()
    assert (small.study, small.notes) == (volume.study, volume.notes)


def test_same_spacing_changes_nothing():
    volume = volume_of(phantom())
    same = resample(volume, volume.spacing_mm)
    np.testing.assert_array_equal(same.hu, volume.hu)
    np.testing.assert_allclose(same.affine, volume.affine, atol=1e-9)


def test_shrinking_averages():
    """A checkerboard of single voxels becomes its mean, not a pattern of the samples that were hit."""
    hu = np.indices((40, 40, 40)).sum(axis=0) % 2 * 1000
    small = resample(volume_of(hu.astype(np.int16), np.diag([-1.0, 1, 1, 1])), 4.0)
    assert np.abs(small.hu[1:-1, 1:-1, 1:-1] - 500).max() < 40


def test_extreme_values_do_not_wrap_round():
    for value in (-32768, 32767):
        volume = volume_of(np.full((12, 14, 16), value, np.int16), np.diag([-1.0, 1, 1, 1]))
        assert (resample(volume, 0.7).hu == value).all()


def test_a_volume_smaller_than_a_new_voxel_becomes_one():
    small = resample(volume_of(np.full((3, 4, 5), 70, np.int16), np.diag([-1.0, 1, 1, 1])), 20.0)
    assert small.hu.tolist() == [[[70]]]


def test_the_volume_itself_is_left_alone():
    volume = volume_of(phantom())
    hu, affine = volume.hu.copy(), volume.affine.copy()
    resample(volume, 1.0)
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_array_equal(volume.affine, affine)


@pytest.mark.parametrize("spacing_mm", [0, -1.0, (1.0, 1.0, 0.0), float("nan")])
def test_resample_refuses_sizes_that_are_none(spacing_mm):
    with pytest.raises(ValueError, match="above 0"):
        resample(volume_of(phantom()), spacing_mm)


def test_positions_outside_of_the_array_are_refused():
    array = np.zeros((4, 4, 4), np.int16)
    inside = np.arange(4.0)
    for axis in range(3):
        positions = [inside] * 3
        positions[axis] = np.array([1.0, 9.0])
        with pytest.raises(ValueError, match="outside of the array"):
            resample_array(array, positions, [1.0, 1.0, 1.0])


def test_a_window_maps_its_ends_to_black_and_white():
    hu = np.array([-32768, -600, -599, 400, 1400, 32767], np.int16)
    np.testing.assert_array_equal(window(hu, 400, 2000), [0, 0, 0, 128, 255, 255])
    assert window(hu, 400, 2000).dtype == np.uint8
    assert window(np.float32([0.4]), 0, 1)[0] == round(0.9 * 255)
    assert hu.tolist() == [-32768, -600, -599, 400, 1400, 32767]
