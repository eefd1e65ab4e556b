"""Variations of training samples, each drawn from a generator that depends on seed, epoch and study alone."""

import os
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks pypi.org for news
import albumentations as A
import cv2
import numpy as np

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
