"""What lies in a competition folder, counted, and what is missing from it or odd in it."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine.competition import checks, tables
from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES

BOX_TOLERANCE_PX = 1.0
"""A box may reach so far beyond the image's edge: annotators draw to it, and corners are rounded."""
REPLICA = "replica.json"
"""What a replica says of itself, beside its competition folder."""
MASK_SUFFIXES = (".nii", ".nii.gz")


def describe(
    raw: Path | str,
    traits: pd.DataFrame | None = None,
    mask_problems: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Count studies, slices, positives, boxes and masks of a competition folder.

    Parameters
    ----------
    raw : Path or str
        The competition folder.
    traits : DataFrame, optional
        What the headers tell, indexed by StudyInstanceUID (rows, columns, header_uid): boxes are held against
        the images, folders against the UIDs in the files.
    mask_problems : mapping of str to list of str, optional
        A kind of problem to the studies whose masks have it.

    Returns
    -------
    dict
        "train", "images", "boxes", "masks", "test" and "missing", ready for JSON. "missing" is a list of
        sentences, one for every kind of thing that should be there and is not, or should not and is.

    Raises
    ------
    InputError
        For a missing folder, and for tables that can't be used.
    """
    raw = tables.check_competition_folder(raw)
    missing: list[str] = []
    train = tables.read_train(raw)
    uids = train[UID_COLUMN].tolist()
    positives = {kind: int(train[kind].sum()) for kind in PREDICTION_TYPES}
    return {
        "train": {"studies": len(train), "positives": positives},
        "images": _describe_images(raw / "train_images", uids, traits, missing),
        "boxes": _describe_boxes(
            raw, uids, set(train.loc[train["patient_overall"] == 1, UID_COLUMN]), traits, missing
        ),
        "masks": _describe_masks(raw / "segmentations", uids, mask_problems or {}, missing),
        "test": _describe_test(raw, missing),
        "missing": missing,
    }


def count_slices(folder: Path | str) -> tuple[dict[str, int], int]:
    """Count the .dcm files of every study folder.

    Parameters
    ----------
    folder : Path or str
        A folder with one folder a study.

    Returns
    -------
    slices : dict of str to int
        Study to its number of .dcm files, sorted by study.
    others : int
        How many other entries were found.
    """
    slices, others = {}, 0
    with os.scandir(folder) as studies:
        for study in studies:
            if not study.is_dir():
                others += 1
                continue
            with os.scandir(study) as files:
                names = [file.name for file in files]
            slices[study.name] = sum(name.lower().endswith(".dcm") for name in names)
            others += len(names) - slices[study.name]
    return dict(sorted(slices.items())), others


def format_description(found: dict[str, Any]) -> str:
    """Lay `describe`'s counts out as a short table, what is missing below it.

    Parameters
    ----------
    found : dict
        The counts, as from `describe`.

    Returns
    -------
    str
        The table, several lines.
    """
    train, images, boxes, masks, test = (found[key] for key in ("train", "images", "boxes", "masks", "test"))
    spread = " / ".join(f"{images[key]:.0f}" for key in ("slices_min", "slices_median", "slices_max"))
    rows = {
        "labelled studies": f"{train['studies']}",
        "study folders": f"{images['studies']}",
        "slices": f"{images['slices']} ({spread} a study: min / median / max)",
        "boxes": f"{boxes['boxes']} over {boxes['studies']} studies",
        "masks": f"{masks['masks']}",
        "test": "{rows} rows, {studies} studies, {folders} folders, {slices} slices".format(**test),
    }
    lines = [f"{name:17}{value}" for name, value in rows.items()]
    lines += ["", f"{'positives':17}{'studies':>7}{'share':>9}"]
    for kind, count in train["positives"].items():
        lines.append(f"{kind:17}{count:7d}{100 * count / train['studies']:7.1f} %")
    lines += ["", "missing or odd:" if found["missing"] else "missing or odd: nothing"]
    return "\n".join(lines + [f"  {sentence}" for sentence in found["missing"]])


def is_replica(raw: Path) -> bool:
    """Tell a synthetic competition, which `make replica` wrote, by the file that lies beside or in it.

    Parameters
    ----------
    raw : Path
        The competition folder.

    Returns
    -------
    bool
        True for a replica.
    """
    return any((folder / REPLICA).is_file() for folder in (raw.resolve().parent, raw))


def find_mask(folder: Path, uid: str) -> Path | None:
    """Find a study's mask.

    Parameters
    ----------
    folder : Path
        The competition's folder of masks.
    uid : str
        StudyInstanceUID.

    Returns
    -------
    Path or None
        <uid>.nii, or else <uid>.nii.gz; None if there is neither.
    """
    return next((path for suffix in MASK_SUFFIXES if (path := folder / f"{uid}{suffix}").is_file()), None)


def studies_with_masks(folder: Path) -> dict[str, Path]:
    """List the masks in a folder.

    Parameters
    ----------
    folder : Path
        The competition's folder of masks.

    Returns
    -------
    dict of str to Path
        Study -> its mask, sorted by study; empty if there is no such folder.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    names = {
        file.name.removesuffix(".gz").removesuffix(".nii")
        for file in files
        if file.name.endswith(MASK_SUFFIXES)
    }
    return {uid: path for uid in sorted(names) if (path := find_mask(folder, uid)) is not None}


def _describe_images(
    folder: Path, uids: list[str], traits: pd.DataFrame | None, missing: list[str]
) -> dict[str, Any]:
    slices, others = _count_or_miss(folder, missing)
    # a missing folder is noted as such already; naming each of its studies would only repeat it
    if slices or folder.is_dir():
        _note(missing, "labelled studies without a folder in train_images", _without(uids, slices))
        _note(missing, "study folders without a label", _without(slices, uids))
    _note(missing, "study folders without a slice", [uid for uid, count in slices.items() if not count])
    if others:
        missing.append(f"{others} entries of train_images that are neither study folders nor .dcm files")
    if traits is not None and len(traits):
        named = traits["header_uid"]
        elsewhere = traits.index[(named != "") & (named != named.index)]
        _note(missing, "folders with the files of another StudyInstanceUID", elsewhere.tolist())
        _note(missing, "studies whose headers can't be read", traits.index[traits["rows"].isna()].tolist())
    counts = np.array(list(slices.values()) or [0])
    return {
        "studies": len(slices),
        "slices": int(counts.sum()),
        "slices_min": int(counts.min()),
        "slices_median": float(np.median(counts)),
        "slices_max": int(counts.max()),
        "slices_by_study": slices,
    }


def _describe_boxes(
    raw: Path, uids: list[str], positive: set[str], traits: pd.DataFrame | None, missing: list[str]
) -> dict[str, int]:
    if not (raw / "train_bounding_boxes.csv").is_file():
        missing.append("train_bounding_boxes.csv is missing; training then has no boxes to learn from")
        return {"boxes": 0, "studies": 0}
    boxes = tables.read_boxes(raw)
    studies = sorted(boxes[UID_COLUMN].unique())
    _note(missing, "studies with boxes that are not in train.csv", _without(studies, uids))
    _note(
        missing,
        "studies with boxes, yet without a fracture",
        [s for s in studies if s in uids and s not in positive],
    )
    if (raw / "train_images").is_dir():
        _note(missing, "boxes on a slice that does not exist", _on_no_slice(boxes, raw / "train_images"))
    if traits is not None and len(traits):
        _note(missing, "boxes that leave the image", _outside(boxes, traits))
    return {"boxes": len(boxes), "studies": len(studies)}


def _on_no_slice(boxes: pd.DataFrame, images: Path) -> list[str]:
    """Boxes, as "study slice n", without a file of that number in a folder that is there."""
    found = []
    for uid, rows in boxes.groupby(UID_COLUMN, sort=False):
        folder = images / str(uid)
        if folder.is_dir():
            names = {path.stem for path in folder.iterdir() if path.suffix.lower() == ".dcm"}
            numbers = {int(name) for name in names if name.isdecimal()}
            found += [f"{uid} slice {number}" for number in rows["slice_number"] if number not in numbers]
    return found


def _outside(boxes: pd.DataFrame, traits: pd.DataFrame) -> list[str]:
    """Boxes, as "study slice n", that reach beyond the image by more than BOX_TOLERANCE_PX."""
    size = traits.reindex(boxes[UID_COLUMN])[["columns", "rows"]].to_numpy(np.float64)
    corner = boxes[list(tables.BOX_CORNER)].to_numpy()
    far = corner + boxes[list(tables.BOX_SIZE)].to_numpy()
    # comparisons with the NaN of a study without headers are false
    outside = (corner < -BOX_TOLERANCE_PX).any(axis=1) & np.isfinite(size).all(axis=1)
    outside |= (far > size + BOX_TOLERANCE_PX).any(axis=1)
    here = boxes[outside]
    return [
        f"{uid} slice {number}" for uid, number in zip(here[UID_COLUMN], here["slice_number"], strict=True)
    ]


def _describe_masks(
    folder: Path, uids: list[str], problems: Mapping[str, Sequence[str]], missing: list[str]
) -> dict[str, Any]:
    if not folder.is_dir():
        missing.append("segmentations is missing; training the locator needs its masks")
        return {"masks": 0, "studies": []}
    masks = list(studies_with_masks(folder))
    _note(missing, "masks without a labelled study", _without(masks, uids))
    for problem, studies in problems.items():
        _note(missing, problem, list(studies))
    return {"masks": len(masks), "studies": masks}


def _describe_test(raw: Path, missing: list[str]) -> dict[str, int]:
    slices, _ = _count_or_miss(raw / "test_images", missing)
    names = [name for name in ("test.csv", "sample_submission.csv") if not (raw / name).is_file()]
    missing += [f"{name} is missing; a submission needs it" for name in names]
    if "test.csv" in names:
        return {"rows": 0, "studies": 0, "folders": len(slices), "slices": sum(slices.values())}
    test = tables.read_test(raw)
    uids = test[UID_COLUMN].unique().tolist()
    _note(missing, "studies of test.csv without a folder in test_images", _without(uids, slices))
    _note(missing, "folders in test_images that test.csv does not name", _without(slices, uids))
    if "sample_submission.csv" not in names:
        asked, sample = set(test["row_id"]), set(tables.read_sample(raw)["row_id"])
        _note(missing, "row ids in only one of test.csv and sample_submission.csv", sorted(asked ^ sample))
    return {"rows": len(test), "studies": len(uids), "folders": len(slices), "slices": sum(slices.values())}


def _count_or_miss(folder: Path, missing: list[str]) -> tuple[dict[str, int], int]:
    if folder.is_dir():
        return count_slices(folder)
    missing.append(f"{folder.name} is missing; get it with `{checks.DOWNLOAD}`, or use `make replica`")
    return {}, 0


def _without(items: Collection[str], known: Collection[str]) -> list[str]:
    known = set(known)
    return [item for item in items if item not in known]


def _note(missing: list[str], what: str, items: list[str]) -> None:
    """Add one sentence that names the first few items."""
    if items:
        more = f" and {len(items) - 5} more" if len(items) > 5 else ""
        missing.append(f"{len(items)} {what}: {', '.join(items[:5])}{more}")
