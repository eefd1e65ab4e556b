"""A local competition out of any labelled set, balanced as the original promised to be, with an audit."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine import storage
from cspine.competition.checks import UID_COLUMN
from cspine.competition.cohort import COHORT, read_cohort
from cspine.competition.inventory import find_mask
from cspine.competition.labels import LEVELS, PREDICTION_TYPES, PUBLISHED, Counts, weights_of
from cspine.competition.metric import best_constants, global_loss_of_constants
from cspine.competition.rows import long, split_row_ids
from cspine.competition.splits import make_parts
from cspine.competition.strata import difference_of
from cspine.errors import InputError

PARTS = ("train", "public", "private")
SMALLEST = 20
"""Studies below which three parts make no sense."""
GOAL, CONSTANTS_GOAL = 0.03, 0.005
"""Standardised difference, and difference of the constants' scores, that the audit calls balanced."""


def make_leaderboard(
    train: pd.DataFrame, table: pd.DataFrame, seed: int, pairs: Sequence[tuple[str, str]] = ()
) -> tuple[pd.Series, dict[str, Any]]:
    """Divide labelled studies as the original did (2,019 / 304 / 789), but alike.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    table : DataFrame of float
        What is balanced, as from `strata.strata`.
    seed : int
        The seed of the first random parts.
    pairs : sequence of (str, str)
        Studies that have to share a part.

    Returns
    -------
    parts : Series of str
        "train", "public" or "private", indexed by StudyInstanceUID, in train's order.
    audit : dict
        As from `audit`, with the published split's beside it.

    Raises
    ------
    InputError
        For fewer than 20 studies.
    """
    if len(train) < SMALLEST:
        raise InputError(
            f"leaderboard: found {len(train)} labelled studies; expected at least {SMALLEST}; label more, or make a "
            "larger replica"
        )
    published = np.array([PUBLISHED[part].studies for part in PARTS])
    ends = np.round(np.cumsum(published) / published.sum() * len(train)).astype(int)
    sizes = np.diff(ends, prepend=0).tolist()
    found = make_parts(table, sizes, seed, pairs).loc[train[UID_COLUMN]]
    parts = found.map(dict(enumerate(PARTS))).rename("part")
    return parts, audit(train, table, parts)


def audit(train: pd.DataFrame, table: pd.DataFrame, parts: pd.Series) -> dict[str, Any]:
    """Hold the parts against each other, and Table 2's beside them.

    Parameters
    ----------
    train : DataFrame
        All labelled studies.
    table : DataFrame of float
        What is balanced.
    parts : Series of str
        The part of every study.

    Returns
    -------
    dict
        "counts" (part to studies and positives), "differences" (pair of parts to column to standardised
        difference), "constants" (part to the score of the training part's constants, global form), and under
        "published" the same of the original's Table 2, whose columns are the labels alone.
    """
    labels = train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)]
    counts = {}
    for part in PARTS:
        here = labels.loc[parts.index[parts == part]]
        counts[part] = Counts(len(here), tuple(int(value) for value in here.sum()))
    differences = {}
    for one, other in combinations(PARTS, 2):
        pair = (table.loc[parts.index[parts == name]] for name in (one, other))
        differences[f"{one} against {other}"] = {
            name: round(float(value), 4) for name, value in difference_of(*pair).items()
        }
    return {
        "counts": {
            part: {"studies": of.studies, "positives": list(of.positives)} for part, of in counts.items()
        },
        "differences": differences,
        "constants": _constants_scores(counts),
        "published": {"differences": _published_differences(), "constants": _constants_scores(PUBLISHED)},
    }


def _constants_scores(counts: dict[str, Counts]) -> dict[str, float]:
    """Score of the training part's best constants on each part, global form."""
    constants = best_constants(counts["train"].rates())
    return {part: round(global_loss_of_constants(counts[part], constants), 4) for part in PARTS}


def _published_differences() -> dict[str, dict[str, float]]:
    """Table 2's standardised differences of the labels, for each pair of parts."""
    found = {}
    for one, other in combinations(PARTS, 2):
        first, second = PUBLISHED[one].rates(), PUBLISHED[other].rates()
        spread = np.sqrt((first * (1 - first) + second * (1 - second)) / 2)
        values = (first - second) / spread
        found[f"{one} against {other}"] = {
            kind: round(float(value), 4) for kind, value in zip(PREDICTION_TYPES, values, strict=True)
        }
    return found


def audit_lines(found: dict[str, Any]) -> list[str]:
    """Lay an audit out as plain text, the published split beside it.

    Parameters
    ----------
    found : dict
        As from `audit`.

    Returns
    -------
    list of str
        Lines.
    """
    lines = ["part      studies  " + "".join(f"{kind:>6}" for kind in (*LEVELS, "any"))]
    for part, counts in found["counts"].items():
        lines.append(
            f"{part:9} {counts['studies']:7d}  " + "".join(f"{value:6d}" for value in counts["positives"])
        )
    lines += ["", "largest standardised differences" + f"{'here':>14}{'Table 2 of the paper':>40}"]
    for pair, values in found["differences"].items():
        theirs = found["published"]["differences"][pair]
        lines.append(f"{pair:30}  {_largest(values):28}  {_largest(theirs)}")
    lines += ["", "score of the training part's constants, global form"]
    for name, scores in (("here", found["constants"]), ("Table 2", found["published"]["constants"])):
        spread = max(scores.values()) - min(scores.values())
        lines.append(
            f"{name:9} "
            + ", ".join(f"{part} {score:.4f}" for part, score in scores.items())
            + f": {spread:.4f} apart"
        )
    worst = max(abs(value) for values in found["differences"].values() for value in values.values())
    apart = max(found["constants"].values()) - min(found["constants"].values())
    good = worst <= GOAL and apart <= CONSTANTS_GOAL
    lines.append(
        f"{'balanced' if good else 'not balanced'}: {worst:.3f} at most ({GOAL} wanted), constants {apart:.4f} apart "
        f"({CONSTANTS_GOAL} wanted)" + ("" if good else "; so few studies can't be divided more evenly")
    )
    return lines


def _largest(values: dict[str, float]) -> str:
    """The three largest differences with their columns."""
    worst = sorted(values.items(), key=lambda item: -abs(item[1]))[:3]
    return ", ".join(f"{name} {value:+.3f}" for name, value in worst)


def write_leaderboard(raw: Path, out: Path, parts: pd.Series, found: dict[str, Any]) -> bool:
    """Write the local competition: tables, links to the scans, the solution, the audit.

    Parameters
    ----------
    raw : Path
        The competition folder that it comes from.
    out : Path
        The folder that gets competition/, solution.csv, audit.json and, of a replica, truth/cohort.csv.
    parts : Series of str
        The part of every study.
    found : dict
        The audit.

    Returns
    -------
    bool
        Whether anything was written; False where the same competition is there.

    Raises
    ------
    InputError
        If `out` holds something else.
    """
    parts = parts.sort_index()
    labels = pd.read_csv(raw / "train.csv", dtype={UID_COLUMN: str}).set_index(UID_COLUMN)
    solution = _solution(labels, parts)
    text = solution.to_csv(index=False)
    target = out / "solution.csv"
    if target.is_file() and target.read_text() == text and (out / "audit.json").is_file():
        return False
    if (out / "audit.json").exists() or target.exists():
        raise InputError(
            f"{out}: found another competition; expected none or the same one; name another folder, or delete it"
        )
    folder = out / "competition"
    here = parts.index[parts == "train"]
    storage.write_csv(folder / "train.csv", labels.loc[here].reset_index())
    _write_test(folder, solution)
    _link(raw, folder, parts)
    if (raw / "train_bounding_boxes.csv").is_file():
        boxes = pd.read_csv(raw / "train_bounding_boxes.csv", dtype=str)
        storage.write_csv(folder / "train_bounding_boxes.csv", boxes[boxes[UID_COLUMN].isin(here)])
    if read_cohort(raw) is not None:
        people = pd.read_csv(raw.parent / COHORT, dtype=str, keep_default_na=False)
        people = people[people[UID_COLUMN].isin(parts.index)]
        storage.write_csv(out / COHORT, people.assign(split=parts.loc[people[UID_COLUMN]].to_numpy()))
    storage.write_json(out / "audit.json", found)
    storage.write_text(target, text)  # last: its presence says that all is there
    return True


def _solution(labels: pd.DataFrame, parts: pd.Series) -> pd.DataFrame:
    """row_id, fractured, weight, Usage of the public and private studies."""
    tested = parts.index[parts != "train"]
    truth = labels.loc[tested, list(PREDICTION_TYPES)].to_numpy()
    frame = long(list(tested), truth)
    return frame.assign(
        fractured=frame["fractured"].astype(int),
        weight=weights_of(truth).reshape(-1).astype(int),
        Usage=np.repeat([parts[uid].capitalize() for uid in tested], len(PREDICTION_TYPES)),
    )


def _write_test(folder: Path, solution: pd.DataFrame) -> None:
    """test.csv and sample_submission.csv."""
    split = split_row_ids(solution["row_id"])
    test = pd.DataFrame({"row_id": solution["row_id"], **split})
    storage.write_csv(folder / "test.csv", test)
    storage.write_csv(folder / "sample_submission.csv", solution[["row_id"]].assign(fractured=0.5))


def _link(raw: Path, folder: Path, parts: pd.Series) -> None:
    """Links to the scans and masks that are there."""
    for uid, part in parts.items():
        images = "train_images" if part == "train" else "test_images"
        pairs = [(raw / "train_images" / str(uid), folder / images / str(uid))]
        mask = find_mask(raw / "segmentations", str(uid))
        if part == "train" and mask is not None:
            pairs.append((mask, folder / "segmentations" / mask.name))
        for source, target in pairs:
            if source.exists() and not target.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(source.resolve(), target)
