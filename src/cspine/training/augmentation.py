"""Variations of training samples, each drawn from a generator that depends on seed, epoch and study alone."""

import os
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks pypi.org for news
import albumentations as A
import numpy as np

from cspine.preprocessing.stacks import Jitter
from cspine.settings.training import AugmentSettings

NOISE_LEVELS = 0.01, 0.05
"""Smallest and largest SD of the noise, as a share of the grey values' range."""
NOISE_SCALE = 0.5
"""The noise's grain is drawn at this share of the resolution: finer noise costs four times as long and is coarser
than a pixel in a scan, too."""


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
        At most half as far along z as along y and x; mirrored half of the time.
    """
    z, y, x = random.uniform(-settings.shift_mm, settings.shift_mm, 3)
    stretch, turn, zoom = random.uniform(-1, 1, 3) * (settings.stretch, settings.rotate_deg, settings.zoom)
    return Jitter(
        z_mm=z / 2,
        y_mm=y,
        x_mm=x,
        stretch=1 + stretch,
        turn_deg=turn,
        zoom=1 + zoom,
        mirrored=bool(random.random() < 0.5),
    )


class StackAugmentation:
    """albumentations on the grey values of a stack: noise of each slice's own, all else alike in every slice."""

    def __init__(self, settings: AugmentSettings):
        self.transform = A.Compose(
            [
                A.RandomBrightnessContrast(settings.brightness, settings.brightness, p=0.5),
                A.GaussianBlur(blur_limit=(3, 5), p=settings.blur),
                A.CoarseDropout(
                    num_holes_range=(1, 3),
                    hole_height_range=(0.05, 0.15),
                    hole_width_range=(0.05, 0.15),
                    p=settings.erase,
                ),
            ]
        )
        self.noise = settings.noise

    def __call__(self, images: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Vary the stacks of a study, in place.

        Parameters
        ----------
        images : ndarray of uint8, shape (vertebrae, slices, y, x, neighbours)
            Vertebra stacks.
        random : numpy.random.Generator
            Where the numbers come from; each vertebra draws its own.

        Returns
        -------
        ndarray of uint8
            The same array.
        """
        # set_random_seed would give every transform the same numbers: all that are rare would come together
        self.transform.set_random_state(random, Random(int(random.integers(2**31))))
        for image in images:
            varied = self.transform(images=image)["images"]
            if random.random() < self.noise:
                _add_grain(varied, random, image)
            elif not np.may_share_memory(varied, image):  # else nothing was drawn for it
                image[:] = varied
        return images


def _add_grain(stack: np.ndarray, random: np.random.Generator, out: np.ndarray) -> None:
    """Give a stack, uint8 (slices, y, x, neighbours), noise of one level, drawn anew for each slice."""
    level = random.uniform(*NOISE_LEVELS)
    grain = A.GaussNoise(std_range=(level, level), per_channel=True, noise_scale_factor=NOISE_SCALE, p=1.0)
    grain.set_random_state(random, Random(int(random.integers(2**31))))
    for picture, one in zip(out, stack, strict=True):
        picture[:] = grain(image=one)["image"]
