"""Recipes of others, in this kit's own words: trainings that are no variant of the kit's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional

from cspine.competition.labels import LEVELS
from cspine.networks.checkpoints import load_weights
from cspine.networks.classifier import Classifier, SliceNet, encoder_input
from cspine.networks.precision import autocast
from cspine.settings.layout import CLASSIFIER, ENCODER, MODEL
from cspine.settings.training import TrainSettings
from cspine.training.classifier_stage import ClassifierStage
from cspine.training.classify import classifier_loss, judge_studies, make_classifier, predict
from cspine.training.datasets import ColumnDataset, VertebraDataset
from cspine.training.encoder import fractures_are_rarer, judge_slices, mixed_with_others, pretrain_encoder
from cspine.training.losses import competition_loss, slice_loss
from cspine.training.trainer import FoldTraining, train_network

MADE_BY = "make bench-recipe"
LOGITS = "logits.npy"
HEADS = 3
"""Trainings of the head alone, whose logits are averaged."""
PASSES = 20
"""Through the kept views, of each of them."""

MASK_STRIDE = 8
"""Of the encoder's map from which the mask is told."""
MASK_WEIGHT = 0.3
"""Of the mask's loss beside the slices'."""

Peer = Callable[[ClassifierStage, int], np.ndarray]
"""Trains a fold, unless that is done; gives the held-out studies' logits, float64 (studies, 8)."""


def train_part(
    stage: ClassifierStage, fold: int, training: TrainSettings | None, *, folder: Path, **parts: Any
) -> None:
    """Train a network of a fold, unless that is done; parts: what else a `FoldTraining` is given."""
    assert training is not None
    description = {"kind": str(folder.relative_to(stage.run)), "fold": fold, "seed": stage.preset.seed}
    what = FoldTraining(folder=folder, description=description, made_by=MADE_BY, **parts)
    train_network(what, training, stage.preset.fold_seed(fold), stage.context)


def classifier_logits(
    stage: ClassifierStage, fold: int, folder: Path, make: Callable[[], Classifier]
) -> np.ndarray:
    """Train a classifier that starts as `make` makes it; the held-out studies' logits, kept: float64 (studies, 8)."""
    learn, held_out = (stage.dataset(fold, held_out=side) for side in (False, True))
    train_part(
        stage,
        fold,
        stage.preset.classifier_training,
        name=f"classifier {fold}",
        folder=folder / CLASSIFIER,
        make_model=make,
        dataset=learn,
        loss=lambda model, batch: classifier_loss(model, batch, stage.preset.slice_loss),
        evaluate=lambda model: judge_studies(model, held_out, stage),
    )
    trained = make()
    load_weights(folder / CLASSIFIER / MODEL, trained, MADE_BY)
    logits, _ = predict(trained.to(stage.context.device).eval(), held_out, stage)
    np.save(folder / LOGITS, logits)
    return logits


def encoder_then_classifier(
    stage: ClassifierStage,
    fold: int,
    folder: Path,
    net: type[SliceNet],
    vertebrae: type[VertebraDataset],
    loss: Callable[[nn.Module, dict[str, Tensor], float], Tensor],
    classifier: type[Classifier] = Classifier,
) -> np.ndarray:
    """Train as the kit does, in two steps, with an encoder that learns from a loss of its own; unless that is done.

    net: made of the stage. loss: of the net, a batch and mixup's parameter.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies.
    """
    if (folder / LOGITS).is_file():
        return np.load(folder / LOGITS, allow_pickle=False)
    preset = stage.preset
    learn, judged = (vertebrae(stage.dataset(fold, held_out=side)) for side in (False, True))
    train_part(
        stage,
        fold,
        preset.encoder_training,
        name=f"encoder {fold}",
        folder=folder / ENCODER,
        make_model=lambda: net(stage),
        dataset=learn,
        loss=lambda model, batch: loss(model, batch, preset.mixup),
        evaluate=lambda model: judge_slices(model, judged, stage),
    )

    def make() -> Classifier:
        made = classifier(preset.classifier, preset.stacks.channels)
        made.load_pretrained(learnt_encoder(stage, folder, net), fractures_are_rarer(preset))
        return made

    return classifier_logits(stage, fold, folder, make)


def learnt_encoder(stage: ClassifierStage, folder: Path, net: type[SliceNet]) -> SliceNet:
    """The first of the two networks of `encoder_then_classifier`, as it was trained."""
    model = net(stage)
    load_weights(folder / ENCODER / MODEL, model, MADE_BY)
    return model


class KeepsNorm(Classifier):
    """A classifier whose batch norm keeps the figures that the encoder learnt on vertebrae of many patients."""

    def train(self, mode: bool = True) -> "KeepsNorm":
        """Switch between training and evaluation, but for the encoder's batch norm."""
        super().train(mode)
        for part in self.encoder.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self


def kept_norm_logits(stage: ClassifierStage, fold: int) -> np.ndarray:
    """Train as the kit does, but for a `KeepsNorm`, unless that is done.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies.
    """
    folder = Path(stage.run) / "kept-norm" / f"fold{fold}"
    if (folder / LOGITS).is_file():
        return np.load(folder / LOGITS, allow_pickle=False)
    pretrain_encoder(stage, fold, *(stage.dataset(fold, held_out=side) for side in (False, True)))

    def make() -> Classifier:
        made = KeepsNorm(replace(stage.preset.classifier, pretrained=False), stage.preset.stacks.channels)
        made.load_state_dict(make_classifier(stage, fold).state_dict())
        return made

    return classifier_logits(stage, fold, folder, make)


class CubeNet(nn.Module):
    """A 3D CNN on a vertebra's cube, image and mask, pooled to one logit (4th place of the competition, in small)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)):
        super().__init__()
        layers, before = [], 2
        for number, width in enumerate(widths):
            stride = (1, 2, 2) if number == 0 else 2
            layers += [*_block(before, width, stride), *_block(width, width, 1)]
            before = width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(before, 1)
        nn.init.constant_(self.head.bias, -1.0)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Logits (n,) of cubes: uint8 (n, slices, y, x, neighbours), of which the middle is used, and their masks."""
        middle = images[..., images.shape[-1] // 2]
        cubes = torch.stack([middle, masks], dim=1).float() / 255
        return self.head(self.body(cubes).amax(dim=(2, 3, 4)))[:, 0]


def _block(before: int, width: int, stride: int | tuple[int, ...]) -> list[nn.Module]:
    return [nn.Conv3d(before, width, 3, stride, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU()]


def _cube_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Log loss of vertebrae, the fractured ones twice."""
    truth = (batch["slices"].amax(dim=1) > 0).float()
    return functional.binary_cross_entropy_with_logits(
        model(batch["images"], batch["masks"]), truth, weight=1 + truth
    )


def cube_logits(stage: ClassifierStage, fold: int) -> np.ndarray:
    """Train a `CubeNet` on single vertebrae, unless that is done.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies; the patient's is the largest of the levels'.
    """
    folder = Path(stage.run) / "cube" / f"fold{fold}"
    held_out = stage.dataset(fold, held_out=True)
    if (folder / LOGITS).is_file():
        return np.load(folder / LOGITS, allow_pickle=False)
    train_part(
        stage,
        fold,
        stage.preset.encoder_training,
        name=f"cube {fold}",
        folder=folder,
        make_model=CubeNet,
        dataset=VertebraDataset(stage.dataset(fold, held_out=False)),
        loss=_cube_loss,
        evaluate=lambda model: {"score": 0.0},  # judged by the benchmark, not here
        volumes=True,
    )
    model = CubeNet()
    load_weights(folder / MODEL, model, MADE_BY)
    model.to(stage.context.device).eval()
    logits = np.zeros((len(held_out), len(LEVELS) + 1))
    with torch.inference_mode(), autocast(stage.context.device, volumes=True):
        for number in range(len(held_out)):
            sample = held_out[-1, 0, number]
            views = [(sample["images"], sample["masks"])]
            if stage.preset.mirrored_too:
                views.append((sample["images"].flip(-2), sample["masks"].flip(-1)))
            seen = [model(*(part.to(stage.context.device) for part in view)).float().cpu() for view in views]
            logits[number, :-1] = torch.stack(seen).mean(dim=0).numpy()
    logits[:, -1] = logits[:, :-1].max(axis=1)
    np.save(folder / LOGITS, logits)
    return logits


def head_alone_logits(stage: ClassifierStage, fold: int) -> np.ndarray:
    """Train sequence and head on features that the encoder of `pretrain_encoder` gives and that are kept.

    As the 3rd, 5th and 6th places did. The encoder is shown as many varied views of the studies as a training end to
    end, and the head goes through these many times, which costs next to nothing.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies: the mean of `HEADS` trainings.
    """
    folder = Path(stage.run) / "head-alone" / f"fold{fold}"
    if (folder / LOGITS).is_file():
        return np.load(folder / LOGITS, allow_pickle=False)
    learn, held_out = (stage.dataset(fold, held_out=side) for side in (False, True))
    pretrain_encoder(stage, fold, learn, held_out)
    classifier = make_classifier(stage, fold).to(stage.context.device).eval()
    views = [_features(classifier, learn, epoch) for epoch in range(stage.preset.classifier_training.epochs)]
    plain = [_features(classifier, held_out, -1)]
    if stage.preset.mirrored_too:
        plain.append(_features(classifier, held_out, -1, mirrored=True))
    found = []
    for head in range(HEADS):
        torch.manual_seed(1000 * (head + 1) + stage.preset.fold_seed(fold))
        trained = _train_head(make_classifier(stage, fold).to(stage.context.device), views, stage)
        with torch.inference_mode():
            found += [trained.answer(one["features"].flatten(0, 1), len(held_out))[0] for one in plain]
    logits = torch.stack(found).mean(dim=0).double().cpu().numpy()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / LOGITS, logits)
    return logits


@torch.inference_mode()
def _features(
    classifier: Classifier, studies: ColumnDataset, epoch: int, mirrored: bool = False
) -> dict[str, Tensor]:
    """What the encoder says of one view of each study: features (n, 7, slices, f), truth (n, 8), slices (n, 7, s)."""
    found: dict[str, list[Tensor]] = {"features": [], "truth": [], "slices": []}
    device = next(classifier.parameters()).device
    for number in range(len(studies)):
        sample = studies[epoch, 0, number]
        images, masks = sample["images"], sample["masks"]
        if mirrored:
            images, masks = images.flip(-2), masks.flip(-1)
        with autocast(device):
            features = classifier.encoder(encoder_input(images, masks).to(device)).float()
        found["features"].append(features.reshape(*images.shape[:2], -1))
        found["truth"].append(sample["truth"].to(device))
        found["slices"].append(sample["slices"].to(device))
    return {name: torch.stack(values) for name, values in found.items()}


def _train_head(classifier: Classifier, views: list[dict[str, Tensor]], stage: ClassifierStage) -> nn.Module:
    """Train all above the encoder on kept views, with the settings of the training end to end; in evaluation mode."""
    settings = stage.preset.classifier_training
    above = [value for name, value in classifier.named_parameters() if not name.startswith("encoder.")]
    optimizer = torch.optim.AdamW(above, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    studies = len(views[0]["truth"])
    steps = PASSES * len(views) * -(-studies // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, steps, pct_start=settings.warmup_share
    )
    average = ModelEmaV3(classifier, decay=settings.ema_decay, use_warmup=True)
    classifier.train()
    for step_view in range(PASSES * len(views)):
        view = views[step_view % len(views)]
        for chosen in torch.randperm(studies).split(settings.batch_size):
            features = view["features"][chosen]
            study, slices = classifier.answer(features.flatten(0, 1), len(chosen))
            loss = competition_loss(study, view["truth"][chosen])
            loss = loss + stage.preset.slice_loss * slice_loss(slices, view["slices"][chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(above, settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            average.update(classifier)
    return average.module.eval()


class MaskTargetNet(SliceNet):
    """A `SliceNet` that is not shown the vertebra's mask: while it learns it tells it, from a map on the way."""

    def __init__(self, stage: ClassifierStage):
        super().__init__(stage.preset.classifier, stage.preset.stacks.channels)
        kept = self.encoder.feature_info  # of every timm encoder that gives its maps
        self.index = [part["reduction"] for part in kept].index(MASK_STRIDE)
        self.mask_head = nn.Conv2d(kept[self.index]["num_chs"], 1, 1)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Slice logits (batch, slices); in training also the masks' logits (batch * slices, 1, y / 8, x / 8)."""
        shown = encoder_input(images, torch.zeros_like(masks))
        last, (on_the_way,) = self.encoder.forward_intermediates(shown, indices=[self.index])
        features = self.encoder.forward_head(last).float()
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head(features).reshape(images.shape[:2])
            return (logits, self.mask_head(on_the_way.float())) if self.training else logits


class WithoutMasks(Classifier):
    """A classifier that is not shown the vertebra's mask."""

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """As a `Classifier`."""
        return super().forward(images, torch.zeros_like(masks))


def _mask_target_loss(model: nn.Module, batch: dict[str, Tensor], mixup: float) -> Tensor:
    """The loss of single vertebrae's slices and of their masks, each picture a mixture of two vertebrae's."""
    slices = batch["slices"]
    images, masks, share, other = mixed_with_others(batch, mixup)
    logits, told = model(images, masks)
    truth = functional.avg_pool2d(masks.flatten(0, 1)[:, None].float() / 255, MASK_STRIDE)
    of_slices = share * slice_loss(logits, slices) + (1 - share) * slice_loss(logits, slices[other])
    return of_slices + MASK_WEIGHT * functional.binary_cross_entropy_with_logits(told, truth)


def mask_target_logits(stage: ClassifierStage, fold: int) -> np.ndarray:
    """Train as the kit does, with the vertebra's mask as an auxiliary target of the encoder instead of an input.

    RSNA 2023's winner reports gains of such a target.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies.
    """
    folder = Path(stage.run) / "mask-target" / f"fold{fold}"
    return encoder_then_classifier(
        stage, fold, folder, MaskTargetNet, VertebraDataset, _mask_target_loss, WithoutMasks
    )
