"""What the networks are trained on."""

import torch
from torch import Tensor
from torch.nn import functional

from cspine.competition.labels import PUBLISHED, WEIGHTS


def competition_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Compute the competition's weighted log loss of a batch, up to a constant factor.

    The sum of weights in the metric's denominator is replaced by its expectation per study in the published
    training set: then the mean over batches is the global metric whatever the batches hold.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, 8)
        C1 to C7 then patient_overall.
    truth : Tensor of float, shape (batch, 8)
        1 fractured, 0 not, NaN unknown: such a level does not count.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
    negative, positive = torch.tensor(WEIGHTS, dtype=logits.dtype, device=logits.device)
    known = ~truth.isnan()
    truth = torch.where(known, truth, torch.zeros_like(truth))
    weights = known * torch.where(truth > 0.5, positive, negative)
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    rates = torch.as_tensor(PUBLISHED["train"].rates(), dtype=logits.dtype, device=logits.device)
    expected = (negative * (1 - rates) + positive * rates).sum()
    return (losses * weights).sum() / (len(logits) * expected)


def slice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the weighted log loss over slices, positives twice.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, 7, slices) or (batch, slices)
        Slice logits.
    targets : Tensor of float, of the same shape
        1 shows a fracture, 0 does not, between them a guess; slices of unknown state (NaN) do not count.

    Returns
    -------
    Tensor of float, shape ()
        The mean over the slices that count; 0 where there is none.
    """
    known = ~targets.isnan()
    truth = torch.where(known, targets, torch.zeros_like(targets))
    weights = known * (1 + truth)
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp_min(1)


def locator_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute cross-entropy plus soft Dice over the classes that occur.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, classes, z, y, x)
        Of every voxel.
    labels : Tensor of int64, shape (batch, z, y, x)
        The right class of every voxel.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
    entropy = functional.cross_entropy(logits, labels)
    probability = logits.softmax(dim=1)
    wanted = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    axes = (0, 2, 3, 4)
    overlap = (probability * wanted).sum(axes)
    size = probability.sum(axes) + wanted.sum(axes)
    there = wanted.sum(axes) > 0
    dice = (2 * overlap + 1) / (size + 1)
    return entropy + 1 - dice[there].mean()
