"""Bone and noise as the scanner shows them: the wall of the bodies, their inside, discs, the grain of the noise."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from replica_views import around_level, scanned
from scipy import ndimage

from replica.anatomy.build import NAMES, Anatomy
from replica.anatomy.shapes import Grid
from replica.anatomy.vertebrae import BODY_MM
from replica.cohort.studies import make_cohort
from replica.scanner.protocol import Protocol
from replica.scanner.sites import SITES
from replica.settings import ReplicaSettings
from replica.study import Purpose, draw_protocol, paint

WALL_HU, WALL_RATIO, INSIDE_HU = (300, 700), (1.3, 2.1), (205, 530)
"""Of real scans without a bone kernel, C3-C4."""
DISC_RATIO = (4 / 15, 6 / 12)
"""Discs of 4 to 6 mm between bodies of 12 to 15 mm."""
NOISE_SD, NOISE_NEXT, NOISE_SECOND, NOISE_PER_MM = (20, 36), (0.33, 0.34), (-0.15, -0.14), (0.60, 0.67)
"""Of real bone kernels: SD in HU, autocorrelation at one and two pixels, mean frequency."""
SHARP_BOOST = 2.0
"""A kernel that lifts fine detail more than this is a bone kernel."""
PATCH_PX = 64


@dataclass(frozen=True)
class Wanted:
    """What is measured."""

    work: Path
    seed: int
    studies: int = 36
    size: float = 1.0


@dataclass(frozen=True)
class Scanned:
    """A slab around C4: HU and labels (z, y, x), and the noise alone."""

    hu: np.ndarray
    labels: np.ndarray
    noise: np.ndarray
    protocol: Protocol
    anatomy: Anatomy


def bone(wanted: Wanted) -> list[str]:
    """The section of the report, line by line."""
    settings = ReplicaSettings(out=wanted.work, train=wanted.studies, public=0, private=0, seed=wanted.seed,
                               size=wanted.size)  # fmt: skip
    cohort = make_cohort(settings)
    rows = {"wall": [], "inside": [], "disc": []}  # type: dict[str, list[float]]
    ratios: dict[str, list[float]] = {"bone kernels": [], "other kernels": []}
    walls: dict[str, list[float]] = {"bone kernels": [], "other kernels": []}
    noises: list[tuple[float, float, float, float]] = []
    for _, row in cohort[cohort["oddity"] == ""].iterrows():
        slab = scan_slab(settings, row)
        kernel = "bone kernels" if SITES[int(row["site"])].kernel.boost > SHARP_BOOST else "other kernels"
        wall, inside = profile(slab)
        rows["wall"].append(wall)
        rows["inside"].append(inside)
        rows["disc"] += discs(slab)
        walls[kernel].append(wall)
        ratios[kernel].append(wall / inside)
        if kernel == "bone kernels":
            noises.append(grain(slab))
    lines = [
        f"{len(rows['wall'])} whole studies of the published cohort at size {wanted.size:g}, C4, as the files "
        "show them. The wall is the highest value across the bodies' front, the inside the median of its middle.",
        "",
        "| quantity | measured on real scans | replica, median | 5 % to 95 % |",
        "|---|---|---|---|",
    ]
    for kernel in ("other kernels", "bone kernels"):
        known = kernel == "other kernels"
        lines += [
            _line(f"anterior wall, HU, {kernel}", WALL_HU if known else None, walls[kernel]),
            _line(f"wall against inside, {kernel}", WALL_RATIO if known else None, ratios[kernel], 2),
        ]
    sd, next_, second, per_mm = (list(column) for column in zip(*noises, strict=True))
    return lines + [
        _line("inside of the bodies, HU", INSIDE_HU, rows["inside"]),
        _line("disc against body, height", DISC_RATIO, rows["disc"], 2),
        _line("noise of bone kernels, SD in HU", NOISE_SD, sd),
        _line("its autocorrelation at one pixel", NOISE_NEXT, next_, 2),
        _line("at two pixels", NOISE_SECOND, second, 2),
        _line("its mean frequency, 1/mm", NOISE_PER_MM, per_mm, 2),
    ]


def _line(what: str, real: tuple[float, float] | None, ours: list[float], digits: int = 0) -> str:
    low, middle, high = np.percentile(ours, (5, 50, 95))
    known = "" if real is None else f"{real[0]:.{digits}f} to {real[1]:.{digits}f}"
    return f"| {what} | {known} | {middle:.{digits}f} | {low:.{digits}f} to {high:.{digits}f} |"


def scan_slab(settings: ReplicaSettings, row) -> Scanned:  # noqa: ANN001 (a row of the cohort)
    """Paint one patient around C4, and scan twice: what differs is noise."""
    anatomy, protocol = draw_protocol(row, settings)
    slab = around_level(protocol, anatomy, "C4")
    study = paint(anatomy, slab, {}, {})
    index = int(row["index"])
    one, other = (
        scanned(study, np.random.default_rng([index, n, Purpose.SCAN])).astype(np.float32) for n in range(2)
    )
    return Scanned(one, study.labels, (one - other) / np.float32(np.sqrt(2)), slab, anatomy)


def _at(values: np.ndarray, grid: Grid, points_mm: np.ndarray, order: int = 1) -> np.ndarray:
    """Values at points (n, 3) in mm (z, y, x) of the patient."""
    origin, spacing = np.array(grid.origin_mm), np.array(grid.spacing_mm)
    index = (points_mm - origin) * np.array([-1, 1, 1]) / spacing
    return ndimage.map_coordinates(values, index.T, order=order, mode="nearest")


def profile(slab: Scanned) -> tuple[float, float]:
    """Median over lines from front to back through C4: the wall's peak, and the inside."""
    pose = slab.anatomy.poses[NAMES.index("C4")]
    depth = BODY_MM["C4"][0] * slab.anatomy.scale
    along = np.arange(-0.5 * depth - 4, 5.0, 0.2)
    walls, insides = [], []
    for u in (-3.0, 0.0, 3.0):
        for w in (-4.0, -2.0, 0.0, 2.0, 4.0):
            points = pose.centre + u * pose.turn[0] + w * pose.turn[2] + along[:, None] * pose.turn[1]
            hu = _at(slab.hu, slab.protocol.grid, points)
            walls.append(hu[along < -0.25 * depth].max())
            insides.append(np.median(hu[along > -0.2 * depth]))
    return float(np.median(walls)), float(np.median(insides))


def discs(slab: Scanned) -> list[float]:
    """Height of the discs around C4 against that of its body, along the line through the bodies' middles."""
    found = []
    for upper, lower in (("C3", "C4"), ("C4", "C5")):
        first, last = (slab.anatomy.poses[NAMES.index(name)].centre for name in (upper, lower))
        way = last - first
        length = float(np.linalg.norm(way))
        steps = np.arange(-12.0, length + 12.0, 0.1)
        points = first + steps[:, None] * way / length
        labels = _at(slab.labels, slab.protocol.grid, points, order=0)
        between = (steps > 0) & (steps < length)
        gap = 0.1 * float((labels[between] == 0).sum())
        body = 0.1 * float((labels == NAMES.index("C4") + 1).sum())
        if body > 5:
            found.append(gap / body)
    return found


def grain(slab: Scanned) -> tuple[float, float, float, float]:
    """SD, autocorrelation at one and two pixels, and mean frequency (1/mm) of the noise around C4."""
    grid, pose = slab.protocol.grid, slab.anatomy.poses[NAMES.index("C4")]
    spacing = grid.spacing_mm[1]
    middle = [round((pose.centre[axis] - grid.origin_mm[axis]) / spacing) for axis in (1, 2)]
    half = PATCH_PX // 2
    part = tuple(slice(max(at - half, 0), max(at - half, 0) + PATCH_PX) for at in middle)
    patches = slab.noise[(slice(None), *part)]
    patches = patches - patches.mean(axis=(1, 2), keepdims=True)
    variance = float((patches**2).mean())

    def shifted(by: int) -> float:
        across = float((patches[:, :, by:] * patches[:, :, :-by]).mean())
        down = float((patches[:, by:] * patches[:, :-by]).mean())
        return (across + down) / 2 / variance

    power = (np.abs(np.fft.fft2(patches)) ** 2).mean(axis=0)
    fy, fx = (np.fft.fftfreq(n, spacing) for n in patches.shape[1:])
    frequency = np.hypot(fy[:, None], fx)
    return float(np.sqrt(variance)), shifted(1), shifted(2), float((power * frequency).sum() / power.sum())
