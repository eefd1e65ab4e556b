import numpy as np

from cspine.settings.training import AugmentSettings
from cspine.training.augmentation import StackAugmentation, random_jitter
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
