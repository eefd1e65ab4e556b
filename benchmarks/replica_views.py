"""Pictures of a replica's studies: planes through a scan as a reader sees them, findings with their outlines."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from replica.anatomy.build import NAMES, Anatomy
from replica.injuries.bones import Wound
from replica.injuries.mimics import Mimic
from replica.scanner.protocol import Protocol
from replica.scanner.scan import scan
from replica.study import Study

BONE, SOFT = (400, 2000), (50, 400)  # window level and width, HU
WINDOW_NAMES = {BONE: "bone L400 W2000", SOFT: "soft tissue L50 W400"}
CROP_MM, CROP_PX = 72.0, 288
SLAB_MM = 40.0  # above and below a level: more than half a crop
OUTLINE = (66, 135, 245)  # blue, green, red as cv2 orders them: orange, which no grey can be
HEAD_PX, FONT_SCALE, LABEL_GREY = 24, 0.5, (220, 220, 220)  # of a strip of text above a picture
MIDDLE = "C4"  # the level through which the sagittal and the coronal plane run
AIR_HU = -300
AXIAL_LEVELS = ("C1", "C2", "C3", "C5", "C7", "T1")


def around_level(protocol: Protocol, anatomy: Anatomy, level: str) -> Protocol:
    """The protocol with the slices around one level alone, where they are in the whole scan."""
    grid = protocol.grid
    step_mm, middle_mm = grid.spacing_mm[0], float(anatomy.poses[NAMES.index(level)].centre[0])
    first = max(0, int((grid.origin_mm[0] - middle_mm - SLAB_MM) / step_mm))
    last = min(grid.shape[0], int((grid.origin_mm[0] - middle_mm + SLAB_MM) / step_mm) + 1)
    top_mm = grid.origin_mm[0] - first * step_mm
    slab = replace(grid, shape=(last - first, *grid.shape[1:]), origin_mm=(top_mm, *grid.origin_mm[1:]))
    return replace(protocol, grid=slab)


def scanned(study: Study, rng: np.random.Generator) -> np.ndarray:
    """A study as its files show it: HU int16 (z, y, x), head to feet, with blur, noise and streaks."""
    stored = scan(study.hu, study.protocol, study.anatomy, rng)
    return np.stack([image.astype(np.int16) for image in stored]) + np.int16(study.protocol.intercept)


def grey(hu: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """HU through a window (level, width) as uint8."""
    level, width = window
    share = (hu.astype(np.float32) - (level - width / 2)) / width
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def square(image: np.ndarray, spacing_mm: Sequence[float], pixel_mm: float) -> np.ndarray:
    """Resize a plane (rows, columns) with its spacing so that its pixels are squares of `pixel_mm`."""
    rows, columns = (
        max(1, round(n * mm / pixel_mm)) for n, mm in zip(image.shape[:2], spacing_mm, strict=True)
    )
    smaller = rows * columns < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(image, (columns, rows), interpolation=how)


def framed(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The middle of a picture, or the picture in the middle of black, as rows x columns."""
    out = np.zeros((rows, columns, *image.shape[2:]), image.dtype)
    here, there = [], []
    for have, want in zip(image.shape[:2], (rows, columns), strict=True):
        size = min(have, want)
        here.append(slice((have - size) // 2, (have - size) // 2 + size))
        there.append(slice((want - size) // 2, (want - size) // 2 + size))
    out[tuple(there)] = image[tuple(here)]
    return out


def centred(image: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """A picture of a plane, moved so that the middle of the body is its middle; hu: the plane itself."""
    rows, columns = np.nonzero(hu > AIR_HU)
    half = [n // 2 for n in image.shape]
    return _around(image, (round(rows.mean()), round(columns.mean())), half) if len(rows) else image


def planes(study: Study, hu: np.ndarray) -> dict[str, tuple[np.ndarray, tuple[float, float]]]:
    """Sagittal and coronal plane through the column and an axial one a level: name -> HU, spacing in mm."""
    grid, (dz, dy, dx) = study.protocol.grid, study.protocol.grid.spacing_mm
    middle = study.anatomy.poses[NAMES.index(MIDDLE)].centre
    y = _index(hu, 1, (middle[1] - grid.origin_mm[1]) / dy)
    x = _index(hu, 2, (middle[2] - grid.origin_mm[2]) / dx)
    found = {"sagittal": (hu[:, :, x], (dz, dy)), "coronal": (hu[:, y, :], (dz, dx))}
    for level in AXIAL_LEVELS:
        height_mm = study.anatomy.poses[NAMES.index(level)].centre[0]
        found[level] = (hu[_index(hu, 0, (grid.origin_mm[0] - height_mm) / dz)], (dy, dx))
    return found


def plane_name(name: str) -> str:
    """What one of `planes` shows, for a reader: the plane and the level it runs through."""
    return f"axial {name}" if name in AXIAL_LEVELS else f"{name} {MIDDLE}"


def _index(hu: np.ndarray, axis: int, place: float) -> int:
    return int(np.clip(round(place), 0, hu.shape[axis] - 1))


def sheet(study: Study, hu: np.ndarray, window: tuple[int, int], side: int) -> np.ndarray:
    """All planes of a study on one scale, side x side, below their names: two rows of four, uint8."""
    found = planes(study, hu)
    pixel_mm = max(n * mm for n, mm in zip(hu.shape, study.protocol.grid.spacing_mm, strict=True)) / side
    tiles = [
        headed(framed(square(grey(plane, window), spacing, pixel_mm), side, side), plane_name(name))
        for name, (plane, spacing) in found.items()
    ]
    order = [0, 2, 3, 4, 1, 5, 6, 7]
    return np.vstack([np.hstack([tiles[i] for i in part]) for part in (order[:4], order[4:])])


def headed(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture below a strip of HEAD_PX with a text, small enough to fit: nothing is written over anatomy."""
    strip, font = np.zeros((HEAD_PX, *picture.shape[1:]), np.uint8), cv2.FONT_HERSHEY_SIMPLEX
    (wide, _), _ = cv2.getTextSize(text, font, FONT_SCALE, 1)
    scale = FONT_SCALE * min(1.0, (strip.shape[1] - 12) / max(wide, 1))
    strip = cv2.putText(strip, text, (6, HEAD_PX - 8), font, scale, LABEL_GREY, 1, cv2.LINE_AA)
    return np.vstack([strip, picture])


def finding(study: Study, hu: np.ndarray, found: Wound | Mimic) -> np.ndarray:
    """A fracture or a mimic of one, axial then sagittal, each plain and outlined, below its plane's name.

    Returns uint8 (HEAD_PX + CROP_PX, 4 * CROP_PX, 3).
    """
    mask = np.zeros(hu.shape, bool)
    mask[found.part] = found.region
    spacing, tiles = study.protocol.grid.spacing_mm, []
    at = [_through(mask, axis) for axis in range(3)]
    for plane, axis, shown in (("axial", 0, (1, 2)), ("sagittal", 2, (0, 1))):
        here = [spacing[dim] for dim in shown]
        centre = [at[dim] for dim in shown]
        plain = square(_cut_out(grey(hu.take(at[axis], axis), BONE), centre, here), here, CROP_MM / CROP_PX)
        inside = _cut_out(mask.take(at[axis], axis).astype(np.float32), centre, here)
        plain = cv2.cvtColor(framed(plain, CROP_PX, CROP_PX), cv2.COLOR_GRAY2BGR)
        inside = framed(square(inside, here, CROP_MM / CROP_PX), CROP_PX, CROP_PX)
        contours, _ = cv2.findContours(
            (inside > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        outlined = cv2.drawContours(plain.copy(), contours, -1, OUTLINE, 1, cv2.LINE_AA)
        tiles += [headed(plain, plane), headed(outlined, f"{plane}, outlined")]
    return np.hstack(tiles)


def _through(mask: np.ndarray, axis: int) -> int:
    """The plane nearest to a region's centre that holds much of it: between two breaks there may be none."""
    count = mask.sum(axis=tuple(dim for dim in range(3) if dim != axis))
    centre = (np.arange(len(count)) * count).sum() / count.sum()
    much = np.flatnonzero(count >= count.max() / 2)
    return int(much[np.abs(much - centre).argmin()])


def _cut_out(plane: np.ndarray, centre: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """CROP_MM around a voxel of a plane, black beyond its edge."""
    return _around(plane, centre, [int(np.ceil(CROP_MM / 2 / mm)) for mm in spacing_mm])


def _around(plane: np.ndarray, centre: Sequence[int], half: Sequence[int]) -> np.ndarray:
    """The 2 * half + 1 pixels around one of a plane."""
    wide = np.pad(plane, [(h, h) for h in half])
    return wide[tuple(slice(c, c + 2 * h + 1) for c, h in zip(centre, half, strict=True))]
