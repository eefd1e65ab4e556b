"""Vertebra stacks: what the classifier sees of a column, for training and inference alike."""

from dataclasses import dataclass

import cv2
import numpy as np

from cspine.competition.labels import LEVELS
from cspine.preprocessing.boxes import LEVEL, Z
from cspine.preprocessing.column import Column, Extent
from cspine.settings.preprocessing import StackSettings

MASK_THIS, MASK_OTHER = 255, 96
"""Grey values of the mask channel: the vertebra in question, and every other one."""

WARPED_TOGETHER = 4
"""Planes warped together as channels of one picture; OpenCV takes longer a plane for one alone or more than four."""


@dataclass(frozen=True)
class Jitter:
    """A displacement of the crop, so that the classifier does not rely on a perfect localisation.

    All of it is folded into the one resampling from the column to the crop: a second one would blur thin gaps.
    """

    z_mm: float = 0.0
    y_mm: float = 0.0
    x_mm: float = 0.0
    stretch: float = 1.0
    """Factor on the vertebra's height."""
    turn_deg: float = 0.0
    """Turn of the crop within the slice; positive turns the picture against the clock."""
    zoom: float = 1.0
    """How many times as large things appear."""
    mirrored: bool = False
    """Left and right exchanged."""


def middle_mm(extent: Extent) -> float:
    """Say where a vertebra's middle lies.

    Parameters
    ----------
    extent : Extent
        The vertebra's.

    Returns
    -------
    float
        Column millimetres from the head.
    """
    return (extent.top_mm + extent.bottom_mm) / 2


def slice_positions(extent: Extent, settings: StackSettings, jitter: Jitter = Jitter()) -> np.ndarray:  # noqa: B008
    """Say where a vertebra's slices lie.

    Parameters
    ----------
    extent : Extent
        The vertebra's.
    settings : StackSettings
        How many slices there are.
    jitter : Jitter
        A displacement, of which the part along z counts.

    Returns
    -------
    ndarray of float64, shape (slices,)
        Column millimetres, from head to feet.
    """
    middle = middle_mm(extent) + jitter.z_mm
    half = (extent.bottom_mm - extent.top_mm) / 2 * jitter.stretch
    steps = (np.arange(settings.slices) + 0.5) / settings.slices * 2 - 1
    return middle + half * steps


def vertebra_stack(
    column: Column,
    level: int,
    settings: StackSettings,
    jitter: Jitter = Jitter(),  # noqa: B008
) -> tuple[np.ndarray, np.ndarray]:
    """Sample one vertebra.

    Parameters
    ----------
    column : Column
        The study's column.
    level : int
        0-6 for C1-C7.
    settings : StackSettings
        How many slices are shown, and how.
    jitter : Jitter
        A displacement of the crop.

    Returns
    -------
    image : ndarray of uint8, shape (slices, y, x, 2 * neighbours + 1)
        What lies outside the column is black.
    mask : ndarray of uint8, shape (slices, y, x)
        `MASK_THIS` on the vertebra, `MASK_OTHER` on every other one, else 0.
    """
    images, masks = _blank(1, settings)
    _draw(images[0], masks[0], column, level, settings, jitter)
    return images[0], masks[0]


def _blank(vertebrae: int, settings: StackSettings) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for stacks, of which every slice's image will be drawn, and for their masks, which are 0."""
    shape = (vertebrae, settings.slices, settings.image_px, settings.image_px)
    return np.empty((*shape, 2 * settings.neighbours + 1), np.uint8), np.zeros(shape, np.uint8)


def _draw(
    image: np.ndarray, mask: np.ndarray, column: Column, level: int, settings: StackSettings, jitter: Jitter
) -> None:
    """Sample one vertebra into its arrays."""
    extent = column.extents[level]
    positions = slice_positions(extent, settings, jitter)
    centre = (extent.centre_y_mm + jitter.y_mm, extent.centre_x_mm + jitter.x_mm)
    steps = np.arange(-settings.neighbours, settings.neighbours + 1) * settings.neighbour_mm
    view = _View.of(column.image.shape[1:], column.spacing_mm[1:], (0.0, 0.0), centre, settings, jitter)
    label_view = _View.of(
        column.labels.shape[1:],
        column.label_spacing_mm[1:],
        column.label_origin_mm[1:],
        centre,
        settings,
        jitter,
    )
    paint = np.full(256, MASK_OTHER, np.uint8)
    paint[[0, level + 1]] = 0, MASK_THIS
    in_order = np.arange(len(steps)).repeat(2).tolist()
    for number, position in enumerate(positions):
        planes = [
            _plane(column.image, (position + step) / column.spacing_mm[0], view.part)
            for step in steps.tolist()
        ]
        parts = [
            view.warp(cv2.merge(planes[first : first + WARPED_TOGETHER]), cv2.INTER_LINEAR)
            for first in range(0, len(planes), WARPED_TOGETHER)
        ]
        cv2.mixChannels(parts, [image[number]], in_order)
        index = round((position - column.label_origin_mm[0]) / column.label_spacing_mm[0])
        if 0 <= index < len(column.labels):
            mask[number] = label_view.warp(
                cv2.LUT(column.labels[index][label_view.part], paint), cv2.INTER_NEAREST
            )


@dataclass(frozen=True)
class _View:
    """How a crop looks upon a plane: through the part of it that the crop reaches."""

    matrix: np.ndarray
    """From a pixel (x, y) of the crop to a pixel (x, y) of that part: float64 (2, 3)."""
    part: tuple[slice, slice]
    size: int

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        spacing_mm: tuple[float, ...],
        origin_mm: tuple[float, ...],
        centre_mm: tuple[float, float],
        settings: StackSettings,
        jitter: Jitter,
    ) -> "_View":
        """Look upon planes (y, x) of a shape, of which pixel (0, 0) lies at the origin."""
        size = settings.image_px
        pixel_mm = settings.crop_mm / size / jitter.zoom
        turn = np.radians(jitter.turn_deg)
        way = pixel_mm * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # of (x, y)
        if jitter.mirrored:
            way[:, 0] *= -1
        spacing = np.array(spacing_mm)[::-1]
        way /= spacing[:, None]
        middle = (np.array(centre_mm) - np.array(origin_mm))[::-1] / spacing
        start = middle - way @ np.full(2, (size - 1) / 2)
        corners = start[:, None] + way @ ((size - 1.0) * np.array([[0, 1, 0, 1], [0, 0, 1, 1]]))
        low = np.clip(np.floor(corners.min(axis=1)) - 1, 0, np.array(shape)[::-1] - 1).astype(int)
        high = np.clip(np.ceil(corners.max(axis=1)) + 2, low + 1, np.array(shape)[::-1]).astype(int)
        part = (slice(low[1], high[1]), slice(low[0], high[0]))
        return cls(np.column_stack([way, start - low]), part, size)

    def warp(self, plane: np.ndarray, interpolation: int) -> np.ndarray:
        """Cut and scale the square out of that part; black where it reaches over the edge."""
        return cv2.warpAffine(
            plane,
            self.matrix,
            (self.size, self.size),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )


def _plane(image: np.ndarray, z: float, part: tuple[slice, slice]) -> np.ndarray:
    """Part of the plane at a fractional z index, between the two next to it; black outside of the image."""
    if not -0.5 <= z <= len(image) - 0.5:
        return np.zeros_like(image[0][part])
    z = min(max(z, 0.0), len(image) - 1.0)
    below = int(z)
    rest = z - below
    first = image[below][part]
    if rest < 1e-3:
        return np.ascontiguousarray(first)
    second = image[min(below + 1, len(image) - 1)][part]
    return cv2.addWeighted(first, 1 - rest, second, rest, 0)


def slice_targets(
    column: Column,
    level: int,
    fractured: bool,
    settings: StackSettings,
    jitter: Jitter = Jitter(),  # noqa: B008
    dense: bool = False,
) -> np.ndarray:
    """Say which slices of a vertebra show its fracture.

    Parameters
    ----------
    column : Column
        The study's column.
    level : int
        0-6 for C1-C7.
    fractured : bool
        Whether the level is fractured.
    settings : StackSettings
        How many slices are shown.
    jitter : Jitter
        The displacement of the crop.
    dense : bool
        Whether a fractured level without boxes gets a guess: how much of the vertebra a slice shows.

    Returns
    -------
    ndarray of float32, shape (slices,)
        1 a box of this level lies within half a slice distance, 0 it does not or the level is whole. Fractured, but
        nobody drew boxes: NaN, or with `dense` the area of the vertebra's mask in the slice as a share of its largest.
    """
    if not fractured:
        return np.zeros(settings.slices, np.float32)
    heights = column.boxes[column.boxes[:, LEVEL] == level + 1, Z]
    positions = slice_positions(column.extents[level], settings, jitter)
    if not len(heights):
        return _shown(column, level, positions) if dense else np.full(settings.slices, np.nan, np.float32)
    reach = max(abs(positions[-1] - positions[0]) / max(settings.slices - 1, 1), column.spacing_mm[0]) / 2
    return (np.abs(positions[:, None] - heights[None]).min(axis=1) <= reach).astype(np.float32)


def _shown(column: Column, level: int, positions: np.ndarray) -> np.ndarray:
    """How much of a vertebra's mask slices show, as a share of the slice that shows most: float32 (slices,)."""
    areas = (column.labels == level + 1).sum(axis=(1, 2))
    index = np.rint((positions - column.label_origin_mm[0]) / column.label_spacing_mm[0]).astype(int)
    inside = (index >= 0) & (index < len(areas))
    shown = np.where(inside, areas[np.clip(index, 0, len(areas) - 1)], 0)
    return (shown / max(areas.max(), 1)).astype(np.float32)


def study_stacks(
    column: Column,
    settings: StackSettings,
    jitters: tuple[Jitter, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample all seven vertebrae of a study.

    Parameters
    ----------
    column : Column
        The study's column.
    settings : StackSettings
        How many slices of a vertebra are shown, and how.
    jitters : tuple of Jitter, optional
        Seven displacements, C1 to C7; by default none.

    Returns
    -------
    images : ndarray of uint8, shape (7, slices, y, x, 2 * neighbours + 1)
        As in `vertebra_stack`.
    masks : ndarray of uint8, shape (7, slices, y, x)
        As in `vertebra_stack`.
    """
    jitters = jitters or (Jitter(),) * len(LEVELS)
    images, masks = _blank(len(LEVELS), settings)
    for level, jitter in enumerate(jitters):
        _draw(images[level], masks[level], column, level, settings, jitter)
    return images, masks


def deciding_mm(column: Column, logits: np.ndarray, settings: StackSettings) -> np.ndarray:
    """Tell which slice of each level was rated highest.

    Parameters
    ----------
    column : Column
        The study's column.
    logits : ndarray of float, shape (7, slices)
        Its slice logits.
    settings : StackSettings
        How the slices were cut.

    Returns
    -------
    ndarray of float64, shape (7,)
        Column millimetres.
    """
    positions = [slice_positions(extent, settings) for extent in column.extents]
    return np.array([mm[int(np.argmax(row))] for mm, row in zip(positions, logits, strict=True)])
