"""Boxes follow their pixels from the file into the volume."""

import numpy as np
import pandas as pd
import pytest
from scans.series import SPACING_MM, Slice, slices_of, write_series

from cspine.scans.boxes import boxes_by_slice
from cspine.scans.dicom import read_series
from cspine.scans.volume import resample

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
