"""The describe stage: what a competition folder holds, beside the paper's tables, and what is odd in it."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError

from cspine import cli, storage
from cspine.competition.checks import UID_COLUMN
from cspine.competition.cohort import read_cohort
from cspine.competition.inventory import describe, format_description, studies_with_masks
from cspine.competition.published import TABLE_1, TABLE_2, compare_rows, sets_of
from cspine.competition.tables import read_solution, read_train
from cspine.dicom.traits import table_of_traits
from cspine.preprocessing.masks import BROKEN_FILE
from cspine.settings.layout import CacheLayout

LEVEL_NUMBERS = range(1, 8)


def describe_folder(raw: Path, cache: Path) -> None:
    """Count what lies in a competition folder, print it beside the paper's tables, and write it into the cache.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache, which gets describe.json and traits.csv.

    Raises
    ------
    InputError
        As `inventory.describe`.
    """
    layout, train = CacheLayout(cache), read_train(raw)
    traits = table_of_traits(layout.traits, raw / "train_images", train[UID_COLUMN].tolist())
    found = describe(raw, traits, check_masks(raw / "segmentations", traits))
    print(format_description(found) + "\n")
    solution = raw.parent / "solution.csv"
    sets, sites = sets_of(train, read_solution(solution) if solution.is_file() else None, read_cohort(raw))
    print("Table 2 of the paper, and these studies\n" + compare_rows(sets, TABLE_2) + "\n")
    if sites:
        print("Table 1 of the paper, and these studies by site\n" + compare_rows(sites, TABLE_1) + "\n")
    storage.write_json(layout.description, found)
    images = found["images"]
    cli.log_stage(
        "describe", read=raw, wrote=layout.description, studies=images["studies"], slices=images["slices"]
    )


def check_masks(folder: Path, traits: pd.DataFrame) -> dict[str, list[str]]:
    """Look into every mask.

    Parameters
    ----------
    folder : Path
        The folder with the masks; may be missing.
    traits : DataFrame
        As from `table_of_traits`.

    Returns
    -------
    dict of str to list of str
        A kind of problem to the studies whose masks have it; kinds that nobody has are left out.
    """
    problems: dict[str, list[str]] = {
        "masks that can't be read": [],
        "masks without all of C1 to C7": [],
        "masks of another shape than their scan": [],
    }
    unreadable, levels, shapes = problems.values()
    masks = studies_with_masks(folder)
    for uid, path in cli.progress(masks.items(), unit="mask", total=len(masks), what="masks"):
        try:
            image = nibabel.load(path)
            if not isinstance(image, nibabel.Nifti1Pair):
                raise ImageFileError("no NIfTI file")
            there = set(np.rint(np.unique(np.asanyarray(image.dataobj))).astype(int).tolist())
        except (*BROKEN_FILE, ValueError, OverflowError):
            unreadable.append(uid)
            continue
        absent = [f"C{level}" for level in LEVEL_NUMBERS if level not in there]
        if absent:
            levels.append(f"{uid} (lacks {' '.join(absent)})")
        if uid in traits.index and np.isfinite(traits.loc[uid, "rows"]):
            scan = sorted(int(traits.loc[uid, name]) for name in ("slices", "rows", "columns"))
            if sorted(image.shape) != scan:
                shapes.append(uid)
    return {problem: studies for problem, studies in problems.items() if studies}
