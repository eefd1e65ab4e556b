"""Train the classifier folds on cached columns, and predict the studies that each fold never saw."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cspine import cli, storage
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS, PREDICTION_TYPES, PUBLISHED
from cspine.competition.metric import FORMS
from cspine.competition.splits import read_folds
from cspine.competition.tables import read_train
from cspine.errors import InputError
from cspine.execution.sources import digest_of
from cspine.execution.store import StudyStore
from cspine.networks.checkpoints import load_weights
from cspine.networks.classifier import Classifier, SliceNet, study_and_slice_logits
from cspine.networks.fold_models import describe_fold, load_classifier
from cspine.networks.precision import autocast
from cspine.preprocessing.column import Column
from cspine.preprocessing.stores import open_columns
from cspine.preprocessing.verdict import shares_in_view
from cspine.settings.layout import (
    CLASSIFIER,
    ENCODER,
    LOGITS,
    MADE_BY,
    MODEL,
    PREDICTED_FROM,
    SLICE_LOGITS,
    CacheLayout,
    RunLayout,
)
from cspine.settings.presets import Preset
from cspine.training.datasets import Batches, ColumnDataset, VertebraDataset
from cspine.training.distributed import DistributedContext, init_distributed
from cspine.training.losses import competition_loss, slice_loss
from cspine.training.trainer import FoldTraining, train_network

LEAST_SHOWN = 0.3
"""Share of a vertebra that a scan shows, below which the level counts as whole in training."""


@dataclass(frozen=True)
class ClassifierStage:
    """What the training stage works on."""

    run: Path
    columns: StudyStore
    truth: dict[str, np.ndarray]
    """Study -> float (8,) labels, for the studies that have a column."""
    folds: dict[str, int]
    preset: Preset
    context: DistributedContext
    encoder_weights: str = ""

    def made_from(self, uids: list[str]) -> dict[str, str]:
        """Say what columns were made from.

        Parameters
        ----------
        uids : list of str
            Studies with a column.

        Returns
        -------
        dict of str to str
            Study -> a hash.
        """
        return {uid: digest_of(self.columns.meta(uid)) for uid in uids}

    def dataset(self, fold: int, held_out: bool) -> ColumnDataset:
        """Give the studies in a fold, or all others.

        Parameters
        ----------
        fold : int
            The fold.
        held_out : bool
            Whether those in it are asked for.

        Returns
        -------
        ColumnDataset
            The studies that have a column.

        Raises
        ------
        InputError
            If there is none.
        """
        chosen = {uid: labels for uid, labels in self.truth.items() if (self.folds[uid] == fold) == held_out}
        if not chosen:
            side = "in" if held_out else "outside of"
            raise InputError(
                f"classifier fold {fold}: no study {side} this fold has a column; run `make columns`"
            )
        return ColumnDataset(self.columns, chosen, self.preset)


def classify(
    raw: Path, cache: Path, run: Path, preset: Preset, wanted: str = "all", encoder_weights: str = ""
) -> None:
    """Train the classifier folds that are not finished yet, and say so.

    Parameters
    ----------
    raw : Path
        The competition folder, for train.csv.
    cache : Path
        The cache with the split and the columns.
    run : Path
        The run's folder, to which the folds are written.
    preset : Preset
        The settings.
    wanted : str
        One fold by its number, or all.
    encoder_weights : str
        A file with timm's weights of the encoder.

    Raises
    ------
    InputError
        If the split, a column or the wanted fold is missing, if a checkpoint comes from other settings, or if
        the loss stays non-finite.
    """
    folds = read_folds(CacheLayout(cache).folds).to_dict()
    columns = open_columns(cache, preset)
    truth = labels_of(read_train(raw), columns, folds)
    chosen = _folds_wanted(wanted, max(folds.values()) + 1)
    with init_distributed() as context, storage.locked(run, "train", take=context.is_main):
        stage = ClassifierStage(run, columns, truth, folds, preset, context, encoder_weights)
        for fold in chosen:
            train_fold(stage, fold)
        if context.is_main:
            cli.log_stage(
                "train",
                read=columns.folder,
                wrote=run / CLASSIFIER,
                studies=len(truth),
                without_column=len(folds) - len(truth),
                folds=",".join(str(fold) for fold in chosen),
                processes=context.world_size,
            )


def labels_of(train: pd.DataFrame, columns: StudyStore, folds: dict[str, int]) -> dict[str, np.ndarray]:
    """Collect what the studies of the split that have a column are to be called in training.

    These are their labels, but for a fractured level of which the scan shows less than `LEAST_SHOWN`: what is broken
    of it is most likely not in view, so it counts as whole (4th place of the competition).

    Parameters
    ----------
    train : DataFrame
        As from `tables.read_train`.
    columns : StudyStore
        The columns.
    folds : dict of str to int
        Study -> fold.

    Returns
    -------
    dict of str to ndarray
        Study -> float64 (8,) labels.

    Raises
    ------
    InputError
        If there is none.
    """
    table = train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)]
    truth = {}
    for uid in table.index:
        if uid in folds and columns.has(uid):
            column = Column.load(*columns.read(uid))
            little = shares_in_view(column.labels, column.label_spacing_mm) < LEAST_SHOWN
            truth[uid] = np.where(np.append(little, False), 0.0, table.loc[uid].to_numpy(np.float64))
    if not truth:
        raise InputError(f"{columns.folder}: no column of any study in folds.csv; `make columns` makes them")
    return truth


def _folds_wanted(wanted: str, count: int) -> list[int]:
    """The folds that a flag names. Raises InputError for one that does not exist."""
    if wanted == "all":
        return list(range(count))
    if not wanted.isdecimal() or int(wanted) >= count:
        raise InputError(
            f"--fold {wanted}: expected all, or a number from 0 to {count - 1} (folds.csv has {count})"
        )
    return [int(wanted)]


def train_fold(stage: ClassifierStage, fold: int) -> None:
    """Train one fold and write its held-out logits.

    Parameters
    ----------
    stage : ClassifierStage
        What the stage works on.
    fold : int
        The fold.

    Raises
    ------
    InputError
        If there is no study in the fold or outside of it, and as in `pretrain_encoder` and `train_network`.
    """
    held_out = stage.dataset(fold, held_out=True)
    folder = RunLayout(stage.run).fold(CLASSIFIER, fold)
    if stage.context.is_main and not (folder / MODEL).is_file():
        for name in (LOGITS, SLICE_LOGITS, PREDICTED_FROM):
            (folder / name).unlink(missing_ok=True)  # logits of a model that was deleted
    learn = stage.dataset(fold, held_out=False)
    if not (folder / MODEL).is_file():
        pretrain_encoder(stage, fold, learn, held_out)
    train_network(
        FoldTraining(
            name=f"classifier {fold}",
            folder=folder,
            make_model=lambda: _make_classifier(stage, fold),
            dataset=learn,
            loss=lambda model, batch: _loss(model, batch, stage.preset.slice_loss),
            evaluate=lambda model: _evaluate(model, held_out, stage),
            description=describe_fold(CLASSIFIER, fold, stage.preset, stage.folds),
            place=(fold + 1, max(stage.folds.values()) + 1),
            studies=stage.made_from(learn.uids),
        ),
        stage.preset.classifier_training,
        stage.preset.fold_seed(fold),
        stage.context,
    )
    made_from = stage.made_from(held_out.uids)
    if (folder / SLICE_LOGITS).is_file() and _predicted(folder) == (held_out.uids, made_from):
        return
    logits, slices = predict(load_classifier(folder / MODEL, stage.context.device), held_out, stage)
    if stage.context.is_main:
        storage.write_npy(folder / SLICE_LOGITS, slices)
        frame = pd.DataFrame(logits, columns=list(PREDICTION_TYPES))
        frame.insert(0, UID_COLUMN, held_out.uids)
        storage.write_json(folder / PREDICTED_FROM, made_from)
        storage.write_csv(folder / LOGITS, frame)


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
            evaluate=lambda model: _evaluate_slices(model, judged, stage),
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
    images, masks, slices = batch["images"], batch["masks"], batch["slices"]
    if not mixup:
        return slice_loss(model(images, masks), slices)
    share = float(torch.distributions.Beta(mixup, mixup).sample())
    other = torch.randperm(len(images))
    mixed = (
        part.float().lerp(part[other].float(), 1 - share).round().to(part.dtype) for part in (images, masks)
    )
    logits = model(*mixed)
    return share * slice_loss(logits, slices) + (1 - share) * slice_loss(logits, slices[other])


@torch.inference_mode()
def _evaluate_slices(model: SliceNet, judged: VertebraDataset, stage: ClassifierStage) -> dict[str, float]:
    """Weighted log loss over the slices of the held-out fold's vertebrae, each process its share."""
    context, sums = stage.context, torch.zeros(2, dtype=torch.float64)
    for number in range(context.rank, len(judged), context.world_size):
        part = {name: value[None].to(context.device) for name, value in judged[-1, 0, number].items()}
        with autocast(context.device):
            logits = model(part["images"], part["masks"])
        sums += torch.tensor([slice_loss(logits, part["slices"]).item(), 1.0])
    total, count = (float(value) for value in context.sum(sums))
    return {"score": total / count}


def _make_classifier(stage: ClassifierStage, fold: int) -> Classifier:
    """A classifier to start from, its encoder from the pre-training where there was one."""
    settings = stage.preset.classifier
    if stage.preset.encoder_training is None:
        return Classifier(settings, stage.preset.stacks.channels, stage.encoder_weights)
    learnt = SliceNet(replace(settings, pretrained=False), stage.preset.stacks.channels)
    load_weights(RunLayout(stage.run).model(ENCODER, fold), learnt, MADE_BY[ENCODER])
    classifier = Classifier(replace(settings, pretrained=False), stage.preset.stacks.channels)
    broken = PUBLISHED["train"].rates()[: len(LEVELS)].mean()
    # Of the vertebrae that it learnt from one in so many was broken; of all vertebrae it is this share.
    classifier.load_pretrained(learnt, float(np.log(broken / (1 - broken) * stage.preset.whole_each)))
    return classifier


def _predicted(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The studies in a fold's logits with what they were made from, none where they are not there yet."""
    path, made_from = folder / LOGITS, folder / PREDICTED_FROM
    if not path.is_file() or not made_from.is_file():
        return [], {}
    return list(pd.read_csv(path, dtype={UID_COLUMN: str})[UID_COLUMN]), storage.read_json(made_from)


def _loss(model: nn.Module, batch: dict[str, Tensor], slice_weight: float) -> Tensor:
    """The competition's loss, and the slices' with its weight."""
    study, slices = model(batch["images"], batch["masks"])
    of_studies = competition_loss(study, batch["truth"])
    of_slices = slice_loss(slices, batch["slices"])
    return of_studies + slice_weight * of_slices


def predict(
    model: Classifier, dataset: ColumnDataset, stage: ClassifierStage
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the logits of a dataset, its studies shared out over all processes.

    Parameters
    ----------
    model : Classifier
        In evaluation mode.
    dataset : ColumnDataset
        The studies.
    stage : ClassifierStage
        What the stage works on.

    Returns
    -------
    logits : ndarray of float64, shape (studies, 8)
        C1 to C7 then patient_overall; the same in every process.
    slices : ndarray of float32, shape (studies, 7, slices)
        One a slice of each vertebra; the same in every process.
    """
    context = stage.context
    logits = torch.zeros(len(dataset), len(PREDICTION_TYPES), dtype=torch.float64)
    slices = torch.zeros(len(dataset), len(LEVELS), stage.preset.stacks.slices)
    batch = 2 * stage.preset.classifier_training.steps_of(context.world_size)[0]
    mine = range(context.rank, len(dataset), context.world_size)
    keys = [(-1, 0, number) for number in mine]
    for part in Batches(dataset, keys, batch, stage.preset.classifier_training.workers):
        study, of_slices = study_and_slice_logits(
            model, part["images"], part["masks"], context.device, stage.preset.mirrored_too
        )
        logits[part["number"]], slices[part["number"]] = study.double(), of_slices
    return context.sum(logits).cpu().numpy(), context.sum(slices).cpu().numpy()


def _evaluate(model: Classifier, held_out: ColumnDataset, stage: ClassifierStage) -> dict[str, float]:
    """The metric on the held-out fold: `score` is its global form, the two others stand beside it."""
    submitted = 1 / (1 + np.exp(-predict(model, held_out, stage)[0]))
    truth = np.stack([labels.numpy() for labels in held_out.truth]).astype(np.float64)
    figures = {form: loss(truth, submitted) for form, loss in FORMS.items()}
    return {"score": figures.pop("global"), **figures}
