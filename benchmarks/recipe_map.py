"""A fracture map: while the encoder learns it also tells where in the slice the fracture is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from recipe_peers import encoder_then_classifier, learnt_encoder
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from cspine.networks.classifier import SliceNet, encoder_input
from cspine.networks.precision import autocast
from cspine.preprocessing.boxes import BOX_AXES, LEVEL, Z
from cspine.preprocessing.column import Column
from cspine.preprocessing.stacks import MASK_THIS, Jitter, slice_positions, vertebra_stack
from cspine.settings.preprocessing import StackSettings
from cspine.storage import write_text
from cspine.training.augmentation import random_jitter
from cspine.training.classifier_stage import ClassifierStage
from cspine.training.datasets import Key, VertebraDataset
from cspine.training.encoder import mixed_with_others
from cspine.training.losses import slice_loss
from cspine.training.randomness import Stream, generator

POINTING = "pointing.json"
STRIDE, WIDTH = 8, 32
"""Pixels of the crop that a position of the map stands for, and features from which it is told."""
MAP_WEIGHT = 0.3
"""Of the map's loss beside the slices'."""
INSIDE_WEIGHT = 5.0
"""Of a position inside of a box: few are."""


class MapNet(SliceNet):
    """A `SliceNet` that gives each position of a map a logit too, from the encoder's last map and one on the way."""

    def __init__(self, stage: ClassifierStage):
        super().__init__(stage.preset.classifier, stage.preset.stacks.channels)
        kept = self.encoder.feature_info  # of every timm encoder that gives its maps
        self.index = [part["reduction"] for part in kept].index(STRIDE)
        self.near = nn.Conv2d(kept[self.index]["num_chs"], WIDTH, 1)
        self.far = nn.Conv2d(kept[-1]["num_chs"], WIDTH, 1)
        self.told = nn.Conv2d(WIDTH, 1, 1)
        nn.init.constant_(self.told.bias, -4.0)

    def with_map(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Slice logits (batch, slices) and the logits of their maps (batch, slices, y / 8, x / 8)."""
        last, (on_the_way,) = self.encoder.forward_intermediates(
            encoder_input(images, masks), indices=[self.index]
        )
        features = self.encoder.forward_head(last).float()
        with torch.autocast(features.device.type, enabled=False):
            far = functional.interpolate(self.far(last.float()), on_the_way.shape[-2:], mode="bilinear")
            told = self.told(functional.relu(self.near(on_the_way.float()) + far))
            logits = self.head(features).reshape(images.shape[:2])
        return logits, told.reshape(*images.shape[:2], *told.shape[-2:])

    def forward(self, images: Tensor, masks: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """As a `SliceNet`; in training as `with_map`."""
        return self.with_map(images, masks) if self.training else super().forward(images, masks)


def inside_boxes(column: Column, level: int, settings: StackSettings, jitter: Jitter) -> np.ndarray:
    """Say which pixels of a vertebra's crops lie in its boxes: bool (slices, y, x)."""
    boxes = column.boxes[column.boxes[:, LEVEL] == level + 1, Z:]
    origin, spacing = np.array(column.label_origin_mm)[BOX_AXES], np.array(column.label_spacing_mm)[BOX_AXES]
    positions = slice_positions(column.extents[level], settings, jitter)
    reach = abs(positions[-1] - positions[0]) / max(settings.slices - 1, 1) / 2 / spacing[0]
    painted = np.zeros_like(column.labels)
    for z, *corners in (boxes - origin) / spacing:
        top, left, bottom, right = (max(round(edge), 0) for edge in corners)
        low, high = max(round(z - reach), 0), max(round(z + reach), 0)
        painted[low : high + 1, top : bottom + 1, left : right + 1] = level + 1
    # of the image one plane is enough: the labels alone are looked at
    _, mask = vertebra_stack(replace(column, image=column.image[:1], labels=painted), level, settings, jitter)
    return mask == MASK_THIS


class BoxedVertebrae(VertebraDataset):
    """Vertebrae with the share of each position of their map that lies in a box; NaN where nobody drew any."""

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """As a `VertebraDataset`, with `map` float (slices, y / 8, x / 8)."""
        sample, (epoch, repeat, index) = super().__getitem__(key), key
        preset = self.studies.preset
        inside = torch.zeros(sample["masks"].shape)
        if index < len(self.fractured):
            number, level = self.fractured[index]
            column = self.studies.column(number)
            if (column.boxes[:, LEVEL] == level + 1).any():
                random = generator(preset.seed, Stream.VERTEBRA, epoch + 1, repeat, index)
                jitter = random_jitter(random, preset.augment) if epoch >= 0 else Jitter()
                inside = torch.from_numpy(inside_boxes(column, level, preset.stacks, jitter)).float()
            else:
                inside.fill_(torch.nan)
        return sample | {"map": functional.avg_pool2d(inside, STRIDE)}


def _map_loss(told: Tensor, share: Tensor) -> Tensor:
    """Log loss over the positions of maps that are known."""
    known = ~share.isnan()
    truth = share.masked_fill(~known, 0)
    weights = known * (1 + (INSIDE_WEIGHT - 1) * truth)
    losses = functional.binary_cross_entropy_with_logits(told, truth, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp_min(1)


def pooled(told: Tensor) -> Tensor:
    """Logits of slices (batch, slices) from those of their maps: any position is enough."""
    return told.flatten(2).logsumexp(dim=2)


def _loss(model: nn.Module, batch: dict[str, Tensor], mixup: float) -> Tensor:
    """The loss of slices, of their maps, and of slices as their maps tell them; each a mixture of two vertebrae's."""
    images, masks, share, other = mixed_with_others(batch, mixup)
    logits, told = model(images, masks)
    total = torch.zeros(())
    for part, which in ((share, slice(None)), (1 - share, other)):
        slices, truth = batch["slices"][which], batch["map"][which]
        from_map = slice_loss(pooled(told), slices) + _map_loss(told, truth)
        total = total + part * (slice_loss(logits, slices) + MAP_WEIGHT * from_map)
    return total


@torch.inference_mode()
def point(model: MapNet, judged: BoxedVertebrae, stage: ClassifierStage) -> dict[str, float]:
    """How often a map's largest value lies in a box, and how well slices are told apart.

    Returns
    -------
    dict of str to float
        `slices` with boxes, `hits` of them, `by_chance`: hits of a random pixel of the vertebra, `auc_head` and
        `auc_map`: of slices with boxes against those of whole vertebrae.
    """
    truth, by_head, by_map, hits, chance = [], [], [], [], []
    for number in range(len(judged)):
        sample = judged[-1, 0, number]
        if sample["map"].isnan().any():
            continue
        parts = [sample[name][None].to(stage.context.device) for name in ("images", "masks")]
        with autocast(stage.context.device):
            logits, told = (part.float().cpu() for part in model.with_map(*parts))
        fractured = number < len(judged.fractured)
        shown = sample["slices"] > 0.5
        counted = shown if fractured else torch.ones_like(shown)
        truth += shown[counted].tolist()
        by_head += logits[0][counted].tolist()
        by_map += pooled(told)[0][counted].tolist()
        if fractured:
            index, level = judged.fractured[number]
            column = judged.studies.column(index)
            inside = inside_boxes(column, level, judged.studies.preset.stacks, Jitter())
            large = functional.interpolate(told, inside.shape[1:], mode="bilinear")[0]
            for one in np.flatnonzero(shown.numpy() & inside.any(axis=(1, 2))):
                bone = sample["masks"][one].numpy() == MASK_THIS
                hits.append(bool(inside[one].flat[int(large[one].argmax())]))
                chance.append(float(inside[one][bone].mean()) if bone.any() else 0.0)
    return {
        "slices": len(hits),
        "hits": float(np.mean(hits)),
        "by_chance": float(np.mean(chance)),
        "auc_head": float(roc_auc_score(truth, by_head)),
        "auc_map": float(roc_auc_score(truth, by_map)),
    }


def fracture_map_logits(stage: ClassifierStage, fold: int) -> np.ndarray:
    """Train as the kit does, the encoder with a fracture map beside its slices; unless that is done.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies. What the map points at is written beside them.
    """
    folder = Path(stage.run) / "fracture-map" / f"fold{fold}"
    logits = encoder_then_classifier(stage, fold, folder, MapNet, BoxedVertebrae, _loss)
    if not (folder / POINTING).is_file():
        learnt = learnt_encoder(stage, folder, MapNet).to(stage.context.device).eval()
        told = point(learnt, BoxedVertebrae(stage.dataset(fold, held_out=True)), stage)
        write_text(folder / POINTING, json.dumps(told))
    return logits


def pointing(run: Path) -> dict[str, float]:
    """The mean over a training's folds of what `point` told of each."""
    told = [json.loads(path.read_text()) for path in sorted(run.glob(f"fracture-map/fold*/{POINTING}"))]
    return {name: float(np.mean([one[name] for one in told])) for name in told[0]}
