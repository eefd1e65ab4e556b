"""Annotated boxes, given by file number and pixel, in the voxels of a volume."""

import numpy as np
import pandas as pd

from cspine.scans.volume import Volume


def boxes_by_slice(boxes: pd.DataFrame, volume: Volume) -> pd.DataFrame:
    """Turn rows of train_bounding_boxes.csv into boxes in a volume, as `read_series` returned it.

    boxes: one study's rows with x, y, width, height (pixels of the file, (x, y) is the corner nearest to
    (0, 0)) and slice_number (number in the file name). Returns a DataFrame z int64, x, y, width, height
    float64 in voxels, (x, y) again the corner nearest to (0, 0), cut to the image; its `attrs["notes"]` is a
    list that says what was left out: numbers without a slice, boxes beside the image.
    """
    files = volume.files
    if files is None:
        raise ValueError("boxes are placed on the volume that read_series returned, not on a resampled one")
    z = boxes["slice_number"].map(files.z_of_number)
    known = z.notna().to_numpy()
    corner = boxes[["x", "y"]].to_numpy(np.float64)[known]
    size = boxes[["width", "height"]].to_numpy(np.float64)[known]
    if files.transposed:
        corner, size = corner[:, ::-1].copy(), size[:, ::-1].copy()
    shape = np.array(volume.hu.shape[:0:-1])  # (x, y)
    flipped = np.array([files.flipped_x, files.flipped_y])
    low = np.where(flipped, shape - corner - size, corner)
    high = np.clip(low + size, 0, shape)
    low = np.clip(low, 0, shape)
    visible = (high > low).all(axis=1)
    placed = pd.DataFrame(
        {
            "z": z[known].to_numpy(np.int64),
            "x": low[:, 0],
            "y": low[:, 1],
            "width": (high - low)[:, 0],
            "height": (high - low)[:, 1],
        }
    )[visible].reset_index(drop=True)
    left_out = {
        "on file numbers without a slice": int((~known).sum()),
        "beside the image": int((~visible).sum()),
    }
    placed.attrs["notes"] = [f"{count} boxes {where} left out" for where, count in left_out.items() if count]
    return placed
