"""Train classifier folds on the cached columns; started by torchrun it uses all GPUs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.splits import read_folds
from cspine.competition.tables import UID_COLUMN, read_train
from cspine.errors import InputError
from cspine.training.cached import open_columns
from cspine.training.classify import ClassifierJob, train_fold
from cspine.training.distributed import joined
from cspine.training.presets import preset_named


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of train.py."""

    raw: Path = Path("data/raw")
    """The competition folder with train.csv."""
    cache: Path = Path("data/cache")
    """The cache with folds.csv and the columns."""
    run: Path = Path("data/runs/t4")
    """The folder for checkpoints and out-of-fold logits."""
    preset: str = "t4"
    """Settings by name: smoke, demo, t4 or h200."""
    fold: str = "all"
    """One fold by its number, or all of them."""
    pretrained: bool = True
    """--no-pretrained starts the encoder from random weights."""
    encoder_weights: str = ""
    """A file with timm's weights of the encoder, for machines without a network."""


def main(settings: Settings) -> None:
    """Train the folds that are not finished yet."""
    preset = preset_named(settings.preset)
    if not settings.pretrained:
        preset = replace(preset, classifier=replace(preset.classifier, pretrained=False))
    folds = dict(read_folds(settings.cache / "folds.csv").itertuples(index=False, name=None))
    train = read_train(settings.raw).set_index(UID_COLUMN)
    columns = open_columns(settings.cache, preset)
    truth = {
        uid: train.loc[uid, list(PREDICTION_TYPES)].to_numpy(np.float64)
        for uid in train.index
        if uid in folds and columns.has(uid)
    }
    if not truth:
        raise InputError(f"{columns.folder}: no column of any study in folds.csv; `make columns` makes them")
    chosen = _folds(settings.fold, max(folds.values()) + 1)
    with joined() as place, storage.locked(settings.run, "train", take=place.leads):
        job = ClassifierJob(settings.run, columns, truth, folds, preset, place, settings.encoder_weights)
        for fold in chosen:
            train_fold(job, fold)
        if place.leads:
            stage.say(
                "train",
                read=settings.cache / "columns",
                wrote=settings.run / "classifier",
                studies=len(truth),
                without_column=len(folds) - len(truth),
                folds=",".join(str(fold) for fold in chosen),
                processes=place.ranks,
            )


def _folds(wanted: str, count: int) -> list[int]:
    """The folds that a flag names. Raises InputError for one that does not exist."""
    if wanted == "all":
        return list(range(count))
    if not wanted.isdecimal() or int(wanted) >= count:
        raise InputError(
            f"--fold {wanted}: expected all, or a number from 0 to {count - 1} (folds.csv has {count})"
        )
    return [int(wanted)]


if __name__ == "__main__":
    stage.run(main, Settings)
