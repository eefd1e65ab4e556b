"""Train the locator folds on the studies that have masks, and label every study with a fold that never saw it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cspine import stage
from cspine.errors import InputError
from cspine.networks.checkpoints import MODEL
from cspine.networks.locator import Locator, label_map
from cspine.networks.precision import fast_precision
from cspine.scans.cache import StudyStore
from cspine.training.datasets import LocatorDataset
from cspine.training.distributed import Place
from cspine.training.loop import Task, fit
from cspine.training.losses import locator_loss
from cspine.training.presets import Preset
from cspine.training.runs import LOCATOR, MADE_BY, describe, fold_folder, load_locator


@dataclass(frozen=True)
class LocatorJob:
    """What the locator stage works on."""

    run: Path
    volumes: StudyStore
    """Prepared small volumes, some with `labels`."""
    folds: dict[str, int]
    """Study -> fold."""
    preset: Preset
    place: Place

    def with_masks(self) -> list[str]:
        """The prepared studies that have a mask."""
        return [uid for uid in self.volumes.uids() if uid in self.folds and self.volumes.holds(uid, "labels")]


def train_fold(job: LocatorJob, fold: int) -> None:
    """Train one fold on the masks of all others, judged by Dice on its own."""
    masked = job.with_masks()
    if not job.volumes.uids():
        raise InputError(f"{job.volumes.folder}: no prepared study; `make prepare` makes them")
    others = [uid for uid in masked if job.folds[uid] != fold]
    held_out = [uid for uid in masked if job.folds[uid] == fold]
    if not others or not held_out:
        raise InputError(
            f"locator fold {fold}: {len(others)} studies with a mask to learn from and {len(held_out)} to be "
            "judged on; expected at least 1 each; prepare more studies with masks, or split into fewer folds"
        )
    fit(
        Task(
            name=f"locator {fold}",
            folder=fold_folder(job.run, LOCATOR, fold),
            make_model=lambda: Locator(job.preset.locator),
            dataset=LocatorDataset(job.volumes, others, job.preset, job.preset.locator.crop_vox),
            loss=_loss,
            evaluate=lambda model: _judge(model, job, held_out),
            description=describe(LOCATOR, fold, job.preset, job.folds),
            made_by=MADE_BY[LOCATOR],
        ),
        job.preset.locator_fit,
        job.preset.seed * 100 + fold,
        job.place,
    )


def _loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return locator_loss(model(batch["volume"]).float(), batch["labels"])


def _judge(model: Locator, job: LocatorJob, uids: list[str]) -> dict[str, float]:
    """Mean Dice of C1-C7 on whole volumes, and 1 - Dice as the score."""
    scores = torch.zeros(2, dtype=torch.float64)
    for uid in uids[job.place.rank :: job.place.ranks]:
        arrays, _ = job.volumes.read(uid)
        found = label_map([model], arrays["volume"], job.place.device, fast_precision(job.place.device))
        levels = dice(found, np.asarray(arrays["labels"]))
        scores += torch.tensor([np.nansum(levels), np.isfinite(levels).sum()])
    total, count = (float(value) for value in job.place.total(scores))
    mean = total / max(count, 1)
    return {"score": 1 - mean, "dice": mean}


def dice(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of C1-C7 between two label maps of one shape: float64 (7,), NaN where neither has the level."""
    scores = np.full(7, np.nan)
    for level in range(1, 8):
        here, there = found == level, truth == level
        size = here.sum() + there.sum()
        if size:
            scores[level - 1] = 2 * (here & there).sum() / size
    return scores


def label_studies(job: LocatorJob, labels: StudyStore) -> int:
    """Write a label map for every prepared study that lacks one; how many were written.

    The fold to which a study belongs was trained without it, and is the one that is asked.
    """
    device = job.place.device
    # Shares are taken before anybody looks at what is missing, since others are already writing by then.
    everyone = [uid for uid in job.volumes.uids() if uid in job.folds]
    mine = [uid for uid in everyone[job.place.rank :: job.place.ranks] if not labels.has(uid)]
    locators: dict[int, Locator] = {}
    for uid in stage.progress(mine, unit="study", what="label maps"):
        fold = job.folds[uid]
        if fold not in locators:
            locators[fold] = load_locator(fold_folder(job.run, LOCATOR, fold) / MODEL, device)
        arrays, meta = job.volumes.read(uid)
        found = label_map([locators[fold]], arrays["volume"], device, fast_precision(device))
        labels.write(uid, {"labels": found}, {"affine": meta["affine"], "fold": fold})
    return int(job.place.total(torch.tensor(len(mine))))
