"""Train the classifier folds on cached columns, and predict the studies that each fold never saw."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES, PUBLISHED
from cspine.competition.metric import column_loss, global_loss, row_loss
from cspine.errors import InputError
from cspine.networks.checkpoints import MODEL, load_weights
from cspine.networks.classifier import Classifier, SliceNet, study_logits
from cspine.networks.precision import fast_precision
from cspine.scans.cache import StudyStore
from cspine.training.datasets import ColumnDataset, VertebraDataset, start_worker
from cspine.training.distributed import Place
from cspine.training.loop import Task, fit
from cspine.training.losses import competition_loss, slice_loss
from cspine.training.presets import Preset
from cspine.training.runs import CLASSIFIER, ENCODER, MADE_BY, describe, fold_folder, load_classifier

OOF = "oof.csv"
"""StudyInstanceUID and eight logits (columns C1 ... patient_overall) of a fold's held-out studies."""


@dataclass(frozen=True)
class ClassifierJob:
    """What the training stage works on."""

    run: Path
    columns: StudyStore
    truth: dict[str, np.ndarray]
    """Study -> float (8,) labels, for the studies that have a column."""
    folds: dict[str, int]
    preset: Preset
    place: Place
    encoder_weights: str = ""

    def dataset(self, fold: int, held_out: bool) -> ColumnDataset:
        """The studies in `fold`, or all others."""
        chosen = {uid: labels for uid, labels in self.truth.items() if (self.folds[uid] == fold) == held_out}
        if not chosen:
            side = "in" if held_out else "outside of"
            raise InputError(
                f"classifier fold {fold}: no study {side} this fold has a column; run `make columns`"
            )
        return ColumnDataset(self.columns, chosen, self.preset)


def train_fold(job: ClassifierJob, fold: int) -> None:
    """Train one fold and write its held-out logits."""
    held_out = job.dataset(fold, held_out=True)
    seed = job.preset.seed * 100 + fold
    folder = fold_folder(job.run, CLASSIFIER, fold)
    if job.place.leads and not (folder / MODEL).is_file():
        (folder / OOF).unlink(missing_ok=True)  # logits of a model that was deleted
    learn = job.dataset(fold, held_out=False)
    if not (folder / MODEL).is_file():
        pretrain_encoder(job, fold, learn, held_out)
    fit(
        Task(
            name=f"classifier {fold}",
            folder=folder,
            make_model=lambda: _make_classifier(job, fold),
            dataset=learn,
            loss=lambda model, batch: _loss(model, batch, job.preset.slice_loss),
            evaluate=lambda model: _judge(model, held_out, job),
            description=describe(CLASSIFIER, fold, job.preset, job.folds),
        ),
        job.preset.classifier_fit,
        seed,
        job.place,
    )
    if _predicted(folder / OOF) == held_out.uids:
        return
    logits = predict(load_classifier(folder / MODEL, job.place.device), held_out, job)
    if job.place.leads:
        frame = pd.DataFrame(logits, columns=list(PREDICTION_TYPES))
        frame.insert(0, "StudyInstanceUID", held_out.uids)
        storage.write_csv(folder / OOF, frame)


def pretrain_encoder(job: ClassifierJob, fold: int, learn: ColumnDataset, held_out: ColumnDataset) -> None:
    """Train the encoder on single vertebrae, half of them fractured, where annotated slices say what to see.

    Raises InputError if no fractured vertebra outside of the fold, or none inside, has boxes.
    """
    if job.preset.encoder_fit is None:
        return
    shown, judged = VertebraDataset(learn), VertebraDataset(held_out)
    if not len(shown) or not len(judged):
        raise InputError(
            f"encoder fold {fold}: {len(shown) // 2} fractured vertebrae with boxes to learn from and "
            f"{len(judged) // 2} to be judged on; expected at least 1 each; encoder_fit = None goes without"
        )
    fit(
        Task(
            name=f"encoder {fold}",
            folder=fold_folder(job.run, ENCODER, fold),
            make_model=lambda: SliceNet(
                job.preset.classifier, job.preset.stacks.channels, job.encoder_weights
            ),
            dataset=shown,
            loss=lambda model, batch: slice_loss(
                model(batch["images"], batch["masks"]).float(), batch["slices"]
            ),
            evaluate=lambda model: _judge_slices(model, judged, job),
            description=describe(ENCODER, fold, job.preset, job.folds),
        ),
        job.preset.encoder_fit,
        job.preset.seed * 100 + fold,
        job.place,
    )


@torch.inference_mode()
def _judge_slices(model: SliceNet, judged: VertebraDataset, job: ClassifierJob) -> dict[str, float]:
    """Weighted log loss over the slices of the held-out fold's vertebrae, each process its share."""
    place, sums = job.place, torch.zeros(2, dtype=torch.float64)
    precision = fast_precision(place.device)
    for number in range(place.rank, len(judged), place.ranks):
        part = {name: value[None].to(place.device) for name, value in judged[-1, 0, number].items()}
        with torch.autocast(place.device.type, precision, enabled=precision != torch.float32):
            logits = model(part["images"], part["masks"])
        sums += torch.tensor([slice_loss(logits.float(), part["slices"]).item(), 1.0])
    total, count = (float(value) for value in place.total(sums))
    return {"score": total / count}


def _make_classifier(job: ClassifierJob, fold: int) -> Classifier:
    """A classifier to start from, its encoder from the pre-training where there was one."""
    settings = job.preset.classifier
    if job.preset.encoder_fit is None:
        return Classifier(settings, job.preset.stacks.channels, job.encoder_weights)
    learnt = SliceNet(replace(settings, pretrained=False), job.preset.stacks.channels)
    load_weights(fold_folder(job.run, ENCODER, fold) / MODEL, learnt, MADE_BY[ENCODER])
    classifier = Classifier(replace(settings, pretrained=False), job.preset.stacks.channels)
    broken = PUBLISHED["train"].rates()[: len(LEVELS)].mean()
    classifier.start_from(learnt, float(np.log(broken / (1 - broken))))  # half of its vertebrae were broken
    return classifier


def _predicted(path: Path) -> list[str]:
    """The studies in a fold's logits, none where they are not there yet."""
    return (
        list(pd.read_csv(path, dtype={"StudyInstanceUID": str})["StudyInstanceUID"]) if path.is_file() else []
    )


def _loss(model: nn.Module, batch: dict[str, Tensor], slice_weight: float) -> Tensor:
    study, slices = model(batch["images"], batch["masks"])
    return competition_loss(study.float(), batch["truth"]) + slice_weight * slice_loss(
        slices.float(), batch["slices"]
    )


def predict(model: Classifier, dataset: ColumnDataset, job: ClassifierJob) -> np.ndarray:
    """Logits float64 (studies, 8) of a dataset, its studies shared out over all processes."""
    place = job.place
    logits = torch.zeros(len(dataset), len(PREDICTION_TYPES), dtype=torch.float64)
    batch = 2 * job.preset.classifier_fit.batch
    mine = range(place.rank, len(dataset), place.ranks)
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=batch,
        sampler=[(-1, 0, number) for number in mine],
        num_workers=job.preset.classifier_fit.workers,
        worker_init_fn=start_worker,
    )
    for part in loader:
        found = study_logits(
            [model], part["images"], part["masks"], place.device, fast_precision(place.device)
        )
        logits[part["number"]] = found.double()
    return place.total(logits).cpu().numpy()


def _judge(model: Classifier, held_out: ColumnDataset, job: ClassifierJob) -> dict[str, float]:
    """The metric on the held-out fold: `score` is its global form, the two others stand beside it."""
    submitted = 1 / (1 + np.exp(-predict(model, held_out, job)))
    truth = np.stack([labels.numpy() for labels in held_out.truth]).astype(np.float64)
    return {
        "score": global_loss(truth, submitted),
        "row": row_loss(truth, submitted),
        "column": column_loss(truth, submitted),
    }
