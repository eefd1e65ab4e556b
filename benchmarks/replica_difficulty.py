"""How hard a replica is: a small classifier, out of fold, where wide fractures must be found before hairlines."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from cspine.competition import scoring
from cspine.competition.labels import LEVELS, OVERALL, PREDICTION_TYPES
from cspine.competition.splits import make_folds
from cspine.competition.tables import UID_COLUMN, read_boxes, read_train
from cspine.evidence.calibration import out_of_fold_values
from cspine.scans.cache import StudyStore
from cspine.scans.cutting import Cut, cut_columns
from cspine.scans.prepare import prepare
from cspine.training.cached import open_columns, open_labels, open_volumes
from cspine.training.classify import OOF, ClassifierJob, train_fold
from cspine.training.distributed import joined
from cspine.training.presets import Preset, preset_named
from cspine.training.runs import CLASSIFIER, fold_folder
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate

FOLDS, SEED, QUARTERS = 2, 2022, 4


@dataclass(frozen=True)
class Wanted:
    """What is learnt from, and where it lies."""

    work: Path
    seed: int
    workers: int
    severity: tuple[float, float] = (0.0, 1.0)
    studies: int = 240
    size: float = 0.3125
    preset: str = "demo"


@dataclass(frozen=True)
class Judged:
    """What came out of fold."""

    train: pd.DataFrame  # labels, indexed by study
    values: np.ndarray  # (studies, 8) submitted values
    without_column: int


def difficulty(wanted: Wanted) -> list[str]:
    """The section of the report, line by line: write a replica, train on it, judge by severity."""
    started = time.perf_counter()
    replica = ReplicaSettings(
        out=wanted.work / "replica", train=wanted.studies, public=0, private=0, seed=wanted.seed,
        size=wanted.size, mask_share=1.0, box_share=1.0, severity=wanted.severity, workers=wanted.workers,
    )  # fmt: skip
    replicate(replica)
    judged = learn(replica.out / "competition", wanted)
    low, high = wanted.severity
    lines = [
        f"{wanted.studies} training studies at size {wanted.size:g}, severity {low:g} to {high:g}, all with masks and "
        f"boxes; vertebrae where the masks have them; {FOLDS} classifier folds of the preset `{wanted.preset}`, out of "
        f"fold and calibrated on the other fold. {judged.without_column} studies without a column have the constants. "
        f"{(time.perf_counter() - started) / 60:.0f} minutes.",
        "",
        *score_lines(judged),
        "",
    ]
    return lines + severity_lines(judged, read_severity(replica.out / "truth" / "fractures.csv"))


def learn(raw: Path, wanted: Wanted) -> Judged:
    """Prepare, cut columns at the true vertebrae, train the folds, and put their held-out answers together."""
    preset, cache, run = preset_named(wanted.preset), wanted.work / "cache", wanted.work / "run"
    train = read_train(raw)
    volumes, labels, columns = (
        open_volumes(cache, preset),
        open_labels(cache, preset),
        open_columns(cache, preset),
    )
    prepare(raw, volumes, wanted.workers, preset.locator.spacing_mm)
    write_true_labels(volumes, labels)
    cut_columns(Cut(raw, labels, columns, preset.column), train, read_boxes(raw), wanted.workers)
    folds = make_folds(train, FOLDS, SEED)
    train = train.set_index(UID_COLUMN)
    answers = train_folds(run, columns, train, folds.to_dict(), preset)
    constants = scoring.training_constants(train)
    truth = train.loc[answers.index, list(PREDICTION_TYPES)].to_numpy(np.float64)
    values = pd.DataFrame(np.tile(constants, (len(train), 1)), train.index, list(PREDICTION_TYPES))
    values.loc[answers.index] = out_of_fold_values(
        answers.to_numpy(), truth, folds.loc[answers.index].to_numpy(), constants
    )
    return Judged(train, values.to_numpy(), len(train) - len(answers))


def write_true_labels(volumes: StudyStore, labels: StudyStore) -> None:
    """Put each study's own mask where a locator's label map would be."""
    for uid in volumes.uids():
        if volumes.holds(uid, "labels"):
            arrays, meta = volumes.read(uid)
            labels.write(
                uid, {"labels": np.asarray(arrays["labels"])}, {"affine": meta["affine"], "fold": -1}
            )


def train_folds(
    run: Path, columns: StudyStore, train: pd.DataFrame, folds: dict[str, int], preset: Preset
) -> pd.DataFrame:
    """Held-out logits of every study with a column, (studies, 8), indexed by study."""
    truth = {
        uid: row.to_numpy(np.float64)
        for uid, row in train[list(PREDICTION_TYPES)].iterrows()
        if columns.has(uid)
    }
    with joined() as place:
        job = ClassifierJob(run, columns, truth, folds, preset, place)
        for fold in range(FOLDS):
            train_fold(job, fold)
    paths = [fold_folder(run, CLASSIFIER, fold) / OOF for fold in range(FOLDS)]
    return pd.concat([pd.read_csv(path, dtype={UID_COLUMN: str}).set_index(UID_COLUMN) for path in paths])


def read_severity(path: Path) -> pd.Series:
    """Severity of the worst fracture in view of each broken level, indexed by study and level."""
    fractures = pd.read_csv(path, dtype={UID_COLUMN: str}).dropna(subset="z_mm")
    return fractures.groupby([UID_COLUMN, "level"])["severity"].max()


def score_lines(judged: Judged) -> list[str]:
    """The metric against constants, and how well broken and whole are told apart."""
    truth = judged.train[list(PREDICTION_TYPES)].to_numpy(np.float64)
    constants = scoring.training_constants(judged.train)
    table = scoring.score_table({"out of fold": (truth, judged.values)}, constants)
    lines = ["| score out of fold | model | constants | gain |", "|---|---|---|---|"]
    lines += [
        f"| {row['score']} | {row['model']:.4f} | {row['constants']:.4f} | {row['gain_percent']:.1f} % |"
        for row in table.to_dict("records")
    ]
    levels, patients = (
        roc_auc_score(truth[:, :7].ravel(), judged.values[:, :7].ravel()),
        roc_auc_score(truth[:, 7], judged.values[:, 7]),
    )
    return [*lines, "", f"AUC of all levels {levels:.3f}, of {OVERALL} {patients:.3f}."]


def severity_lines(judged: Judged, severity: pd.Series) -> list[str]:
    """AUC against all whole levels and mean loss, of the broken levels in quarters by severity."""
    values = pd.DataFrame(judged.values[:, :7], judged.train.index, list(LEVELS)).stack()
    truth = judged.train[list(LEVELS)].stack()
    whole, broken = values[truth == 0].to_numpy(), values[truth == 1]
    known = severity.reindex(broken.index)
    lines = [
        "| severity | broken levels | AUC against whole levels | mean loss | standard error |",
        "|---|---|---|---|---|",
    ]
    means = []
    order = np.argsort(known.to_numpy(), kind="stable")[: known.notna().sum()]
    for part in np.array_split(order, QUARTERS):
        these, how = broken.to_numpy()[part], known.to_numpy()[part]
        loss = -np.log(these)
        means.append(float(loss.mean()))
        auc = roc_auc_score(np.repeat([1, 0], [len(these), len(whole)]), np.concatenate([these, whole]))
        error = loss.std(ddof=1) / np.sqrt(len(loss)) if len(loss) > 1 else np.nan
        lines.append(
            f"| {how.min():.2f}-{how.max():.2f} | {len(these)} | {auc:.3f} | {means[-1]:.3f} | {error:.3f} |"
        )
    falls = all(later < earlier for earlier, later in zip(means, means[1:], strict=False))
    unknown = int(known.isna().sum())
    rank = spearmanr(known.to_numpy()[order], -np.log(broken.to_numpy()[order]))
    lines += [
        "",
        f"Spearman's rank correlation of severity and loss {rank.statistic:.2f} (p = {rank.pvalue:.2g}).",
        f"The mean loss falls with every quarter of severity: {'yes' if falls else '**no**'}.",
    ]
    return lines + (
        [f"{unknown} broken levels have no fracture in the picture and are left out."] if unknown else []
    )
