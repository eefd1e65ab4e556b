"""Train the locator folds on the studies that have masks, and label every study with a fold that never saw it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cspine import cli, storage
from cspine.competition.labels import LEVELS
from cspine.competition.splits import read_folds
from cspine.errors import InputError
from cspine.execution.sources import digest_of
from cspine.execution.store import StudyStore
from cspine.networks.encoder_weights import check_encoder_weights
from cspine.networks.fold_models import describe_fold, load_locator
from cspine.networks.locator import Locator
from cspine.networks.pretrained import start_locator
from cspine.networks.search import locate
from cspine.preprocessing.stores import open_labels, open_volumes
from cspine.preprocessing.verdict import Kind
from cspine.settings.layout import LOCATOR, MADE_BY, CacheLayout, RunLayout
from cspine.settings.presets import Preset
from cspine.training.datasets import LocatorDataset
from cspine.training.distributed import DistributedContext, init_distributed
from cspine.training.losses import locator_loss
from cspine.training.trainer import FoldTraining, train_network


@dataclass(frozen=True)
class LocatorStage:
    """What the locator stage works on."""

    run: Path
    volumes: StudyStore
    """Prepared small volumes, some with `labels`."""
    folds: dict[str, int]
    """Study -> fold."""
    preset: Preset
    context: DistributedContext

    def with_masks(self) -> list[str]:
        """List the prepared studies that have a mask.

        Returns
        -------
        list of str
            Those of the split, sorted.
        """
        return [uid for uid in self.volumes.uids() if uid in self.folds and self.volumes.holds(uid, "labels")]


def train_and_label(cache: Path, run: Path, preset: Preset) -> None:
    """Train the locator folds that are missing, label the studies that have no label map yet, and say so.

    It asks first whether the encoder's pretrained weights are to be had, which the next stage will need.

    Parameters
    ----------
    cache : Path
        The cache with the split and the prepared volumes; gets the label maps.
    run : Path
        The run's folder, to which the folds are written.
    preset : Preset
        The settings.

    Raises
    ------
    InputError
        If the split or prepared studies are missing, and as in `train_fold`.
    """
    folds = read_folds(CacheLayout(cache).folds).to_dict()
    volumes, labels = open_volumes(cache, preset), open_labels(cache, preset)
    with init_distributed() as context, storage.locked(run, "locate", take=context.is_main):
        if context.is_main:
            _note_missing_weights(preset)
        stage = LocatorStage(run, volumes, folds, preset, context)
        for fold in range(max(folds.values()) + 1):
            train_fold(stage, fold)
        written = label_studies(stage, labels)
        if context.is_main:
            _note_other_locators(stage, labels)
            cli.log_stage(
                "locate",
                read=volumes.folder,
                wrote=f"{run / LOCATOR} and {labels.folder}",
                with_masks=len(stage.with_masks()),
                label_maps=len(labels.uids()),
                new=written,
                **_verdicts(labels),
            )


def _note_missing_weights(preset: Preset) -> None:
    """Say now what would stop the next stage, hours from now."""
    try:
        check_encoder_weights(preset.classifier)
    except InputError as error:
        print(f"note for `make train`: {error}", flush=True)


def _note_other_locators(stage: LocatorStage, labels: StudyStore) -> None:
    """Say which label maps came from another run's locators; columns, and trainings on them, may rest on these."""
    made_by = {fold: _model_digest(stage.run, fold) for fold in set(stage.folds.values())}
    others = [
        uid
        for uid in labels.uids()
        if uid in stage.folds and labels.meta(uid).get("locator") not in (None, made_by[stage.folds[uid]])
    ]
    if others:
        print(
            f"note: {len(others)} of {len(labels.uids())} label maps in {labels.folder} were made by other locators "
            f"than those in {stage.run / LOCATOR}, the first is {others[0]}; they stay as they are: put the locators "
            f"that made them into {stage.run / LOCATOR}, or delete {labels.folder} and run `make locate columns`",
            flush=True,
        )


def _model_digest(run: Path, fold: int) -> str:
    """Tell one fold's trained locator from any other."""
    return storage.sha256_of(RunLayout(run).model(LOCATOR, fold))[:16]


def _verdicts(labels: StudyStore) -> dict[str, int]:
    """How many label maps are sure, doubtful and of no neck."""
    kinds = [labels.read(uid)[1]["verdict"]["kind"] for uid in labels.uids()]
    return {kind.replace(" ", "_"): kinds.count(kind) for kind in Kind}


def train_fold(stage: LocatorStage, fold: int) -> None:
    """Train one fold on the masks of all others, judged by Dice on its own.

    Parameters
    ----------
    stage : LocatorStage
        What the stage works on.
    fold : int
        The fold.

    Raises
    ------
    InputError
        If there is no prepared study, or no mask in the fold or outside of it, and as in `train_network`.
    """
    masked = stage.with_masks()
    if not stage.volumes.uids():
        raise InputError(f"{stage.volumes.folder}: no prepared study; `make prepare` makes them")
    others = [uid for uid in masked if stage.folds[uid] != fold]
    held_out = [uid for uid in masked if stage.folds[uid] == fold]
    if not others or not held_out:
        raise InputError(
            f"locator fold {fold}: {len(others)} studies with a mask to learn from and {len(held_out)} to be "
            "judged on; expected at least 1 each; prepare more studies with masks, or split into fewer folds"
        )
    train_network(
        FoldTraining(
            name=f"locator {fold}",
            folder=RunLayout(stage.run).fold(LOCATOR, fold),
            make_model=lambda: start_locator(stage.preset.locator),
            dataset=LocatorDataset(stage.volumes, others, stage.preset),
            loss=voxel_loss,
            evaluate=lambda model: mean_dice(model, stage.volumes, held_out, stage.context),
            description=describe_fold(LOCATOR, fold, stage.preset, stage.folds),
            made_by=MADE_BY[LOCATOR],
            volumes=True,
            place=(fold + 1, max(stage.folds.values()) + 1),
            studies={uid: digest_of(stage.volumes.meta(uid)) for uid in others},
        ),
        stage.preset.locator_training,
        stage.preset.fold_seed(fold),
        stage.context,
    )


def voxel_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Compute the locator's loss on a batch.

    Parameters
    ----------
    model : Module
        The locator.
    batch : dict of str to Tensor
        `volume` float, shape (batch, 1, z, y, x), and `labels` int64, shape (batch, z, y, x), as from
        `LocatorDataset`.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
    return locator_loss(model(batch["volume"]).float(), batch["labels"])


def mean_dice(
    model: Locator, volumes: StudyStore, uids: list[str], context: DistributedContext
) -> dict[str, float]:
    """Compute Dice of C1-C7 on whole volumes.

    Parameters
    ----------
    model : Locator
        In evaluation mode.
    volumes : StudyStore
        Prepared small volumes with `labels`.
    uids : list of str
        The studies, the same for all processes.
    context : DistributedContext
        This process among all; each looks at its share.

    Returns
    -------
    dict of str to float
        `dice`, the mean over all levels that occur, `dice_C1` to `dice_C7`, and `score`, 1 - dice.
    """
    scores = torch.zeros(2, len(LEVELS), dtype=torch.float64)
    for uid in uids[context.rank :: context.world_size]:
        arrays, _ = volumes.read(uid)
        found = locate([model], arrays["volume"], context.device)
        levels = dice(found.labels, np.asarray(arrays["labels"]))
        scores += torch.tensor(np.stack([np.nan_to_num(levels), np.isfinite(levels)]))
    total, count = (part.numpy() for part in context.sum(scores).cpu())
    mean = float(total.sum() / max(count.sum(), 1))
    each = {
        f"dice_{level}": float(one / many) if many else float("nan")
        for level, one, many in zip(LEVELS, total, count, strict=True)
    }
    return {"score": 1 - mean, "dice": mean, **each}


def dice(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute Dice of C1-C7 between two label maps.

    Parameters
    ----------
    found : ndarray of integers, any shape
        Label map; 1-7 = C1-C7.
    truth : ndarray of integers, the same shape
        The other one.

    Returns
    -------
    ndarray of float64, shape (7,)
        C1 to C7, NaN where neither has the level.
    """
    scores = np.full(7, np.nan)
    for level in range(1, 8):
        here, there = found == level, truth == level
        size = here.sum() + there.sum()
        if size:
            scores[level - 1] = 2 * (here & there).sum() / size
    return scores


def label_studies(stage: LocatorStage, labels: StudyStore) -> int:
    """Write a label map for every prepared study that lacks one, or whose volume changed.

    The fold to which a study belongs was trained without it, and is the one that is asked.

    Parameters
    ----------
    stage : LocatorStage
        What the stage works on; its folds are trained.
    labels : StudyStore
        Gets `labels` uint8 (z, y, x), with `affine`, `fold`, `locator` and a `digest` in the description.

    Returns
    -------
    int
        How many were written, by all processes together.
    """
    device = stage.context.device
    # Shares are taken before anybody looks at what is missing, since others are already writing by then.
    everyone = [uid for uid in stage.volumes.uids() if uid in stage.folds]
    mine = [
        uid
        for uid in everyone[stage.context.rank :: stage.context.world_size]
        if not labels.has(uid) or labels.meta(uid).get("volume") != digest_of(stage.volumes.meta(uid))
    ]
    locators: dict[int, Locator] = {}
    made_by: dict[int, str] = {}
    for uid in cli.progress(mine, unit="study", what="label maps"):
        fold = stage.folds[uid]
        if fold not in locators:
            locators[fold] = load_locator(RunLayout(stage.run).model(LOCATOR, fold), device)
            made_by[fold] = _model_digest(stage.run, fold)
        arrays, meta = stage.volumes.read(uid)
        found = locate([locators[fold]], arrays["volume"], device)
        description = {
            "affine": meta["affine"],
            "fold": fold,
            "locator": made_by[fold],
            "verdict": found.verdict.as_json(),
            "volume": digest_of(meta),
            "digest": hashlib.sha256(found.labels.tobytes()).hexdigest()[:16],
        }
        labels.write(uid, {"labels": found.labels}, description)
    return int(stage.context.sum(torch.tensor(len(mine))))
