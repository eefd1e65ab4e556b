"""How hard a replica is: a small classifier, out of fold, where wide fractures must be found before hairlines."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS, OVERALL
from cspine.competition.splits import make_folds
from cspine.competition.tables import read_boxes, read_train
from cspine.evaluation.cross_validation import OutOfFold, merge_folds, read_logits
from cspine.evaluation.score_table import score_table
from cspine.execution.store import StudyStore
from cspine.preprocessing.columns import ColumnsStage, cut_columns
from cspine.preprocessing.prepare import prepare
from cspine.preprocessing.stores import open_columns, open_labels, open_volumes
from cspine.preprocessing.verdict import WHOLE
from cspine.settings.execution import ExecutionSettings
from cspine.settings.presets import PRESETS, PresetName
from cspine.training.classifier_stage import ClassifierStage, labels_of
from cspine.training.classify import train_fold
from cspine.training.distributed import init_distributed
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
    preset: PresetName = "demo"


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
        f"fold and calibrated on the other fold. {len(judged.without_logits)} studies without a "
        f"column have the constants. {(time.perf_counter() - started) / 60:.0f} minutes.",
        "",
        *score_lines(judged),
        "",
    ]
    return lines + severity_lines(judged, read_severity(replica.out / "truth" / "fractures.csv"))


def learn(raw: Path, wanted: Wanted) -> OutOfFold:
    """Prepare, cut columns at the true vertebrae, train the folds, and merge what they say of unseen studies."""
    preset, cache, run = PRESETS[wanted.preset], wanted.work / "cache", wanted.work / "run"
    execution, train = ExecutionSettings(workers=wanted.workers), read_train(raw)
    volumes, labels = open_volumes(cache, preset), open_labels(cache, preset)
    columns = open_columns(cache, preset)
    prepare(raw, volumes, preset.locator.spacing_mm, execution)
    write_true_labels(volumes, labels)
    cut_columns(ColumnsStage(raw, labels, columns, preset.column), train, read_boxes(raw), execution)
    folds = make_folds(train, FOLDS, SEED)
    split = folds.to_dict()
    with init_distributed() as context:
        stage = ClassifierStage(run, columns, labels_of(train, columns, split), split, preset, context)
        for fold in range(FOLDS):
            train_fold(stage, fold)
    return merge_folds(train, read_logits(run, folds), list(train[UID_COLUMN]))


def write_true_labels(volumes: StudyStore, labels: StudyStore) -> None:
    """Put each study's own mask where a locator's label map would be."""
    for uid in volumes.uids():
        if volumes.holds(uid, "labels"):
            arrays, meta = volumes.read(uid)
            description = {"affine": meta["affine"], "fold": -1, "verdict": WHOLE.as_json()}
            labels.write(uid, {"labels": np.asarray(arrays["labels"])}, description)


def read_severity(path: Path) -> pd.Series:
    """Severity of the worst fracture in view of each broken level, indexed by study and level."""
    fractures = pd.read_csv(path, dtype={UID_COLUMN: str}).dropna(subset="z_mm")
    return fractures.groupby([UID_COLUMN, "level"])["severity"].max()


def score_lines(judged: OutOfFold) -> list[str]:
    """The metric against constants, and how well broken and whole are told apart."""
    truth = judged.truth
    constants = np.array(judged.ladder.calibration.constants)
    table = score_table({"out of fold": (truth, judged.values)}, constants)
    lines = ["| score out of fold | model | constants | gain |", "|---|---|---|---|"]
    lines += [
        f"| {row['score']} | {row['model']:.4f} | {row['constants']:.4f} | {row['gain_percent']:.1f} % |"
        for row in table.to_dict("records")
    ]
    levels = roc_auc_score(truth[:, :7].ravel(), judged.values[:, :7].ravel())
    patients = roc_auc_score(truth[:, 7], judged.values[:, 7])
    return [*lines, "", f"AUC of all levels {levels:.3f}, of {OVERALL} {patients:.3f}."]


def severity_lines(judged: OutOfFold, severity: pd.Series) -> list[str]:
    """AUC against all whole levels and mean loss, of the broken levels in quarters by severity."""
    values, truth = (
        pd.DataFrame(table[:, : len(LEVELS)], judged.studies, list(LEVELS)).stack()
        for table in (judged.values, judged.truth)
    )
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
