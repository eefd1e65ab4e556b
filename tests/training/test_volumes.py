"""Windows for the locator: image and labels move together, and nothing is drawn from anything but the key."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.necks import STILL
from scipy import ndimage

from cspine.settings.networks import LocatorSettings
from cspine.settings.training import VolumeAugmentSettings
from cspine.training.volumes import LabelledVolume, vary_volume

LOCATOR = LocatorSettings(spacing_mm=3.0, window_vox=(40, 32, 32), pretrained=False)
NONE = VolumeAugmentSettings(
    turn_deg=0,
    zoom=0,
    stretch=0,
    bend_mm=0,
    cut=0,
    field=0,
    contrast=0,
    gamma=0,
    blur=0,
    noise_hu=0,
    metal=0,
)


def ball(shape=(60, 50, 54), label=3, radius=8) -> LabelledVolume:
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")
    labels = (z**2 + y**2 + x**2 < radius**2).astype(np.uint8) * label
    return LabelledVolume.of(np.where(labels > 0, 1000, -1000).astype(np.int16), labels)


def views(volume, augment, seeds=12):
    return [vary_volume(volume, LOCATOR, augment, np.random.default_rng([seed])) for seed in range(seeds)]


@pytest.mark.parametrize(
    "augment",
    [
        NONE,
        STILL,
        replace(VolumeAugmentSettings(), contrast=0, gamma=0, noise_hu=0, metal=0, blur=0, cut=0, field=0),
    ],
    ids=["nothing", "little", "geometry"],
)
def test_image_and_labels_move_together(augment):
    seen = set()
    for image, wanted in views(ball(), augment):
        assert image.shape == (1, 40, 32, 32) and wanted.shape == (40, 32, 32)
        assert image.dtype == torch.float32 and wanted.dtype == torch.int64
        assert set(wanted.unique().tolist()) <= {0, 3}
        assert ((image[0] > 0.4) == (wanted == 3)).float().mean() > 0.985
        seen.add((wanted == 3).numpy().tobytes())
    assert len(seen) > 6


def test_a_voxel_stays_a_voxel():
    volume = ball()
    whole = int((volume.labels > 0).sum())
    sizes = [int((wanted > 0).sum()) for _, wanted in views(volume, NONE, 40)]
    assert abs(max(sizes) - whole) < 0.02 * whole


def test_what_is_cut_off_is_air_without_a_label():
    augment = replace(NONE, cut=1.0, field=1.0)
    filled = LabelledVolume.of(np.full((80, 70, 70), 300, np.int16), np.full((80, 70, 70), 8, np.uint8))
    cuts = 0
    for image, wanted in views(filled, augment):
        assert not wanted[image[0] == 0].any()
        mixed = (wanted == 0) & (image[0] > 0)  # one layer at the face of a scan that ends within the window
        assert not ndimage.binary_erosion(mixed.numpy(), iterations=1).any()
        cuts += bool((wanted[0] == 0).all() or (wanted[-1] == 0).all())
    assert cuts == 12


def test_grey_values_change_and_stay_within_their_range():
    plain, varied = (
        views(ball(), NONE),
        views(ball(), replace(NONE, contrast=0.5, gamma=0.3, blur=1, noise_hu=120, metal=1)),
    )
    for (one, labels), (other, same) in zip(plain, varied, strict=True):
        assert other.min() >= 0 and other.max() <= 1 and torch.isfinite(other).all()
        if labels.any() and same.any():
            assert not torch.equal(one, other)


def test_the_same_numbers_give_the_same_window():
    first, again = (views(ball(), VolumeAugmentSettings(), 4) for _ in range(2))
    for (image, labels), (same, as_well) in zip(first, again, strict=True):
        assert torch.equal(image, same) and torch.equal(labels, as_well)


def test_both_sides_are_seen():
    """Left and right are alike in a label map, so a window may be mirrored."""
    volume = ball()
    volume.hu[:, :, 40:] = 300
    right = [
        bool(image[0, 20, 16, 24:].mean() > image[0, 20, 16, :8].mean())
        for image, _ in views(volume, NONE, 30)
    ]
    assert 5 < sum(right) < 25


def test_a_scan_without_a_vertebra():
    nothing = LabelledVolume.of(np.full((30, 20, 20), 40, np.int16), np.zeros((30, 20, 20), np.uint8))
    assert nothing.centres.shape == (0, 4)
    for image, wanted in views(nothing, VolumeAugmentSettings(), 4):
        assert not wanted.any() and image.shape == (1, 40, 32, 32)
