import numpy as np

from cspine.settings.training import AugmentSettings
from cspine.training.augmentation import StackAugmentation, random_jitter
from cspine.training.datasets import EpochSampler

NONE = AugmentSettings(shift_mm=0, stretch=0, rotate_deg=0, zoom=0, brightness=0, blur=0, noise=0, erase=0)


def grey(levels=7, value=120):
    return np.full((levels, 5, 32, 32, 3), value, np.uint8)


def test_brightness_is_that_of_the_whole_stack():
    out = StackAugmentation(AugmentSettings(brightness=0.3, blur=0, noise=0, erase=0))(
        grey(), np.random.default_rng([1])
    )
    values = [np.unique(stack) for stack in out]
    assert all(len(one) == 1 for one in values)
    assert len({int(one[0]) for one in values}) > 2  # each vertebra draws its own


def test_each_slice_and_neighbour_has_its_own_noise():
    augmentation = StackAugmentation(AugmentSettings(brightness=0, blur=0, noise=1, erase=0))
    stack = augmentation(grey(1), np.random.default_rng([1]))[0].astype(float) - 120
    planes = stack.transpose(0, 3, 1, 2).reshape(15, -1)
    assert 2 < stack.std() < 14
    alike = np.corrcoef(planes) - np.eye(15)
    assert np.abs(alike).max() < 0.25


def test_same_key_same_sample():
    images = np.random.default_rng(0).integers(0, 255, (7, 3, 32, 32, 2), dtype=np.uint8)
    augmentation = StackAugmentation(AugmentSettings(noise=0.5, blur=0.5, erase=0.5))
    first = augmentation(images, np.random.default_rng([5, 1]))
    augmentation(images, np.random.default_rng([5, 2]))
    assert (first == augmentation(images, np.random.default_rng([5, 1]))).all()
    one, other = (random_jitter(np.random.default_rng([3]), AugmentSettings()) for _ in range(2))
    assert one == other


def test_a_jitter_goes_as_far_as_its_settings():
    settings = AugmentSettings(shift_mm=6, stretch=0.1, rotate_deg=15, zoom=0.2)
    drawn = [random_jitter(np.random.default_rng([seed]), settings) for seed in range(300)]
    for name, low, high in [
        ("z_mm", -3, 3),
        ("y_mm", -6, 6),
        ("x_mm", -6, 6),
        ("stretch", 0.9, 1.1),
        ("turn_deg", -15, 15),
        ("zoom", 0.8, 1.2),
    ]:
        values = np.array([getattr(one, name) for one in drawn])
        reach = (high - low) / 2
        assert low <= values.min() < low + 0.1 * reach and high - 0.1 * reach < values.max() <= high
    assert 110 < sum(one.mirrored for one in drawn) < 190
    assert {one.turn_deg for one in (random_jitter(np.random.default_rng([k]), NONE) for k in range(3))} == {
        0.0
    }


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
