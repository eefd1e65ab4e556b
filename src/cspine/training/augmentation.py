"""Variations of training samples, each drawn from a generator that depends on seed, epoch and study alone."""

import os
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks pypi.org for news
import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cspine.preprocessing.stacks import Jitter
from cspine.settings.training import AugmentSettings


def random_jitter(random: np.random.Generator, settings: AugmentSettings) -> Jitter:
    """Draw a random displacement of a vertebra's crop.

    Parameters
    ----------
    random : numpy.random.Generator
        Where the numbers come from.
    settings : AugmentSettings
        How far it goes.

    Returns
    -------
    Jitter
        At most half as far along z as along y and x.
    """
    z, y, x = random.uniform(-settings.shift_mm, settings.shift_mm, 3)
    stretch = 1 + random.uniform(-settings.stretch, settings.stretch)
    return Jitter(z_mm=z / 2, y_mm=y, x_mm=x, stretch=stretch)


class StackAugmentation:
    """albumentations over a whole stack: every slice gets the same transform, the mask the same geometry."""

    def __init__(self, settings: AugmentSettings):
        self.transform = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Affine(
                    scale=(1 - settings.zoom, 1 + settings.zoom),
                    rotate=(-settings.rotate_deg, settings.rotate_deg),
                    border_mode=cv2.BORDER_CONSTANT,
                    p=0.8,
                ),
                A.RandomBrightnessContrast(settings.brightness, settings.brightness, p=0.5),
                A.GaussianBlur(blur_limit=(3, 5), p=settings.blur),
                A.GaussNoise(std_range=(0.01, 0.05), per_channel=True, p=settings.noise),
                A.CoarseDropout(
                    num_holes_range=(1, 3),
                    hole_height_range=(0.05, 0.15),
                    hole_width_range=(0.05, 0.15),
                    p=settings.erase,
                ),
            ]
        )

    def __call__(
        self, images: np.ndarray, masks: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vary the stacks of a study.

        Parameters
        ----------
        images : ndarray of uint8, shape (7, slices, y, x, neighbours)
            Vertebra stacks; of any number of vertebrae.
        masks : ndarray of uint8, shape (7, slices, y, x)
            Their masks.
        random : numpy.random.Generator
            Where the numbers come from; each vertebra draws its own transform.

        Returns
        -------
        images, masks : ndarray of uint8
            Of the same shapes.
        """
        # set_random_seed would give every transform the same numbers: all that are rare would come together
        self.transform.set_random_state(random, Random(int(random.integers(2**31))))
        pairs = [self.transform(images=image, masks=mask) for image, mask in zip(images, masks, strict=True)]
        return np.stack([pair["images"] for pair in pairs]), np.stack([pair["masks"] for pair in pairs])


def vary_volume(
    volume: Tensor,
    labels: Tensor,
    size: tuple[int, int, int],
    random: np.random.Generator,
    settings: AugmentSettings = AugmentSettings(),  # noqa: B008 (frozen)
) -> tuple[Tensor, Tensor]:
    """Cut a box of `size` voxels out of a randomly turned, scaled and shifted volume.

    No left-right flip is needed: nothing in a label map tells the sides.

    Parameters
    ----------
    volume : Tensor of float, shape (1, z, y, x)
        In [-1, 1].
    labels : Tensor of uint8, shape (z, y, x)
        Its label map.
    size : tuple of int
        The box (z, y, x).
    random : numpy.random.Generator
        Where the numbers come from.
    settings : AugmentSettings
        How far it is turned and scaled.

    Returns
    -------
    image : Tensor of float, shape (1, *size)
        In [-1, 1]; outside of the scan air, which is -1 before brightness and noise are varied.
    wanted : Tensor of int64, shape size
        Its label map; 0 outside of the scan.
    """
    shape = np.array(volume.shape[1:])
    target = np.array(size)
    tilt, turn = np.radians(random.uniform(-1, 1, 2) * settings.volume_turn_deg)
    around_x = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    around_y = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    zoom = 1 + random.uniform(-1, 1) * settings.volume_zoom
    matrix = around_x @ around_y / zoom  # (z, y, x) target voxels -> source voxels
    free = np.maximum(shape - target, 0.25 * target) / 2
    shift = random.uniform(-free, free)
    unit = matrix * target[None] / shape[:, None]  # the same in grid_sample's [-1, 1] coordinates
    theta = np.concatenate([unit, (2 * shift / shape)[:, None]], axis=1)[::-1].copy()
    theta[:, :3] = theta[:, 2::-1]  # grid_sample speaks (x, y, z)
    grid = functional.affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *size], align_corners=False)
    image = functional.grid_sample(volume[None] + 1, grid, mode="bilinear", align_corners=False)[0] - 1
    wanted = functional.grid_sample(labels[None, None].float(), grid, mode="nearest", align_corners=False)
    gain, level = random.uniform(0.9, 1.1), random.uniform(-0.05, 0.05)
    noise = torch.from_numpy(random.normal(0, random.uniform(0, 0.05), size).astype(np.float32))
    return (image * gain + level + noise).clamp_(-1, 1), wanted[0, 0].round().long()
