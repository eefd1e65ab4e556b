"""A scan's geometry in numbers and words, and what a cache keeps of it."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.hand_made import index_of
from helpers.series import expected_affine, phantom

from cspine.dicom.volume import SCAN_COLUMNS, FileGrid, Volume, scan_columns


def volume_of(hu, affine=None):
    return Volume(hu, expected_affine() if affine is None else affine, np.arange(1, len(hu) + 1), "1.2.3")


def test_index_and_mm_are_inverse():
    volume = volume_of(phantom())
    points = np.random.default_rng(0).uniform(-50, 50, (7, 3))
    np.testing.assert_allclose(volume.mm_of(index_of(volume.affine, points)), points, atol=1e-9)
    np.testing.assert_allclose(index_of(volume.affine, volume.mm_of([2, 3, 4])), [2, 3, 4], atol=1e-9)
    assert volume.mm_of([1, 0, 0])[0] < volume.mm_of([0, 0, 0])[0], "z runs towards the feet"


def test_mm_of_one_voxel_and_of_many():
    """The scan begins at z = 100, y = -30, x = -20 mm, with voxels of 2, 0.5 and 0.75 mm."""
    volume = volume_of(phantom())
    np.testing.assert_array_equal(volume.mm_of([3, 4, 2]), [94, -28, -18.5])
    np.testing.assert_array_equal(
        volume.mm_of([[[0, 0, 0]], [[-0.5, 1, 0]]]), [[[100, -30, -20]], [[101, -29.5, -20]]]
    )


def test_spacing_and_extent_follow_the_axes_however_they_are_turned():
    turned = np.eye(4)
    turned[:3, :3] = [[-1.6, 0.3, 0], [1.2, 0.4, 0], [0, 0, -0.75]]
    volume = volume_of(phantom(), turned)
    np.testing.assert_allclose(volume.spacing_mm, (2.0, 0.5, 0.75))
    np.testing.assert_allclose(volume.extent_mm, (20.0, 12.0, 15.0))
    assert all(type(step) is float for step in volume.spacing_mm), "for JSON"


@pytest.mark.parametrize(
    ("numbers", "direction"),
    [
        ([1, 2, 3], "head-to-feet"),
        ([9, 4, 1], "feet-to-head"),
        ([-1, 7, -1, 9, -1], "head-to-feet"),
        ([-1, -1, 4], "unknown"),
        ([5, 3, 5], "unknown"),
        ([-1, -1], "unknown"),
    ],
)
def test_the_direction_is_that_of_the_file_numbers(numbers, direction):
    assert replace(volume_of(phantom()), file_numbers=np.array(numbers)).direction == direction


def read() -> Volume:
    """A scan of ten slices of which nine were read, eight of them in files with numbers."""
    heights = np.delete(100 - 2.0 * np.arange(10), 4)
    files = FileGrid(False, False, False, {number: number - 1 for number in range(1, 9)}, heights)
    return replace(volume_of(phantom()), files=files, notes=("a note",))


def test_the_description_of_a_scan():
    assert read().describe() == {
        "study": "1.2.3",
        "direction": "head-to-feet",
        "files": 8,
        "scan_shape": [10, 24, 20],
        "scan_spacing_mm": [2.0, 0.5, 0.75],
        "slices_read": 9,
        "step_min_mm": 2.0,
        "step_max_mm": 4.0,
        "slice_heights_mm": [100.0, 98.0, 96.0, 94.0, 90.0, 88.0, 86.0, 84.0, 82.0],
        "notes": ["a note"],
    }
    with pytest.raises(ValueError, match="as read_series returned it"):
        volume_of(phantom()).describe()


def test_the_columns_of_an_index():
    columns = scan_columns(read().describe())
    assert tuple(columns) == SCAN_COLUMNS
    assert tuple(columns.values()) == (10, 24, 20, 2.0, 0.5, 0.75, 9, 2.0, 4.0, "head-to-feet")


def test_repr_tells_shape_spacing_and_extent():
    words = repr(volume_of(phantom()))
    for part in ("10 x 24 x 20", "2.000 x 0.500 x 0.750 mm", "20 x 12 x 15 mm", "head-to-feet"):
        assert part in words
    assert "notes" not in words and "1 notes" in repr(read())
