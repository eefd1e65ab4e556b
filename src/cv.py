"""Merge the folds' held-out logits, fit the calibration, and score out of fold."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition import scoring
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.splits import read_folds
from cspine.competition.tables import UID_COLUMN, long, read_train
from cspine.errors import InputError
from cspine.evidence.calibration import fit_calibration, out_of_fold_values
from cspine.inference.ensemble import CALIBRATION
from cspine.training.classify import OOF
from cspine.training.runs import CLASSIFIER, fold_folder


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of cv.py."""

    raw: Path = Path("data/raw")
    """The competition folder with train.csv."""
    cache: Path = Path("data/cache")
    """The cache with folds.csv."""
    run: Path = Path("data/runs/t4")
    """The run whose folds are merged; oof.csv and calibration.json are written there."""


def main(settings: Settings) -> None:
    """Read every fold, calibrate each on the others, score, and write."""
    train = read_train(settings.raw).set_index(UID_COLUMN)
    folds = read_folds(settings.cache / "folds.csv").set_index(UID_COLUMN)["fold"]
    constants = scoring.training_constants(train)
    logits = pd.concat([_fold_logits(settings.run, fold, folds) for fold in range(folds.max() + 1)])
    truth = train.loc[logits.index, list(PREDICTION_TYPES)].to_numpy(np.float64)
    values = out_of_fold_values(logits.to_numpy(), truth, folds.loc[logits.index].to_numpy(), constants)
    calibration = fit_calibration(logits.to_numpy(), truth, constants)

    answers = pd.DataFrame(np.tile(constants, (len(train), 1)), train.index, list(PREDICTION_TYPES))
    answers.loc[logits.index] = values
    storage.write_json(settings.run / CALIBRATION, asdict(calibration))
    storage.write_csv(settings.run / "oof.csv", long(list(answers.index), answers.to_numpy()))
    everyone = train[list(PREDICTION_TYPES)].to_numpy(np.float64)
    table = scoring.score_table({"out of fold": (everyone, answers.to_numpy())}, constants)
    print(scoring.format_tables(table) + "\n")
    absent = [uid for uid in train.index if uid not in logits.index]
    for uid in absent:
        print(f"constants for study {uid}: it has no column, see the index of prepare and columns")
    stage.say(
        "cv",
        read=settings.run / CLASSIFIER,
        wrote=f"{settings.run / 'oof.csv'} and {settings.run / CALIBRATION}",
        studies=len(train),
        on_constants=len(absent),
    )


def _fold_logits(run: Path, fold: int, folds: pd.Series) -> pd.DataFrame:
    """Held-out logits of one fold, float (n, 8), indexed by study. Raises InputError if they are not there."""
    path = fold_folder(run, CLASSIFIER, fold) / OOF
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; fold {fold} is not trained yet: `make train FOLD={fold}` makes it"
        )
    frame = pd.read_csv(path, dtype={UID_COLUMN: str}).set_index(UID_COLUMN)
    wrong = [uid for uid in frame.index if folds.get(uid) != fold]
    if wrong or list(frame.columns) != list(PREDICTION_TYPES) or not np.isfinite(frame.to_numpy()).all():
        raise InputError(
            f"{path}: expected finite logits {', '.join(PREDICTION_TYPES)} of fold {fold}'s studies alone, found "
            f"{len(wrong)} studies of other folds; delete the folder and run `make train FOLD={fold}`"
        )
    return frame


if __name__ == "__main__":
    stage.run(main, Settings)
