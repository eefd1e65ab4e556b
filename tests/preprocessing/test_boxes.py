"""Boxes follow their pixels from the file into the volume."""

import numpy as np
import pandas as pd
import pytest
from helpers.series import SPACING_MM, Slice, slices_of, write_series

from cspine.dicom.reader import read_series
from cspine.dicom.volume import FileGrid, Volume
from cspine.preprocessing.boxes import (
    boxes_by_slice,
    envelope,
    fill_between,
    fractures_of,
    interpolate,
    place_boxes,
)
from cspine.preprocessing.resampling import resample

X, Y, WIDTH, HEIGHT, Z = 3, 5, 4, 2, 6
"""The marked region of the phantom, in the patient's axes."""


def marked():
    hu = np.full((10, 24, 20), -1000, np.int16)
    hu[Z, Y : Y + HEIGHT, X : X + WIDTH] = 1000
    return hu


def rows(*values):
    return pd.DataFrame(list(values), columns=["x", "y", "width", "height", "slice_number"])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("feet_first", [False, True])
def test_a_box_frames_the_same_voxels(tmp_path, transposed, flip_y, flip_x, feet_first):
    stored = []
    for one in slices_of(marked()):
        pixels = one.pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        across, down, spacing = (1 - 2 * flip_x, 0, 0), (0, 1 - 2 * flip_y, 0), SPACING_MM[1:]
        if transposed:
            pixels, across, down, spacing = pixels.T, down, across, spacing[::-1]
        stored.append(Slice(pixels, one.position, (*across, *down), spacing))
    order = list(range(10))[:: -1 if feet_first else 1]
    number = order.index(Z) + 1
    at = np.argwhere(stored[Z].pixels == 2024)
    (top, left), (bottom, right) = at.min(axis=0), at.max(axis=0) + 1
    volume = read_series(write_series(tmp_path, [stored[z] for z in order]))
    box = boxes_by_slice(rows((left, top, right - left, bottom - top, number)), volume).iloc[0]
    assert (box.z, box.x, box.y, box.width, box.height) == (Z, X, Y, WIDTH, HEIGHT)
    frame = volume.hu[int(box.z), int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)]
    assert (frame == 1000).all() and (volume.hu == 1000).sum() == frame.size


def test_what_does_not_meet_the_scan_is_left_out_and_said(tmp_path):
    volume = read_series(write_series(tmp_path, slices_of(marked()), first=5))
    found = boxes_by_slice(
        rows((1, 2, 3, 4, 5), (1, 2, 3, 4, 99), (30, 2, 3, 4, 6), (18, -1, 5.5, 4, 14)), volume
    )
    assert found["z"].tolist() == [0, 9]
    assert found.loc[1, ["x", "y", "width", "height"]].tolist() == [18, 0, 2, 3]
    assert found.attrs["notes"] == [
        "1 boxes on file numbers without a slice left out",
        "1 boxes beside the image left out",
    ]


def test_boxes_on_the_second_of_two_stacks_count(tmp_path):
    volume = read_series(write_series(tmp_path, slices_of(marked()) * 2))
    found = boxes_by_slice(rows((1, 2, 3, 4, 12)), volume)
    assert found["z"].tolist() == [1] and found.attrs["notes"] == []


def test_no_boxes(tmp_path):
    volume = read_series(write_series(tmp_path, slices_of(marked())))
    assert len(boxes_by_slice(rows(), volume)) == 0


def test_a_resampled_volume_has_no_pixels_of_files(tmp_path):
    volume = read_series(write_series(tmp_path, slices_of(marked())))
    with pytest.raises(ValueError, match="not on a resampled one"):
        boxes_by_slice(rows((1, 2, 3, 4, 5)), resample(volume, 1.0))


def box(level, z, top, left, bottom, right):
    return [level, z, top, left, bottom, right]


def test_the_envelope_holds_every_annotators_box():
    """Three annotators on one slice, worked out by hand; another slice and level are not mixed in."""
    boxes = np.array(
        [box(5, 7, 10, 10, 20, 20), box(5, 8, 0, 0, 5, 5), box(5, 7, 12, 8, 18, 30), box(6, 7, 11, 11, 40, 19),
         box(5, 7, 9.5, 15, 16, 19)]
    )  # fmt: skip
    found = envelope(boxes)
    assert found.tolist() == [box(5, 7, 9.5, 8, 20, 30), box(5, 8, 0, 0, 5, 5), box(6, 7, 11, 11, 40, 19)]
    np.testing.assert_array_equal(envelope(boxes[[4, 2, 0, 1, 3]]), found)  # whatever the order
    frame = pd.DataFrame(boxes, columns=["level", "z", "top", "left", "bottom", "right"])
    np.testing.assert_array_equal(envelope(frame), found)
    assert envelope([]).shape == (0, 6)


def test_fractures_apart_on_one_slice_stay_apart():
    """Two lines through one arch; boxes that only share an edge count as apart, a chain of overlaps as one."""
    boxes = np.array(
        [box(1, 4, 0, 0, 10, 10), box(1, 4, 0, 30, 10, 40), box(1, 4, 0, 10, 10, 12), box(1, 4, 5, 35, 15, 45),
         box(1, 4, 12, 42, 20, 60)]
    )  # fmt: skip
    assert fractures_of(boxes, 0).tolist() == [0, 1, 2, 1, 1]
    assert envelope(boxes).tolist() == [
        box(1, 4, 0, 0, 10, 10),
        box(1, 4, 0, 30, 20, 60),
        box(1, 4, 0, 10, 10, 12),
    ]
    assert len(envelope(boxes, np.zeros(5, int))) == 1  # the caller may know better


def test_a_fracture_goes_on_from_slice_to_slice():
    boxes = np.array(
        [box(2, 1, 0, 0, 10, 10), box(2, 2, 1, 1, 11, 11), box(2, 5, 2, 2, 12, 12), box(2, 2, 50, 50, 60, 60),
         box(3, 2, 0, 0, 10, 10)]
    )  # fmt: skip
    assert fractures_of(boxes, 1).tolist() == [0, 0, 1, 2, 3]
    assert fractures_of(boxes, 3).tolist() == [0, 0, 0, 1, 2]
    assert fractures_of(boxes, 0).tolist() == [0, 1, 2, 3, 4]


def test_between_key_slices_corners_move_linearly():
    keys = np.array([box(4, 10, 0, 8, 10, 20), box(4, 6, 4, 0, 14, 12), box(4, 12, 0, 8, 30, 20)])
    found = interpolate(keys, [6, 7, 8, 10, 11, 11.5])
    assert found.tolist() == [
        box(4, 6, 4, 0, 14, 12),
        box(4, 7, 3, 2, 13, 14),
        box(4, 8, 2, 4, 12, 16),
        box(4, 10, 0, 8, 10, 20),
        box(4, 11, 0, 8, 20, 20),
        box(4, 11.5, 0, 8, 25, 20),
    ]
    assert interpolate(keys, []).shape == (0, 6)
    assert interpolate(keys[:1], [10]).tolist() == [keys[0].tolist()]
    for beyond in (5, 12.5):
        with pytest.raises(ValueError, match="expected within 6 to 12"):
            interpolate(keys, [8, beyond])
    for no_fracture in (keys[[0, 0]], np.vstack([keys, box(5, 8, 0, 0, 1, 1)]), np.zeros((0, 6))):
        with pytest.raises(ValueError, match="one fracture's boxes"):
            interpolate(no_fracture, [10])


def test_gaps_are_filled_within_a_fracture_only():
    """A fracture seen on slices 2, 3 and 6, by two annotators on 3; another on 11; one more is on another level."""
    boxes = np.array(
        [box(4, 6, 6, 6, 16, 16), box(4, 2, 0, 0, 10, 10), box(4, 3, 0, 0, 10, 9), box(4, 3, 2, 3, 8, 13),
         box(4, 11, 6, 6, 16, 16), box(2, 4, 80, 80, 90, 90)]
    )  # fmt: skip
    filled = fill_between(boxes, max_gap_vox=3)
    assert filled.tolist() == [
        box(2, 4, 80, 80, 90, 90),
        box(4, 2, 0, 0, 10, 10),
        box(4, 3, 0, 0, 10, 13),
        box(4, 4, 2, 2, 12, 14),
        box(4, 5, 4, 4, 14, 15),
        box(4, 6, 6, 6, 16, 16),
        box(4, 11, 6, 6, 16, 16),
    ]
    assert fill_between(boxes, 1)[:, 1].tolist() == [4, 6, 2, 3, 11]  # fractures in the order of the rows
    np.testing.assert_array_equal(fill_between(filled, 3), filled)  # what is full stays as it is
    assert fill_between([], 3).shape == (0, 6)


def test_slices_put_in_for_missing_files_get_boxes(tmp_path):
    """Two files are lost; their slices are interpolated from the neighbours, and so are their boxes."""
    slices = slices_of(marked())
    kept = [z for z in range(10) if z not in (3, 6)]
    volume = read_series(write_series(tmp_path, [slices[z] for z in kept]))
    assert len(volume.hu) == 10 and np.flatnonzero(volume.file_numbers < 0).tolist() == [3, 6]
    found = boxes_by_slice(
        rows(*[(3 + z, 5, 4, 2 + z, n + 1) for n, z in enumerate(kept) if 2 <= z <= 7]), volume
    )
    bottom, right = found["y"] + found["height"], found["x"] + found["width"]
    boxes = np.column_stack([np.full(len(found), 5), found["z"], found["y"], found["x"], bottom, right])
    filled = fill_between(boxes, 2)
    assert filled.tolist() == [box(5, z, 5, 3 + z, 7 + z, 7 + z) for z in range(2, 8)]


def test_gaps_up_to_the_bound_are_filled_where_boxes_are_placed():
    """Slices 2 mm apart: a gap of 10 mm is bridged, one of 12 mm parts two fractures."""
    affine = np.diag([-2.0, 1.0, 1.0, 1.0])
    volume = Volume(np.zeros((20, 30, 30), np.int16), affine, np.arange(1, 21), "1.2.3", files=grid_of(20))
    labels = np.full((20, 30, 30), 3, np.uint8)
    drawn = [[5.0, 6.0, 10.0, 8.0, number] for number in (3, 8, 14)]
    placed, notes = place_boxes(drawn, volume, labels, affine, np.arange(7) == 2)
    assert placed[:, 1].tolist() == [2, 3, 4, 5, 6, 7, 13]
    assert (placed[:, 0] == 3).all() and (placed[:, 2:] == [6, 5, 14, 15]).all()
    assert notes == ["4 boxes interpolated between annotated slices"]
    placed, notes = place_boxes(drawn[:1], volume, labels, affine, np.arange(7) == 2)
    assert placed[:, 1].tolist() == [2] and notes == []


def grid_of(slices: int) -> FileGrid:
    """Files numbered from 1, head to feet, not turned."""
    return FileGrid(False, False, False, {n + 1: n for n in range(slices)}, -2.0 * np.arange(slices))


def test_rows_that_are_no_boxes_are_refused():
    for wrong in ([box(1, 2, 5, 0, 4, 9)], [box(1, np.nan, 0, 0, 4, 9)], [[1, 2, 3]], [1, 2, 3, 4, 5, 6]):
        for function in (
            envelope,
            lambda boxes: fill_between(boxes, 1),
            lambda boxes: interpolate(boxes, [1]),
        ):
            with pytest.raises(ValueError, match="boxes: found"):
                function(wrong)
