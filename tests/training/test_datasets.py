import cv2
import numpy as np
import torch
from helpers.necks import CLASSIFY, LOCATE, columns, uid, volumes

from cspine.preprocessing.column import Column
from cspine.preprocessing.stacks import study_stacks
from cspine.settings.training import AugmentSettings
from cspine.training.augmentation import StackAugmentation
from cspine.training.datasets import ColumnDataset, EpochSampler, LocatorDataset


def dataset(tmp_path, studies=6):
    store, truth, _ = columns(tmp_path / "columns", studies)
    return ColumnDataset(store, truth, CLASSIFY)


def test_a_sample_without_variation_is_what_inference_sees(tmp_path):
    data = dataset(tmp_path)
    sample = data[-1, 0, 4]
    images, masks = study_stacks(Column.load(*data.store.read(uid(4))), CLASSIFY.stacks)
    assert (sample["images"].numpy() == images).all() and (sample["masks"].numpy() == masks).all()
    assert sample["images"].shape == (7, 5, 32, 32, 3) and sample["images"].dtype == torch.uint8
    assert sample["masks"].shape == (7, 5, 32, 32) and sample["slices"].shape == (7, 5)
    assert int(sample["number"]) == 4


def test_labels_belong_to_the_study(tmp_path):
    data = dataset(tmp_path)
    for number in range(6):
        sample = data[0, 0, number]
        assert sample["truth"].tolist() == data.truth[number].tolist()
        shown = sample["slices"].max(dim=1).values  # our columns have boxes for every fracture
        assert shown.tolist() == sample["truth"][:7].tolist()
    assert sum(float(data.truth[number].sum()) for number in range(6)) > 4


def test_a_fracture_is_darker_in_the_slices_that_show_it(tmp_path):
    data = dataset(tmp_path)
    sample = data[-1, 0, 2]
    level = int(sample["truth"][:7].argmax())
    shown = sample["slices"][level] == 1
    whole = (sample["truth"][:7] == 0).nonzero()[0, 0]
    inside = sample["masks"] == 255
    dark = [(sample["images"][n, ..., 1][inside[n]] < 30).float().mean() for n in (level, int(whole))]
    assert shown.any() and dark[0] > 0.1 and dark[1] < 0.01


def test_a_sample_depends_on_its_key_alone(tmp_path):
    data = dataset(tmp_path)
    first = data[3, 1, 2]
    data[0, 0, 0]
    cv2.setNumThreads(1)
    again = dataset(tmp_path)[3, 1, 2]
    assert all(torch.equal(first[name], again[name]) for name in first)
    for other in ((4, 1, 2), (3, 0, 2)):
        assert not torch.equal(first["images"], data[other]["images"])


def test_worker_processes_make_the_same_batches(tmp_path):
    data = dataset(tmp_path)
    batches = []
    for workers in (0, 2):
        sampler = EpochSampler(len(data), 2, seed=9)
        sampler.epoch = 3
        batches.append(list(torch.utils.data.DataLoader(data, 4, sampler=sampler, num_workers=workers)))
    assert len(batches[0]) == len(batches[1]) == 3
    for one, other in zip(*batches, strict=True):
        assert all(torch.equal(one[name].nan_to_num(-1), other[name].nan_to_num(-1)) for name in one)


def test_augmentations_come_independently_of_each_other():
    """Were all drawn from one number, the rare ones would only ever come together with all others."""
    settings = AugmentSettings(blur=0, noise=0.5, erase=0, brightness=0.3)
    images = np.full((1, 2, 32, 32, 1), 120, np.uint8)
    augmentation, counts = StackAugmentation(settings), np.zeros((2, 2))
    for seed in range(200):
        stack = augmentation(images.copy(), np.random.default_rng([seed]))[0]
        noisy = stack.std() > 0
        brighter = abs(float(stack.mean()) - 120) > 1
        counts[int(noisy), int(brighter)] += 1
    assert counts.sum() == 200 and counts.min() > 25  # 50 each if independent


def test_the_locators_samples(tmp_path):
    store, _ = volumes(tmp_path / "volumes", 3, 3)
    data = LocatorDataset(store, store.uids(), LOCATE)
    sample = data[0, 0, 1]
    assert sample["volume"].shape == (1, 40, 16, 16) and sample["volume"].dtype == torch.float32
    assert sample["labels"].shape == (40, 16, 16) and sample["labels"].dtype == torch.int64
    assert set(sample["labels"].unique().tolist()) <= set(range(8))
    bone = sample["volume"][0] > 0.12
    assert ((sample["labels"] > 0) == bone).float().mean() > 0.9
    again = LocatorDataset(store, store.uids(), LOCATE)[0, 0, 1]
    assert torch.equal(sample["volume"], again["volume"])
    assert not torch.equal(sample["volume"], data[1, 0, 1]["volume"])


def test_a_short_share_is_filled_up_with_first_samples():
    parts = [list(EpochSampler(3, 1, seed=0, rank=rank, world_size=8)) for rank in range(8)]
    assert [len(part) for part in parts] == [1] * 8
    assert {key[2] for part in parts for key in part} == {0, 1, 2}
