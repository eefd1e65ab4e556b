"""The cervical column: the C1-C7 box cut out of a scan, in grey values at the classifier's spacing.

Inside a column everything is measured in *column millimetres*: (z, y, x) from the centre of its first
voxel, z from head to feet. A position in mm divided by the spacing is a voxel index.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from cspine.competition.labels import LEVELS
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.preprocessing.boxes import BOX_AXES, Z
from cspine.preprocessing.resampling import resample_array, window
from cspine.preprocessing.verdict import WHOLE, Kind, Verdict
from cspine.settings.preprocessing import ColumnSettings

MIN_LEVEL_MM3 = 400.0
"""A smaller piece than this is noise of the locator, not a vertebra (a C3 measures some 10,000 mm3)."""


@dataclass(frozen=True)
class Extent:
    """Where one vertebra lies, in column millimetres."""

    top_mm: float
    bottom_mm: float
    centre_y_mm: float
    centre_x_mm: float


@dataclass(frozen=True)
class Column:
    """One study's cervical column.

    image: uint8 (z, y, x), HU through the fixed window of `ColumnSettings`.
    labels: uint8 (z, y, x), 0 background, 1-7 = C1-C7, 8 = thoracic, on its own coarser grid.
    label_origin_mm, label_spacing_mm: that grid in column millimetres, (z, y, x).
    extents: one `Extent` a level, C1 to C7.
    boxes: (n, 6) float64 rows level (1-7), z, top y, left x, bottom y, right x in column millimetres.
    verdict: whether the label map can be believed, and which levels it shows.
    start_mm: the column's first voxel in millimetres from the volume's first one, (z, y, x); not cached.
    """

    study: str
    image: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    label_origin_mm: tuple[float, float, float]
    label_spacing_mm: tuple[float, float, float]
    extents: tuple[Extent, ...]
    boxes: np.ndarray
    notes: tuple[str, ...] = ()
    verdict: Verdict = WHOLE
    start_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def arrays(self) -> dict[str, np.ndarray]:
        """Collect the arrays as a cache stores them.

        Returns
        -------
        dict of str to ndarray
            `image`, `labels` and `boxes`, as in the class.
        """
        return {"image": self.image, "labels": self.labels, "boxes": self.boxes}

    def meta(self) -> dict[str, Any]:
        """Describe everything but the arrays, ready for JSON.

        Returns
        -------
        dict
            `study`, `spacing_mm`, `label_origin_mm`, `label_spacing_mm`, `extents` (rows top, bottom, centre
            y, centre x), `notes` and `verdict`.
        """
        return {
            "study": self.study,
            "spacing_mm": list(self.spacing_mm),
            "label_origin_mm": list(self.label_origin_mm),
            "label_spacing_mm": list(self.label_spacing_mm),
            "extents": [[e.top_mm, e.bottom_mm, e.centre_y_mm, e.centre_x_mm] for e in self.extents],
            "notes": list(self.notes),
            "verdict": self.verdict.as_json(),
        }

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> "Column":
        """Make the column that `arrays` and `meta` describe.

        Parameters
        ----------
        arrays : dict of str to ndarray
            What `Column.arrays` gave: `image` and `labels`, each of a shape (z, y, x), `boxes` of shape (n,
            6).
        meta : dict
            What `Column.meta` gave; further keys are left alone.

        Returns
        -------
        Column
            The same column; its arrays are those handed in, not copies.
        """
        return cls(
            study=meta["study"],
            spacing_mm=tuple(meta["spacing_mm"]),
            label_origin_mm=tuple(meta["label_origin_mm"]),
            label_spacing_mm=tuple(meta["label_spacing_mm"]),
            extents=tuple(Extent(*row) for row in meta["extents"]),
            notes=tuple(meta["notes"]),
            verdict=Verdict.load(meta["verdict"]),
            image=arrays["image"],
            labels=arrays["labels"],
            boxes=arrays["boxes"],
        )


def locate_levels(
    labels: np.ndarray, spacing_mm: tuple[float, ...], study: str
) -> tuple[np.ndarray, list[str]]:
    """Measure where each of C1-C7 lies in a label map.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map, each level one component.
    spacing_mm : tuple of float
        Its voxel size (z, y, x).
    study : str
        The study's name, for messages.

    Returns
    -------
    rows : ndarray of float64, shape (7, 4)
        Top z, bottom z (outer faces of its voxels), centre y, centre x of each level, in mm from the centre
        of voxel (0, 0, 0).
    notes : list of str
        On levels that had to be placed from their neighbours, and on an order that is not from head to feet.

    Raises
    ------
    InputError
        If fewer than three levels are there.
    """
    rows = np.full((len(LEVELS), 4), np.nan)
    for number, bounds in enumerate(ndimage.find_objects(labels, max_label=len(LEVELS))):
        if bounds is None:
            continue
        first = [(side.start - 0.5) * step for side, step in zip(bounds, spacing_mm, strict=True)]
        last = [(side.stop - 0.5) * step for side, step in zip(bounds, spacing_mm, strict=True)]
        rows[number] = first[0], last[0], (first[1] + last[1]) / 2, (first[2] + last[2]) / 2
    found = np.flatnonzero(~np.isnan(rows[:, 0]))
    if len(found) < 3:
        raise InputError(
            f"study {study}: found {len(found)} cervical vertebrae, expected 7 (at least 3); "
            "the scan may not show the neck, or the locator needs more training"
        )
    notes = [
        f"{LEVELS[n]} not found, placed from its neighbours" for n in range(len(LEVELS)) if n not in found
    ]
    everyone = np.arange(len(LEVELS))
    for column in range(4):
        slope, start = np.polyfit(found, rows[found, column], 1)
        line = slope * everyone + start
        rest = np.interp(everyone, found, rows[found, column] - line[found])
        rows[:, column] = np.where(np.isnan(rows[:, column]), line + rest, rows[:, column])
    middles = rows[:, :2].mean(axis=1)
    if (np.diff(middles) <= 0).any():
        notes.append("levels do not follow each other from head to feet")
    return rows, notes


def without_specks(labels: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Take out of a label map the levels of which there is too little for a vertebra (`MIN_LEVEL_MM3`).

    One stray voxel in a shoulder would otherwise stretch the column to it.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.
    spacing_mm : tuple of float
        Its voxel size (z, y, x).

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        The label map with 0 for such levels; `labels` itself where there are none.
    """
    sizes_mm3 = np.bincount(labels.ravel(), minlength=len(LEVELS) + 1) * np.prod(spacing_mm)
    specks = [level for level in range(1, len(LEVELS) + 1) if 0 < sizes_mm3[level] < MIN_LEVEL_MM3]
    return np.where(np.isin(labels, specks), np.uint8(0), labels) if specks else labels


def cut_column(
    volume: Volume,
    labels: np.ndarray,
    label_affine: np.ndarray,
    settings: ColumnSettings,
    boxes: np.ndarray | None = None,
    verdict: Verdict = WHOLE,
) -> Column:
    """Cut the C1-C7 box out of a volume.

    Parameters
    ----------
    volume : Volume
        The scan.
    labels : ndarray of uint8, shape (z, y, x)
        Label map on a coarser grid of the same axes; 0 background, 1-7 = C1-C7, 8 = thoracic.
    label_affine : ndarray of float64, shape (4, 4)
        From the label map's (z, y, x) index to patient mm.
    settings : ColumnSettings
        Spacing, margins and window.
    boxes : ndarray of float64, shape (n, 6), optional
        Rows level, z, top y, left x, bottom y, right x in voxels of the volume; by default none.
    verdict : Verdict
        What is thought of the label map; a doubtful one becomes a note.

    Returns
    -------
    Column
        The C1-C7 box with its margins, as far as the scan reaches.

    Raises
    ------
    InputError
        If C1-C7 is not found, or the label map shows no neck.
    """
    if verdict.kind is Kind.NOT_A_NECK:
        raise InputError(
            f"study {volume.study}: not a neck: {'; '.join(verdict.reasons)}; the scan may show something else"
        )
    spacing = np.array(volume.spacing_mm)
    to_volume = np.linalg.inv(volume.affine) @ label_affine  # label index -> volume index
    label_spacing = np.diag(to_volume)[:3] * spacing
    label_start = to_volume[:3, 3] * spacing  # mm from the centre of the volume's first voxel
    labels = without_specks(labels, tuple(label_spacing))
    extents, notes = locate_levels(labels, tuple(label_spacing), volume.study)
    low, high = _outer_box(labels, label_spacing, extents, settings)
    top = np.array(volume.hu.shape) * spacing - spacing
    low = np.clip(low + label_start, 0, top)
    high = np.clip(high + label_start, 0, top)
    image = _sample(volume, low, high, np.array(settings.spacing_mm), settings)

    first = np.clip(np.floor((low - label_start) / label_spacing).astype(int), 0, None)
    last = np.ceil((high - label_start) / label_spacing).astype(int) + 1
    crop = labels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    shift = label_start - low
    extents = extents + np.array([shift[0], shift[0], shift[1], shift[2]])
    rows = np.zeros((0, 6)) if boxes is None else np.asarray(boxes, dtype=np.float64).reshape(-1, 6).copy()
    rows[:, Z:] = rows[:, Z:] * spacing[BOX_AXES] - low[BOX_AXES]
    return Column(
        study=volume.study,
        image=image,
        labels=np.ascontiguousarray(crop),
        spacing_mm=settings.spacing_mm,
        label_origin_mm=_zyx(first * label_spacing + shift),
        label_spacing_mm=_zyx(label_spacing),
        extents=tuple(Extent(*(float(v) for v in row)) for row in extents),
        boxes=rows,
        notes=(*volume.notes, *([verdict.note] if verdict.note else []), *notes),
        verdict=verdict,
        start_mm=_zyx(low),
    )


def _zyx(values: np.ndarray) -> tuple[float, float, float]:
    """Three numbers of an array as a tuple."""
    z, y, x = (float(value) for value in values)
    return z, y, x


def _outer_box(
    labels: np.ndarray, spacing: np.ndarray, extents: np.ndarray, settings: ColumnSettings
) -> tuple[np.ndarray, np.ndarray]:
    """The C1-C7 box with its margins, in mm of the label map: two corners (z, y, x)."""
    cervical = (labels >= 1) & (labels <= len(LEVELS))
    index = np.argwhere(cervical)
    low = np.minimum((index.min(axis=0) - 0.5) * spacing, extents[:, [0, 2, 3]].min(axis=0))
    high = np.maximum((index.max(axis=0) + 0.5) * spacing, extents[:, [1, 2, 3]].max(axis=0))
    margin = np.array(settings.margin_mm)
    return low - margin, high + margin


def _sample(
    volume: Volume, low: np.ndarray, high: np.ndarray, spacing_mm: np.ndarray, settings: ColumnSettings
) -> np.ndarray:
    """Grey values uint8 (z, y, x) at `spacing_mm` from corner `low` to corner `high` (mm in the volume)."""
    spacing = np.array(volume.spacing_mm)
    ratios = spacing_mm / spacing
    reach = np.ceil(ratios).astype(int) + 1  # a new voxel is averaged over this many old ones
    first = np.maximum(np.floor(low / spacing).astype(int) - reach, 0)
    last = np.minimum(np.ceil(high / spacing).astype(int) + 1 + reach, volume.hu.shape)
    part = volume.hu[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    size = np.floor((high - low) / spacing_mm + 1e-6).astype(int) + 1
    positions = [
        start / step - begin + np.arange(count) * ratio
        for start, step, begin, count, ratio in zip(low, spacing, first, size, ratios, strict=True)
    ]
    sampled = resample_array(part, positions, list(ratios))
    return window(sampled, settings.window_level_hu, settings.window_width_hu)
