"""Variations of the locator's volumes: windows of a scan, bent, cut and regrained until no habit of a scanner is left.

The model is SynthSeg (Billot et al., Medical Image Analysis 86, 2023, 102789): a network that has seen every contrast,
resolution and field of view on synthetic scans meets nothing new in a real one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cspine.competition.labels import LEVELS
from cspine.networks.locator import AIR_HU, grey_values
from cspine.settings.networks import LocatorSettings
from cspine.settings.training import VolumeAugmentSettings

ANYWHERE = 0.3
"""Share of the windows that lie anywhere in the scan; the others lie near a vertebra, most near a cervical one."""
REACH = 0.7
"""How far a window's centre lies at most from the vertebra near which it lies, as a share of half the window."""
KNOTS = 5
"""Of the grid of displacements that bends a window, a side."""
BONE_HU = 150.0
METAL_HU = 3000.0


@dataclass(frozen=True)
class LabelledVolume:
    """A scan at the locator's spacing with its label map.

    hu: int16 (z, y, x). labels: uint8 (z, y, x). centres: float64 (n, 4), rows label, z, y, x in voxels of each
    label that occurs.
    """

    hu: Tensor
    labels: Tensor
    centres: np.ndarray

    @classmethod
    def of(cls, hu: np.ndarray, labels: np.ndarray) -> "LabelledVolume":
        """Measure where the labels lie.

        Parameters
        ----------
        hu : ndarray of int16, shape (z, y, x)
            Hounsfield units.
        labels : ndarray of uint8, shape (z, y, x)
            Label map.

        Returns
        -------
        LabelledVolume
            With copies of the arrays.
        """
        index = np.argwhere(labels)
        found = labels[tuple(index.T)]
        rows = [[label, *index[found == label].mean(axis=0)] for label in np.unique(found)]
        return cls(
            torch.from_numpy(np.array(hu)), torch.from_numpy(np.array(labels)), np.array(rows).reshape(-1, 4)
        )


def vary_volume(
    volume: LabelledVolume,
    locator: LocatorSettings,
    augment: VolumeAugmentSettings,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Take a window of a scan and vary its geometry, its extent and its grey values.

    Parameters
    ----------
    volume : LabelledVolume
        The scan.
    locator : LocatorSettings
        Size and spacing of the window, and how Hounsfield units become grey values.
    augment : VolumeAugmentSettings
        How far it is varied.
    random : numpy.random.Generator
        Where the numbers come from.

    Returns
    -------
    image : Tensor of float32, shape (1, *window_vox)
        In [0, 1]; 0, which is air, outside of the scan.
    wanted : Tensor of int64, shape window_vox
        Its label map; 0 outside of the scan.
    """
    hu, wanted = _sample(volume, locator, augment, random)
    seen = _extent(locator, augment, random)
    hu = torch.where(seen, _regrain(hu, augment, random), torch.tensor(AIR_HU))
    return grey_values(hu, locator)[None] ** float(
        np.exp(random.uniform(-1, 1) * augment.gamma)
    ), wanted * seen


def _sample(
    volume: LabelledVolume,
    locator: LocatorSettings,
    augment: VolumeAugmentSettings,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """A turned, scaled and bent window: float32 HU and int64 labels (z, y, x)."""
    shape, window = np.array(volume.hu.shape), np.array(locator.window_vox)
    axes = random.uniform(-1, 1, 3) * np.radians(augment.turn_deg)
    scale = (1 + random.uniform(-1, 1) * augment.zoom) * (1 + random.uniform(-1, 1, 3) * augment.stretch)
    matrix = _turn(axes) / scale  # window's voxels from its centre -> scan's voxels
    matrix[:, 2] *= random.choice([-1, 1])  # nothing in a label map tells the sides
    centre = _centre(volume, locator, random)
    middle = (2 * centre + 1) / shape - 1  # of the window, in grid_sample's [-1, 1]
    theta = np.concatenate([matrix * window[None] / shape[:, None], middle[:, None]], axis=1)[::-1].copy()
    theta[:, :3] = theta[:, 2::-1]  # grid_sample speaks (x, y, z)
    grid = functional.affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *window], align_corners=False)
    bend = random.normal(0, augment.bend_mm / locator.spacing_mm, (1, 3, KNOTS, KNOTS, KNOTS)).astype(
        np.float32
    )
    bent = functional.interpolate(
        torch.from_numpy(bend), size=locator.window_vox, mode="trilinear", align_corners=True
    )
    grid = grid + bent.movedim(1, -1) * torch.tensor([2 / n for n in shape[::-1]], dtype=torch.float32)
    source = volume.hu[None, None].float() - AIR_HU
    image = functional.grid_sample(source, grid, mode="bilinear", align_corners=False)[0, 0] + AIR_HU
    labels = functional.grid_sample(
        volume.labels[None, None].float(), grid, mode="nearest", align_corners=False
    )
    return image, labels[0, 0].round().long()


def _turn(axes: np.ndarray) -> np.ndarray:
    """Rotation by angles (radians) about z, y and x, in (z, y, x)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(axes):
        one, other = (a for a in range(3) if a != axis)
        step = np.eye(3)
        step[[one, other], [one, other]] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ step
    return matrix


def _centre(volume: LabelledVolume, locator: LocatorSettings, random: np.random.Generator) -> np.ndarray:
    """Where a window lies, in voxels of the scan."""
    anywhere = random.uniform(0, np.array(volume.hu.shape) - 1)
    centres = volume.centres
    if not len(centres) or random.random() < ANYWHERE:
        return anywhere
    cervical = centres[centres[:, 0] <= len(LEVELS)]
    near = cervical if len(cervical) else centres
    row = near[int(random.integers(len(near)))]
    return row[1:] + random.uniform(-1, 1, 3) * REACH * np.array(locator.window_vox) / 2


def _extent(locator: LocatorSettings, augment: VolumeAugmentSettings, random: np.random.Generator) -> Tensor:
    """What of a window the scan shows: first and last slices may be missing, and what lies outside a round field."""
    size, mm = locator.window_vox, locator.spacing_mm
    seen = torch.ones(size, dtype=torch.bool)
    if random.random() < augment.cut:
        end = int(random.uniform(0.2, 0.9) * size[0])
        if random.random() < 0.6:
            seen[end:] = False
        else:
            seen[: size[0] - end] = False
    if random.random() < augment.field:
        y, x = (torch.arange(n) - (n - 1) / 2 - random.normal(0, 18 / mm) for n in size[1:])
        radius = random.uniform(45, 110) / mm
        inside = (
            (y.abs()[:, None] < radius) & (x.abs() < radius)
            if random.random() < 0.5
            else (y[:, None] ** 2 + x**2 < radius**2)
        )
        seen &= inside
    return seen


def _regrain(hu: Tensor, augment: VolumeAugmentSettings, random: np.random.Generator) -> Tensor:
    """Other contrast, resolution, noise and metal: float32 (z, y, x) HU."""
    bone = float(np.exp(random.uniform(-1.3, 1) * augment.contrast))
    soft = float(random.uniform(-1, 1) * 60 * augment.contrast)
    hu = torch.where(hu > BONE_HU, BONE_HU + (hu - BONE_HU) * bone, hu) + soft * (hu > -400)
    if random.random() < augment.metal:
        hu = _with_metal(hu, random)
    if random.random() < augment.blur:
        sigma = random.uniform(0, 1.1, 3) * [1.3, 0.8, 0.8]
        hu = _blurred(hu, sigma)
    elif random.random() < augment.blur / 2:
        hu = hu + random.uniform(0.2, 1.0) * (hu - _blurred(hu, np.array([0.7, 0.7, 0.7])))
    if random.random() < augment.blur / 2:
        hu = _thick(hu, int(random.integers(2, 4)))
    strength = augment.noise_hu * random.random() ** 2
    grain = torch.from_numpy(random.standard_normal(hu.shape, dtype=np.float32))
    if random.random() < 0.5:
        grain = 2.0 * _blurred(grain, np.array([0.4, 0.6, 0.6]))
    return hu + strength * grain


def _blurred(values: Tensor, sigma_vox: np.ndarray) -> Tensor:
    """Gaussian blur of (z, y, x) values along each axis."""
    at = torch.arange(-3, 4, dtype=torch.float32)
    for axis, sigma in enumerate(sigma_vox):
        if sigma < 0.15:
            continue
        kernel = torch.exp(-0.5 * (at / float(sigma)) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 7
        padding = [0, 0, 0]
        padding[axis] = 3
        edges = [0, 0, 0, 0, 0, 0]
        edges[2 * (2 - axis)] = edges[2 * (2 - axis) + 1] = 3
        padded = functional.pad(values[None, None], edges, mode="replicate")
        values = functional.conv3d(padded, (kernel / kernel.sum()).reshape(shape))[0, 0]
    return values


def _thick(values: Tensor, times: int) -> Tensor:
    """Slices that are so many times as thick, read between again."""
    pooled = functional.avg_pool3d(values[None, None], (times, 1, 1), ceil_mode=True)
    return functional.interpolate(pooled, size=values.shape, mode="trilinear", align_corners=False)[0, 0]


def _with_metal(hu: Tensor, random: np.random.Generator) -> Tensor:
    """A few pieces of metal, with streaks across their slices."""
    size = hu.shape
    z, y, x = (torch.arange(n, dtype=torch.float32) for n in size)
    for _ in range(int(random.integers(1, 4))):
        at = random.uniform(0.1, 0.9, 3) * size
        dz, dy, dx = ((a - float(c)) for a, c in zip((z, y, x), at, strict=True))
        angle = torch.atan2(dy[:, None], dx[None, :])
        distance = torch.sqrt(dy[:, None] ** 2 + dx[None, :] ** 2)
        rays = torch.cos(angle * int(random.integers(2, 9)) * 2 + float(random.uniform(0, 6.3)))
        rays = rays * torch.exp(-distance / float(random.uniform(8, 25)))
        reach = torch.exp(-((dz / float(random.uniform(1, 4))) ** 2))
        hu = hu + float(random.uniform(100, 900)) * reach[:, None, None] * rays
        radius = float(random.uniform(0.7, 2.5))
        ball = dz[:, None, None] ** 2 + (distance**2)[None] < radius**2
        hu = torch.where(ball, torch.tensor(METAL_HU), hu)
    return hu
