"""A scan in Hounsfield units with its geometry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SCAN_COLUMNS = (
    "z",
    "y",
    "x",
    "spacing_z_mm",
    "spacing_y_mm",
    "spacing_x_mm",
    "slices_read",
    "step_min_mm",
    "step_max_mm",
    "direction",
)
"""What an index tells of a scan as it was read."""


@dataclass(frozen=True)
class FileGrid:
    """How the pixels of the .dcm files became the voxels of a volume.

    transposed: the files' rows run along x; the flips come after that.
    flipped_y, flipped_x: the axis runs against the files' order.
    z_of_number: number in the file name -> z index, also for files whose position was taken twice.
    heights_mm: float64 (slices read,), where the slices truly lay along their normal, head to feet, before
    they were put on an even grid.
    """

    transposed: bool
    flipped_y: bool
    flipped_x: bool
    z_of_number: dict[int, int]
    heights_mm: np.ndarray


@dataclass(frozen=True, repr=False)
class Volume:
    """One CT series.

    hu: int16 (z, y, x), Hounsfield units; z runs from head to feet, y from front to back, x from the
    patient's right to the left, each as nearly as the acquisition's own axes allow.
    affine: float64 (4, 4), voxel (z, y, x, 1) -> patient position in mm, in the order (z, y, x) of DICOM's
    (x to the left, y to the back, z to the head; PS3.3 C.7.6.2.1.1) read backwards.
    file_numbers: int64 (z,), number in the name of the file that a slice came from, -1 for none.
    study: StudyInstanceUID or folder name.
    notes: everything that had to be mended or left out, one sentence each.
    files: how voxels lie in the files; None once the volume was resampled.
    """

    hu: np.ndarray
    affine: np.ndarray
    file_numbers: np.ndarray
    study: str
    notes: tuple[str, ...] = ()
    files: FileGrid | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between the centres of neighbouring voxels along (z, y, x)."""
        z_mm, y_mm, x_mm = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return z_mm, y_mm, x_mm

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Size of the imaged box along (z, y, x), outer face to outer face."""
        z_mm, y_mm, x_mm = (count * step for count, step in zip(self.hu.shape, self.spacing_mm, strict=True))
        return z_mm, y_mm, x_mm

    @property
    def direction(self) -> str:
        """`head-to-feet` or `feet-to-head`, the way in which file numbers rise; `unknown` without them."""
        numbers = self.file_numbers[self.file_numbers >= 0]
        if len(numbers) < 2 or numbers[0] == numbers[-1]:
            return "unknown"
        return "head-to-feet" if numbers[-1] > numbers[0] else "feet-to-head"

    def mm_of(self, index: np.ndarray) -> np.ndarray:
        """Patient position of voxels.

        Parameters
        ----------
        index : ndarray of numbers, shape (..., 3)
            Voxel indices (z, y, x), which may be fractional.

        Returns
        -------
        ndarray of float64, shape (..., 3)
            Positions (z, y, x) in mm.
        """
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def describe(self) -> dict[str, Any]:
        """What a cache keeps of a scan as it was read, ready for JSON; only before it is resampled.

        Returns
        -------
        dict of str to Any
            Size, spacing, direction and notes; `slice_heights_mm` holds the true positions of the slices along
            their normal, from head to feet.

        Raises
        ------
        ValueError
            If the scan was resampled.
        """
        if self.files is None:
            raise ValueError("a scan is described as read_series returned it, not once it was resampled")
        heights_mm = self.files.heights_mm
        steps_mm = np.abs(np.diff(heights_mm))
        return {
            "study": self.study,
            "direction": self.direction,
            "files": len(self.files.z_of_number) or len(self.hu),
            "scan_shape": list(self.hu.shape),
            "scan_spacing_mm": list(self.spacing_mm),
            "slices_read": len(heights_mm),
            "step_min_mm": round(float(steps_mm.min()), 4) if len(steps_mm) else None,
            "step_max_mm": round(float(steps_mm.max()), 4) if len(steps_mm) else None,
            "slice_heights_mm": [round(float(height), 4) for height in heights_mm],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.hu.shape))
        spacing = " x ".join(f"{step:.3f}" for step in self.spacing_mm)
        extent = " x ".join(f"{size:.0f}" for size in self.extent_mm)
        notes = f", {len(self.notes)} notes" if self.notes else ""
        return (
            f"Volume({self.study}: (z, y, x) {shape} of {spacing} mm, {extent} mm, {self.direction}{notes})"
        )


def scan_columns(description: Mapping[str, Any]) -> dict[str, Any]:
    """The `SCAN_COLUMNS` of an index.

    Parameters
    ----------
    description : mapping of str to Any
        What `Volume.describe` said.

    Returns
    -------
    dict of str to Any
        Column -> value.
    """
    spacing = (round(step, 5) for step in description["scan_spacing_mm"])
    further = (description[name] for name in SCAN_COLUMNS[6:])
    return dict(zip(SCAN_COLUMNS, (*description["scan_shape"], *spacing, *further), strict=True))
