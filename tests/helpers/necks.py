"""Small competitions of hand-made columns and volumes, with the smallest settings that learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from helpers.hand_made import column

from cspine.execution.store import StudyStore
from cspine.settings.networks import ClassifierSettings, LocatorSettings
from cspine.settings.preprocessing import StackSettings
from cspine.settings.presets import PRESETS
from cspine.settings.training import AugmentSettings, TrainSettings, VolumeAugmentSettings

DEMO = PRESETS["demo"]
CALM = AugmentSettings(shift_mm=1, stretch=0.05, rotate_deg=3, zoom=0.03, blur=0, noise=0, erase=0)
CLASSIFY = replace(
    DEMO,
    stacks=StackSettings(slices=5, neighbours=1, neighbour_mm=1.0, crop_mm=32.0, image_px=32),
    classifier=ClassifierSettings(
        encoder="test_resnet", pretrained=False, hidden=16, context_layers=1, dropout=0.0
    ),
    encoder_training=None,
    classifier_training=TrainSettings(
        epochs=4, batch_size=4, repeats=3, learning_rate=3e-3, ema_decay=0.9, evaluate_every=2
    ),
    augment=CALM,
)
STILL = VolumeAugmentSettings(
    turn_deg=4,
    zoom=0.05,
    stretch=0.02,
    bend_mm=0,
    cut=0,
    field=0,
    contrast=0,
    gamma=0,
    blur=0,
    noise_hu=20,
    metal=0,
)
LOCATE = replace(
    DEMO,
    locator_augment=STILL,
    locator=LocatorSettings(
        spacing_mm=4.0, channels=(8, 16, 32), stem_stride=1, window_vox=(40, 16, 16), pretrained=False
    ),
    locator_training=TrainSettings(
        epochs=18, batch_size=2, repeats=6, learning_rate=3e-2, ema_decay=0.9, evaluate_every=9
    ),
)


def uid(number: int) -> str:
    """A name for a study."""
    return f"1.2.826.0.1.3680043.{number}"


def columns(folder: Path, studies: int) -> tuple[StudyStore, dict[str, np.ndarray], dict[str, int]]:
    """A store of columns, their labels and three folds. Two of three studies have one or two broken levels."""
    store, truth, folds = StudyStore(folder, {"hand": "made"}), {}, {}
    for number in range(studies):
        random = np.random.default_rng(number)
        broken = tuple(int(n) for n in random.choice(np.arange(1, 8), number % 3, replace=False))
        one = column(broken, seed=number, study=uid(number))
        if not store.has(uid(number)):
            store.write(uid(number), one.arrays(), one.meta())
        levels = np.isin(np.arange(1, 8), broken).astype(float)
        truth[uid(number)] = np.append(levels, levels.max())
        folds[uid(number)] = number // 3 % 3
    return store, truth, folds


def volumes(folder: Path, studies: int, with_masks: int) -> tuple[StudyStore, dict[str, int]]:
    """A store of small volumes with seven blobs one under the other, growing towards the feet; two folds."""
    store, folds = StudyStore(folder, {"hand": "made"}), {}
    for number in range(studies):
        random = np.random.default_rng(100 + number)
        hu = random.normal(-900, 60, (40, 18, 18))
        labels = np.zeros(hu.shape, np.uint8)
        start, y, x = random.integers(3, 6), random.integers(5, 8), random.integers(5, 8)
        for level in range(1, 8):
            half = 2 + level // 3
            body = (
                slice(start, start + 4),
                slice(y - half + 2, y + half + 2),
                slice(x - half + 2, x + half + 2),
            )
            hu[body] = random.normal(260 * level - 500, 40, hu[body].shape)
            labels[body] = level
            start += 5
        arrays = {"volume": hu.astype(np.int16)} | ({"labels": labels} if number < with_masks else {})
        store.write(uid(number), arrays, {"affine": np.diag([-4.0, 4, 4, 1]).tolist()})
        folds[uid(number)] = number % 2
    return store, folds
