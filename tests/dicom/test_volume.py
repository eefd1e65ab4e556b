"""Geometry of volumes: axes, resampling, windows."""

import numpy as np
import pytest
from helpers.hand_made import index_of
from helpers.series import expected_affine, phantom

from cspine.dicom.volume import Volume
from cspine.preprocessing.resampling import _grid, resample, resample_array, window


def volume_of(hu, affine=None):
    return Volume(hu, expected_affine() if affine is None else affine, np.arange(1, len(hu) + 1), "1.2.3")


@pytest.mark.parametrize("ratios", [(1.7, 3.3, 2.9), (0.6, 0.45, 0.8), (1.0, 4.0, 0.5), (1.0, 1.0, 1.0)])
def test_a_ramp_stays_a_ramp(ratios):
    """Value == position along each axis, shrinking and growing, to 1e-3 away from the border."""
    shape = (40, 50, 60)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    grids = [_grid(count, 1.0, ratio)[0] for count, ratio in zip(shape, ratios, strict=True)]
    for axis in range(3):
        sampled = resample_array(index[axis], grids, ratios)
        where = np.moveaxis(
            np.broadcast_to(grids[axis], (*np.delete(sampled.shape, axis), len(grids[axis]))), -1, axis
        )
        inner = tuple(slice(4, -4) for _ in shape)
        np.testing.assert_allclose(sampled[inner], where[inner], atol=1e-3)


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


def test_resampling_keeps_the_middle_and_the_extent():
    volume = volume_of(phantom((31, 64, 48)))
    small = resample(volume, 1.3)
    middles = [v.mm_of((np.array(v.hu.shape) - 1) / 2) for v in (volume, small)]
    np.testing.assert_allclose(*middles, atol=1e-9)
    assert (np.abs(np.subtract(small.extent_mm, volume.extent_mm)) <= 1.3 / 2 + 1e-9).all()
    assert small.files is None and small.direction == "unknown"


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


def test_resample_refuses_sizes_that_are_none():
    with pytest.raises(ValueError, match="above 0"):
        resample(volume_of(phantom()), 0)


def test_index_and_mm_are_inverse():
    volume = volume_of(phantom())
    points = np.random.default_rng(0).uniform(-50, 50, (7, 3))
    np.testing.assert_allclose(volume.mm_of(index_of(volume.affine, points)), points, atol=1e-9)
    np.testing.assert_allclose(index_of(volume.affine, volume.mm_of([2, 3, 4])), [2, 3, 4], atol=1e-9)
    assert volume.mm_of([1, 0, 0])[0] < volume.mm_of([0, 0, 0])[0], "z runs towards the feet"


def test_repr_tells_shape_spacing_and_extent():
    words = repr(volume_of(phantom()))
    for part in ("10 x 24 x 20", "2.000 x 0.500 x 0.750 mm", "20 x 12 x 15 mm", "head-to-feet"):
        assert part in words


def test_window():
    hu = np.array([-32768, -600, -599, 400, 1400, 32767], np.int16)
    np.testing.assert_array_equal(window(hu, 400, 2000), [0, 0, 0, 128, 255, 255])
    assert window(hu, 400, 2000).dtype == np.uint8
    assert window(np.float32([0.4]), 0, 1)[0] == round(0.9 * 255)
