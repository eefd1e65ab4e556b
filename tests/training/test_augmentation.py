import numpy as np
import torch

from cspine.settings.training import AugmentSettings
from cspine.training.augmentation import StackAugmentation, random_jitter, vary_volume
from cspine.training.datasets import EpochSampler

STILL = AugmentSettings(brightness=0, blur=0, noise=0, erase=0)


def test_every_slice_and_the_mask_move_together():
    """Each slice holds the same square; after the transform all slices and masks must still agree."""
    images = np.zeros((7, 5, 64, 64, 3), np.uint8)
    images[:, :, 20:40, 10:30] = 200
    masks = images[..., 0].copy()
    out, out_masks = StackAugmentation(STILL)(images, masks, np.random.default_rng([1]))
    assert out.shape == images.shape and out_masks.shape == masks.shape
    moved = 0
    for level in range(7):
        first = out[level, 0, :, :, 0] > 100
        for number in range(5):
            assert (((out[level, number] > 100) == first[..., None]).mean()) == 1
            same = (out_masks[level, number] > 100) == first
            assert same.mean() > 0.98  # nearest against linear at the edge
        moved += (first != (images[level, 0, :, :, 0] > 100)).any()
    assert moved >= 5  # each level draws its own transform


def test_same_key_same_sample():
    images = np.random.default_rng(0).integers(0, 255, (7, 3, 32, 32, 2), dtype=np.uint8)
    masks = images[..., 0].copy()
    augmentation = StackAugmentation(AugmentSettings())
    first = augmentation(images, masks, np.random.default_rng([5, 1]))
    augmentation(images, masks, np.random.default_rng([5, 2]))
    again = augmentation(images, masks, np.random.default_rng([5, 1]))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    one, other = (random_jitter(np.random.default_rng([3]), AugmentSettings()) for _ in range(2))
    assert one == other


def test_volume_and_labels_move_together():
    z, y, x = np.meshgrid(*(np.arange(n) for n in (30, 40, 36)), indexing="ij")
    labels = (((z - 15) / 8) ** 2 + ((y - 22) / 9) ** 2 + ((x - 18) / 6) ** 2 < 1).astype(np.uint8) * 3
    volume = torch.from_numpy(np.where(labels > 0, 0.8, -0.8).astype(np.float32))[None]
    agreements, shares = [], []
    for seed in range(8):
        image, found = vary_volume(
            volume, torch.from_numpy(labels), (32, 32, 32), np.random.default_rng([seed])
        )
        assert image.shape == (1, 32, 32, 32) and found.shape == (32, 32, 32)
        assert set(found.unique().tolist()) <= {0, 3}
        agreements.append(((image[0] > 0) == (found == 3)).float().mean().item())
        shares.append((found == 3).float().mean().item())
    assert min(agreements) > 0.97
    assert max(shares) > 0 and len(set(shares)) == 8  # eight different views


def test_volume_keeps_its_scale():
    """Without its random turn a voxel stays a voxel: the ball's size changes by the zoom alone."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (48, 32, 40)), indexing="ij")
    ball = ((z - 24) ** 2 + (y - 16) ** 2 + (x - 20) ** 2 < 49).astype(np.uint8)
    volume = torch.from_numpy(ball.astype(np.float32) * 2 - 1)[None]
    sizes = []
    for seed in range(20):
        _, found = vary_volume(volume, torch.from_numpy(ball), (40, 40, 40), np.random.default_rng([seed]))
        sizes.append(float(found.sum()) / ball.sum())
    assert 0.85**3 * 0.85 < np.median(sizes) < 1.15**3 * 1.15


def test_sampler_shares_an_epoch_between_ranks():
    whole = list(EpochSampler(10, 2, seed=3))
    assert len(whole) == 20 and len(set(whole)) == 20
    parts = [list(EpochSampler(10, 2, seed=3, rank=rank, world_size=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [7, 7, 7]
    assert set(sum(parts, [])) == set(whole)


def test_sampler_changes_with_the_epoch_and_resumes():
    sampler = EpochSampler(10, 1, seed=3)
    first = list(sampler)
    sampler.epoch = 1
    second = list(sampler)
    assert [key[2] for key in first] != [key[2] for key in second]
    sampler.skip = 4
    assert list(sampler) == second[4:]
