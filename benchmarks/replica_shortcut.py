"""No shortcut: headers and simple statistics of the pixels must not give away who has a fracture."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from replica_headers import SYNTAX_NAMES, as_written
from scipy import ndimage
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from cspine import cli
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import OVERALL
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate

GOAL = (0.45, 0.60)
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
AIR_HU = -500
FOLDS, DRAWS, NAMED = 5, 1000, 5


@dataclass(frozen=True)
class Wanted:
    """How many studies are looked at, and where they lie."""

    work: Path
    seed: int
    workers: int
    studies: int = 400
    size: float = 0.125


def shortcut(wanted: Wanted) -> list[str]:
    """The section of the report, line by line."""
    settings = ReplicaSettings(
        out=wanted.work, train=wanted.studies, public=0, private=0, seed=wanted.seed, size=wanted.size,
        workers=wanted.workers,
    )  # fmt: skip
    replicate(settings)
    people = pd.read_csv(wanted.work / "truth" / "cohort.csv", dtype={UID_COLUMN: str})
    folders = [wanted.work / "competition" / "train_images" / uid for uid in people[UID_COLUMN]]
    with ProcessPoolExecutor(wanted.workers, get_context("spawn")) as pool:
        found = cli.progress(pool.map(features_of, folders), unit="study", total=len(folders), what="headers")
        features = pd.DataFrame(list(found))
    truth = people[OVERALL].to_numpy()
    known = people[["site", "age"]].assign(man=(people["sex"] == "M").astype(int))
    lines = [
        f"{wanted.studies} studies at size {wanted.size:g}; gradient boosting (scikit-learn's "
        f"HistGradientBoostingClassifier), out of fold in {FOLDS} folds; 95 % interval from {DRAWS} bootstrap draws of "
        f"the studies. Site, sex and age are in no file, but the paper's positives differ in them.",
        "",
        f"| what is known | features | AUC for {OVERALL} | 95 % interval | goal |",
        "|---|---|---|---|---|",
        judge("headers and statistics of the pixels", features, truth, GOAL),
        judge("site, sex and age", known, truth),
        "",
    ]
    single = features.apply(lambda values: abs(roc_auc_score(truth, values) - 0.5)).nlargest(NAMED)
    return [
        *lines,
        "Furthest from 0.5 by itself: " + ", ".join(f"{n} {0.5 + v:.3f}" for n, v in single.items()) + ".",
    ]


def judge(
    what: str, features: pd.DataFrame, truth: np.ndarray, goal: tuple[float, float] | None = None
) -> str:
    """A row of the table: AUC out of fold with its interval."""
    model = HistGradientBoostingClassifier(random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    table = features.to_numpy(np.float64)
    values = cross_val_predict(model, table, truth, cv=folds, method="predict_proba")[:, 1]
    draws = np.random.default_rng(0).integers(len(truth), size=(DRAWS, len(truth)))
    auc = roc_auc_score(truth, values)
    low, high = np.percentile(aucs(truth[draws], values[draws]), [2.5, 97.5])
    met = ""
    if goal is not None:
        met = f"{goal[0]:.2f}-{goal[1]:.2f}: {'yes' if goal[0] <= auc <= goal[1] else '**no**'}"
    return f"| {what} | {features.shape[1]} | {auc:.3f} | {low:.3f}-{high:.3f} | {met} |"


def aucs(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """AUC of every row of (draws, studies), by ranks (Mann-Whitney); rows of one kind only are left out."""
    positives = truth.sum(axis=1)
    negatives = truth.shape[1] - positives
    ranks = (rankdata(values, axis=1) * truth).sum(axis=1)
    both = (positives > 0) & (negatives > 0)
    return ((ranks - positives * (positives + 1) / 2)[both]) / (positives * negatives)[both]


def features_of(folder: Path) -> dict[str, float]:
    """What can be known of a study without looking for a fracture."""
    series = as_written(folder)
    slices = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"), key=lambda path: int(path.stem))]
    hu = np.stack([one.pixel_array for one in slices]).astype(np.float32) + float(slices[0].RescaleIntercept)
    rough = np.abs(np.stack([ndimage.laplace(image) for image in hu]))[hu > AIR_HU]
    position = [float(value) for value in slices[0].ImagePositionPatient]
    features = {
        "slices": series.slices,
        "step": series.step_mm,
        "extent": series.extent_mm,
        "thickness": series.thickness_mm,
        "pixel": series.pixel_mm,
        "rows": series.matrix[0],
        "columns": series.matrix[1],
        "feet first": series.feet_first,
        "first number": series.first_number,
        "missing numbers": series.missing,
        "syntax": list(SYNTAX_NAMES.values()).index(series.syntax),
        "bits": int(slices[0].BitsStored),
        "signed": int(slices[0].PixelRepresentation),
        "intercept": float(slices[0].RescaleIntercept),
        "windows": float(np.atleast_1d(slices[0].WindowCenter)[0]),
        "x": position[0],
        "y": position[1],
        "z": position[2],
        "mean": hu.mean(),
        "SD": hu.std(),
        "highest": hu.max(),
        "noise": np.median(rough),
        "air": (hu < AIR_HU).mean(),
    }
    features |= {
        f"{q} %": value for q, value in zip(PERCENTILES, np.percentile(hu, PERCENTILES), strict=True)
    }
    return {name: float(value) for name, value in features.items()}
