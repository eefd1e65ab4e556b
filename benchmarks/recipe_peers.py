"""Recipes of others, in this kit's own words: trainings that are no variant of the kit's network."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cspine.competition.labels import LEVELS
from cspine.networks.checkpoints import load_weights
from cspine.networks.precision import autocast
from cspine.settings.training import TrainSettings
from cspine.training.classify import ClassifierStage
from cspine.training.datasets import VertebraDataset
from cspine.training.trainer import FoldTraining, train_network

MADE_BY = "make bench-recipe"
CUBE = "cube.npy"


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


def _loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Log loss of vertebrae, the fractured ones twice."""
    truth = (batch["slices"].amax(dim=1) > 0).float()
    return functional.binary_cross_entropy_with_logits(
        model(batch["images"], batch["masks"]), truth, weight=1 + truth
    )


def cube_logits(stage: ClassifierStage, fold: int, training: TrainSettings) -> np.ndarray:
    """Train a `CubeNet` on single vertebrae, unless that is done.

    Returns
    -------
    ndarray of float64, shape (studies, 8)
        Logits of the held-out studies; the patient's is the largest of the levels'.
    """
    folder = Path(stage.run) / "cube" / f"fold{fold}"
    held_out = stage.dataset(fold, held_out=True)
    if (folder / CUBE).is_file():
        return np.load(folder / CUBE, allow_pickle=False)
    train_network(
        FoldTraining(
            name=f"cube {fold}",
            folder=folder,
            make_model=CubeNet,
            dataset=VertebraDataset(stage.dataset(fold, held_out=False)),
            loss=_loss,
            evaluate=lambda model: {"score": 0.0},  # judged by the benchmark, not here
            description={"kind": "cube", "fold": fold, "seed": stage.preset.seed},
            made_by=MADE_BY,
            volumes=True,
        ),
        training,
        stage.preset.fold_seed(fold),
        stage.context,
    )
    model = CubeNet()
    load_weights(folder / "model.safetensors", model, MADE_BY)
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
    np.save(folder / CUBE, logits)
    return logits
