"""Train the encoder on single vertebrae of many patients, before the classifier learns on studies."""

import numpy as np
import torch
from torch import Tensor, nn

from cspine.competition.labels import LEVELS, PUBLISHED
from cspine.errors import InputError
from cspine.networks.classifier import SliceNet
from cspine.networks.fold_models import describe_fold
from cspine.networks.precision import autocast
from cspine.settings.layout import ENCODER, RunLayout
from cspine.settings.presets import Preset
from cspine.training.classifier_stage import ClassifierStage
from cspine.training.datasets import ColumnDataset, VertebraDataset
from cspine.training.losses import slice_loss
from cspine.training.trainer import FoldTraining, train_network


def pretrain_encoder(
    stage: ClassifierStage, fold: int, learn: ColumnDataset, held_out: ColumnDataset
) -> None:
    """Train the encoder on single vertebrae of many patients, every fractured one and some whole ones.

    Parameters
    ----------
    stage : ClassifierStage
        What the stage works on; without `encoder_training` in its preset nothing is done.
    fold : int
        The fold.
    learn : ColumnDataset
        The studies outside of the fold.
    held_out : ColumnDataset
        Those in it.

    Raises
    ------
    InputError
        If no fractured vertebra outside of the fold, or none inside, has targets.
    """
    if stage.preset.encoder_training is None:
        return
    shown, judged = VertebraDataset(learn), VertebraDataset(held_out)
    if not len(shown) or not len(judged):
        raise InputError(
            f"encoder fold {fold}: {len(shown.fractured)} fractured vertebrae with targets to learn from and "
            f"{len(judged.fractured)} to be judged on; expected at least 1 each; encoder_training = None goes without, "
            "dense_targets = True needs no boxes"
        )
    train_network(
        FoldTraining(
            name=f"encoder {fold}",
            folder=RunLayout(stage.run).fold(ENCODER, fold),
            make_model=lambda: SliceNet(
                stage.preset.classifier, stage.preset.stacks.channels, stage.encoder_weights
            ),
            dataset=shown,
            loss=lambda model, batch: _encoder_loss(model, batch, stage.preset.mixup),
            evaluate=lambda model: judge_slices(model, judged, stage),
            description=describe_fold(ENCODER, fold, stage.preset, stage.folds),
            place=(fold + 1, max(stage.folds.values()) + 1),
            studies=stage.made_from(learn.uids),
        ),
        stage.preset.encoder_training,
        stage.preset.fold_seed(fold),
        stage.context,
    )


def _encoder_loss(model: nn.Module, batch: dict[str, Tensor], mixup: float) -> Tensor:
    """The loss of single vertebrae's slices; with mixup each picture is a mixture of two vertebrae's."""
    slices = batch["slices"]
    if not mixup:
        return slice_loss(model(batch["images"], batch["masks"]), slices)
    images, masks, share, other = mixed_with_others(batch, mixup)
    logits = model(images, masks)
    return share * slice_loss(logits, slices) + (1 - share) * slice_loss(logits, slices[other])


def mixed_with_others(batch: dict[str, Tensor], mixup: float) -> tuple[Tensor, Tensor, float, Tensor]:
    """Mix each vertebra of a batch with another one.

    Parameters
    ----------
    batch : dict of str to Tensor
        `images` uint8, shape (batch, slices, y, x, neighbours), and `masks` uint8, shape (batch, slices, y, x).
    mixup : float
        Parameter of the beta distribution from which the share comes; above 0.

    Returns
    -------
    images : Tensor of uint8, shape as before
        The mixtures.
    masks : Tensor of uint8, shape as before
        Theirs.
    share : float
        Of each vertebra in its mixture.
    other : Tensor of int64, shape (batch,)
        Which one the rest is of.

    References
    ----------
    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.
    """
    share = float(torch.distributions.Beta(mixup, mixup).sample())
    other = torch.randperm(len(batch["images"]))
    images, masks = (
        part.float().lerp(part[other].float(), 1 - share).round().to(part.dtype)
        for part in (batch["images"], batch["masks"])
    )
    return images, masks, share, other


@torch.inference_mode()
def judge_slices(model: SliceNet, judged: VertebraDataset, stage: ClassifierStage) -> dict[str, float]:
    """Compute the weighted log loss over the slices of the held-out fold's vertebrae, each process its share.

    Parameters
    ----------
    model : SliceNet
        In evaluation mode.
    judged : VertebraDataset
        Of the studies in the fold.
    stage : ClassifierStage
        What the stage works on.

    Returns
    -------
    dict of str to float
        `score`, lower is better; the same in every process.
    """
    context, sums = stage.context, torch.zeros(2, dtype=torch.float64)
    for number in range(context.rank, len(judged), context.world_size):
        part = {name: value[None].to(context.device) for name, value in judged[-1, 0, number].items()}
        with autocast(context.device):
            logits = model(part["images"], part["masks"])
        sums += torch.tensor([slice_loss(logits, part["slices"]).item(), 1.0])
    total, count = (float(value) for value in context.sum(sums))
    return {"score": total / count}


def fractures_are_rarer(preset: Preset) -> float:
    """Say how much lower a slice's logit has to be than the encoder's training on single vertebrae made it.

    Parameters
    ----------
    preset : Preset
        Of the vertebrae that were shown one in `whole_each` + 1 was broken.

    Returns
    -------
    float
        What is added to a logit so that it fits the share of all vertebrae that are.
    """
    broken = PUBLISHED["train"].rates()[: len(LEVELS)].mean()
    return float(np.log(broken / (1 - broken) * preset.whole_each))
