"""Train the classifier folds on cached columns, and predict the studies that each fold never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cspine import cli, storage
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.metric import FORMS
from cspine.competition.splits import read_folds
from cspine.competition.tables import read_train
from cspine.errors import InputError
from cspine.networks.checkpoints import load_weights
from cspine.networks.classifier import Classifier, SliceNet, study_and_slice_logits
from cspine.networks.fold_models import describe_fold, load_classifier
from cspine.preprocessing.stores import open_columns
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
from cspine.training.classifier_stage import ClassifierStage, labels_of
from cspine.training.datasets import Batches, ColumnDataset
from cspine.training.distributed import init_distributed
from cspine.training.encoder import fractures_are_rarer, pretrain_encoder
from cspine.training.losses import competition_loss, slice_loss
from cspine.training.trainer import FoldTraining, train_network


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
            make_model=lambda: make_classifier(stage, fold),
            dataset=learn,
            loss=lambda model, batch: classifier_loss(model, batch, stage.preset.slice_loss),
            evaluate=lambda model: judge_studies(model, held_out, stage),
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


def make_classifier(stage: ClassifierStage, fold: int) -> Classifier:
    """Make the classifier to start from, its encoder from `pretrain_encoder` where the preset has that.

    Parameters
    ----------
    stage : ClassifierStage
        What the stage works on.
    fold : int
        The fold.

    Returns
    -------
    Classifier
        On the CPU.

    Raises
    ------
    InputError
        If the trained encoder can't be read, or timm's weights can't be had.
    """
    settings = stage.preset.classifier
    if stage.preset.encoder_training is None:
        return Classifier(settings, stage.preset.stacks.channels, stage.encoder_weights)
    learnt = SliceNet(replace(settings, pretrained=False), stage.preset.stacks.channels)
    load_weights(RunLayout(stage.run).model(ENCODER, fold), learnt, MADE_BY[ENCODER])
    classifier = Classifier(replace(settings, pretrained=False), stage.preset.stacks.channels)
    classifier.load_pretrained(learnt, fractures_are_rarer(stage.preset))
    return classifier


def _predicted(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The studies in a fold's logits with what they were made from, none where they are not there yet."""
    path, made_from = folder / LOGITS, folder / PREDICTED_FROM
    if not path.is_file() or not made_from.is_file():
        return [], {}
    return list(pd.read_csv(path, dtype={UID_COLUMN: str})[UID_COLUMN]), storage.read_json(made_from)


def classifier_loss(model: nn.Module, batch: dict[str, Tensor], slice_weight: float) -> Tensor:
    """Compute the competition's loss, and the slices' with its weight.

    Parameters
    ----------
    model : Module
        A `Classifier`, or DDP around one.
    batch : dict of str to Tensor
        As from `ColumnDataset`: `images` and `masks` of shape (batch, 7, slices, y, x), `truth` of (batch, 8) and
        `slices` of (batch, 7, slices).
    slice_weight : float
        Weight of the slices' loss beside the competition's.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
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


def judge_studies(model: Classifier, held_out: ColumnDataset, stage: ClassifierStage) -> dict[str, float]:
    """Compute the metric on the held-out fold.

    Parameters
    ----------
    model : Classifier
        In evaluation mode.
    held_out : ColumnDataset
        The studies in the fold.
    stage : ClassifierStage
        What the stage works on.

    Returns
    -------
    dict of str to float
        `score` is its global form, the two others stand beside it; the same in every process.
    """
    submitted = 1 / (1 + np.exp(-predict(model, held_out, stage)[0]))
    truth = np.stack([labels.numpy() for labels in held_out.truth]).astype(np.float64)
    figures = {form: loss(truth, submitted) for form, loss in FORMS.items()}
    return {"score": figures.pop("global"), **figures}
