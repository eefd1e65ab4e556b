"""What the locator is judged on: unseen replicas of wide coverage, and real scans with landmarks."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage, stats

from cspine import cli
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import LEVELS
from cspine.execution.store import StudyStore
from cspine.networks.locator import Locator
from cspine.networks.search import Located, locate
from cspine.preprocessing.nifti import read_nifti
from cspine.preprocessing.prepare import prepare
from cspine.preprocessing.resampling import resample
from cspine.preprocessing.verdict import Kind
from cspine.settings.execution import ExecutionSettings
from cspine.training.locate import dice
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate

IN_VIEW, OUT_OF_VIEW = 0.5, 0.02
"""A level is asked for from this share in view on; below the other it must not be found. Between, both are right."""
SAME = 0.5
"""Share of a level's own voxels that must carry its name, of those that carry any."""
FIELDS_MM = (0, 190, 300, 420, 1000)


Find = Callable[[list[Locator], np.ndarray, torch.device], Located]
"""A way to name the vertebrae of a scan: `locate`, or another one to compare it with."""


@dataclass(frozen=True)
class Case:
    """One scan, what is true of it and what was found."""

    view: str
    field_mm: float
    asked: int
    """Levels in view."""
    right: int
    """Of these, those that carry their own name."""
    invented: int
    """Levels taken from the map that are not in view."""
    dice: float
    distance_mm: float
    """Between true and found centres, mean over the levels in view."""
    kind: Kind

    @property
    def good(self) -> bool:
        """Whether every level in view is right, and none invented."""
        return self.right == self.asked and not self.invented


def write_replica(
    work: Path, studies: int, seed: int, workers: int, spacing_mm: float
) -> tuple[Path, StudyStore]:
    """Write a replica of wide coverage and prepare it; gives its folder and the store of small volumes."""
    out = work / f"wide{seed}"
    replicate(
        ReplicaSettings(
            out=out, train=studies, public=0, private=0, split="even", coverage="wide", size=0.3125,
            mask_share=1.0, box_share=0.0, seed=seed, workers=workers,
        )
    )  # fmt: skip
    store = StudyStore(work / f"wide{seed}-{spacing_mm:g}mm", {"spacing_mm": spacing_mm})
    prepare(out / "competition", store, spacing_mm, ExecutionSettings(workers=workers))
    return out, store


def replica_cases(
    replica: Path,
    store: StudyStore,
    locators: list[Locator],
    device: torch.device,
    find: Find = locate,
    uids: list[str] | None = None,
) -> Iterator[Case]:
    """Judge the locators, or another way to ask them, on every study of a replica, or on some."""
    views = pd.read_csv(replica / "truth" / "views.csv", dtype={UID_COLUMN: str}).set_index(UID_COLUMN)
    for uid in cli.progress(store.uids() if uids is None else uids, unit="study", what="locate"):
        arrays, meta = store.read(uid)
        hu = np.asarray(arrays["volume"])
        labels = np.asarray(arrays["labels"]) if "labels" in arrays else np.zeros(hu.shape, np.uint8)
        spacing_mm = float(np.linalg.norm(np.array(meta["affine"])[:3, 0]))
        found = find(locators, hu, device)
        shares = views.loc[uid, list(LEVELS)].to_numpy(float)
        yield judge_case(found, labels, shares, spacing_mm, str(views.loc[uid, "view"]))


def judge_case(found: Located, truth: np.ndarray, shares: np.ndarray, spacing_mm: float, view: str) -> Case:
    """Hold a label map against the true one."""
    right, distances = 0, []
    asked = [level for level in range(1, 8) if shares[level - 1] >= IN_VIEW and (truth == level).any()]
    for level in asked:
        there = truth == level
        names = np.bincount(found.labels[there], minlength=9)[1:]
        if names.sum() and names[level - 1] >= SAME * names.sum() and names.sum() > 0.2 * there.sum():
            right += 1
        if (found.labels == level).any():
            ends = (ndimage.center_of_mass(part) for part in (there, found.labels == level))
            first, second = ends
            distances.append(spacing_mm * float(np.linalg.norm(np.subtract(first, second))))
    hidden = [LEVELS[n] for n in range(7) if shares[n] <= OUT_OF_VIEW]
    none = found.verdict.kind is Kind.NOT_A_NECK  # then nothing is taken from the map
    scores = dice(found.labels, truth)[[level - 1 for level in asked]]
    return Case(
        view=view,
        field_mm=truth.shape[2] * spacing_mm,
        asked=len(asked),
        right=right,
        invented=0 if none else sum(name in hidden for name in found.verdict.levels),
        dice=float(np.nanmean(scores)) if len(scores) else float("nan"),
        distance_mm=float(np.mean(distances)) if distances else float("nan"),
        kind=found.verdict.kind,
    )


def summary(cases: list[Case]) -> dict[str, object]:
    """Figures of a group of cases, ready for a row."""
    asked, sure = sum(case.asked for case in cases), [case for case in cases if case.kind is Kind.SURE]
    good = [case for case in cases if case.good and case.asked >= 3]
    wrong_and_sure = sum(not case.good for case in sure)
    likely = stats.binomtest(wrong_and_sure, max(len(cases), 1)).proportion_ci(method="wilson")
    scores = [case.dice for case in cases if np.isfinite(case.dice)]
    distances = [case.distance_mm for case in cases if np.isfinite(case.distance_mm)]
    return {
        "scans": len(cases),
        "levels right": f"{sum(case.right for case in cases)} of {asked}",
        "invented": sum(case.invented for case in cases),
        "Dice": f"{np.mean(scores):.3f}" if scores else "",
        "centres, mm": f"{np.mean(distances):.1f}" if distances else "",
        "wrong maps": sum(not case.good for case in cases),
        "called sure though wrong": f"{wrong_and_sure} ({wrong_and_sure / max(len(cases), 1):.1%}, {likely.low:.1%} to "
        f"{likely.high:.1%})",
        "right ones called sure": f"{sum(case.kind is Kind.SURE for case in good)} of {len(good)}",
    }


def table(cases: list[Case]) -> pd.DataFrame:
    """All cases, by what is in view, and by field of view."""
    rows: dict[str, dict[str, object]] = {"all": summary(cases)}
    for view in sorted({case.view for case in cases}):
        rows[view.replace("_", " ")] = summary([case for case in cases if case.view == view])
    for low, high in zip(FIELDS_MM, FIELDS_MM[1:], strict=False):
        here = [case for case in cases if low <= case.field_mm < high]
        if here:
            rows[f"field {low} to {high} mm"] = summary(here)
    return pd.DataFrame.from_dict(rows, orient="index")


def scan_rows(
    folder: Path, locators: list[Locator], device: torch.device, find: Find = locate
) -> pd.DataFrame:
    """Judge the locators on real scans with landmarks.

    A landmark is right if most of the voxels around it, 3 x 3 x 3, that carry any name carry its level's.
    """
    rows = {}
    for name, marks in json.loads((folder / "landmarks.json").read_text()).items():
        volume = read_nifti(folder / f"{name}.nii.gz")
        small = resample(volume, locators[0].settings.spacing_mm)
        located = find(locators, small.hu, device)
        spacing = np.array(small.spacing_mm)
        # landmarks count from the scan's first voxel, labels lie on the small copy's grid
        start = np.linalg.inv(volume.affine)[:3] @ small.affine[:, 3] * np.array(volume.spacing_mm)
        right, wrong = 0, []
        for level, points in marks["levels"].items():
            for z_mm, y_mm in points:
                at = np.rint((np.array([z_mm, y_mm, marks["x_mm"]]) - start) / spacing).astype(int)
                part = tuple(slice(max(index - 1, 0), index + 2) for index in at)
                names = np.bincount(located.labels[part].ravel(), minlength=9)[1:]
                good = names.sum() >= 5 and names.argmax() == LEVELS.index(level)
                right += good
                wrong += [] if good else [f"{level} at z {z_mm} y {y_mm}: {names.tolist()}"]
        last = LEVELS.index(list(marks["levels"])[-1])
        below = [name_ for name_ in located.verdict.levels if LEVELS.index(name_) > last]
        total = sum(len(points) for points in marks["levels"].values())
        rows[name] = {
            "levels": f"{next(iter(marks['levels']))} to {list(marks['levels'])[-1]}",
            "landmarks right": f"{right} of {total}",
            "invented below": ", ".join(below) or "none",
            "verdict": located.verdict.kind,
            "reasons": "; ".join(located.verdict.reasons) or "none",
            "wrong": "; ".join(wrong) or "none",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
