"""The split stage: folds alike in all that is known, near-duplicates together; or a local competition."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cspine import cli, storage
from cspine.competition import tables
from cspine.competition.checks import UID_COLUMN, first_few
from cspine.competition.cohort import PERSON, read_cohort
from cspine.competition.inventory import studies_with_masks
from cspine.competition.leaderboard import audit_lines, make_leaderboard, write_leaderboard
from cspine.competition.splits import count_positives, make_folds, read_folds, write_folds
from cspine.competition.strata import SCAN, standardised_differences, strata
from cspine.dicom.traits import table_of_traits
from cspine.errors import InputError
from cspine.preprocessing.duplicates import find_duplicates
from cspine.settings.layout import CacheLayout


@dataclass(frozen=True)
class Known:
    """All that shapes a split."""

    train: pd.DataFrame
    table: pd.DataFrame
    """What is balanced, as from `strata.strata`."""
    pairs: list[tuple[str, str]]
    """Near-duplicates."""
    looked_for_pairs: bool

    def digest(self) -> str:
        """SHA-256 of labels and columns, whatever the order of the rows; near-duplicates apart."""
        return hashlib.sha256(self.table.sort_index().to_csv().encode()).hexdigest()


def split_studies(raw: Path, cache: Path, n_folds: int, seed: int) -> None:
    """Make the folds, say how alike they are, write them once.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache, which gets folds.csv, split.json and, after `make prepare`, duplicates.csv.
    n_folds : int
        How many folds.
    seed : int
        The seed of the first random folds.

    Raises
    ------
    InputError
        If the cache holds another split or one of other data, if the tables can't be used, and as `make_folds`.
    """
    known, layout = gather(raw, cache), CacheLayout(cache)
    described = {"folds": n_folds, "seed": seed, "data": known.digest()}
    with storage.locked(cache, "split"):
        folds, new = _folds(known, layout, described, n_folds, seed)
        differences = standardised_differences(known.table, folds).abs().max()
        if new or not layout.split.is_file():
            content = {
                **described,
                "differences": {name: round(value, 4) for name, value in differences.items()},
            }
            storage.write_json(layout.split, content)
    print(count_positives(folds, known.train).to_string())
    print(describe_balance(differences) + "\n")
    wrote = layout.folds if new else f"nothing ({layout.folds} holds this split)"
    cli.log_stage("split", read=raw / "train.csv", wrote=wrote, studies=len(folds), folds=n_folds)


def split_leaderboard(raw: Path, cache: Path, out: Path, seed: int) -> None:
    """Make a local competition out of a labelled set, with an audit beside the published one.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache, for header traits and near-duplicates.
    out : Path
        The folder that gets competition/, solution.csv and audit.json.
    seed : int
        The seed of the first random parts.

    Raises
    ------
    InputError
        If `out` holds something else, if the tables can't be used, or for fewer than 20 studies.
    """
    known = gather(raw, cache)
    parts, audit = make_leaderboard(known.train, known.table, seed, known.pairs)
    with storage.locked(out, "split"):
        new = write_leaderboard(raw, out, parts, audit)
    print("\n".join(audit_lines(audit)) + "\n")
    wrote = out if new else f"nothing ({out} holds this competition)"
    cli.log_stage("split", read=raw / "train.csv", wrote=wrote, studies=len(parts))


def gather(raw: Path, cache: Path) -> Known:
    """Collect labels, annotations, patients or headers, and near-duplicates.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache; gets traits.csv, and duplicates.csv where the volumes are prepared.

    Returns
    -------
    Known
        All that shapes a split.

    Raises
    ------
    InputError
        If a table can't be used.
    """
    train, layout = tables.read_train(raw), CacheLayout(cache)
    uids = train[UID_COLUMN].tolist()
    cohort = read_cohort(raw)
    if cohort is not None:
        others = cohort.reindex(uids)[list(PERSON)]
    else:
        others = table_of_traits(layout.traits, raw / "train_images", uids).reindex(columns=list(SCAN))
    boxed, masked = annotated_studies(raw, cohort)
    pairs = audit_duplicates(layout)
    table = strata(train, boxed, masked, others if len(others) else None)
    return Known(train, table, pairs or [], pairs is not None)


def annotated_studies(raw: Path, cohort: pd.DataFrame | None) -> tuple[set[str], set[str]]:
    """Tell which studies have boxes and which have a mask.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cohort : DataFrame or None
        As from `read_cohort`; of a replica of tables alone it knows what the folder lacks.

    Returns
    -------
    boxed : set of str
        Studies with boxes.
    masked : set of str
        Studies with a mask.

    Raises
    ------
    InputError
        If the table of boxes can't be used.
    """
    boxed: set[str] = set()
    if (raw / "train_bounding_boxes.csv").is_file():
        boxed = set(tables.read_boxes(raw)[UID_COLUMN])
    masked = set(studies_with_masks(raw / "segmentations"))
    if cohort is not None:
        boxed = boxed or set(cohort.index[cohort["boxed"]])
        masked = masked or set(cohort.index[cohort["masked"]])
    return boxed, masked


def audit_duplicates(layout: CacheLayout) -> list[tuple[str, str]] | None:
    """Look for near-duplicates among the prepared volumes, list and print them.

    Parameters
    ----------
    layout : CacheLayout
        The cache.

    Returns
    -------
    list of (str, str), or None
        The pairs; None where the volumes are not prepared.
    """
    if not layout.volumes.is_dir():
        print(f"near-duplicates: not looked for, {layout.volumes} is missing (`make prepare` makes it)")
        return None
    found = find_duplicates(layout.volumes)
    storage.write_csv(layout.duplicates, found)
    print(f"near-duplicates: {len(found)} pairs among the prepared volumes, see {layout.duplicates}")
    for row in found.head(5).to_dict("records"):
        print(f"  {row[UID_COLUMN]} and {row['other']}, correlation {row['correlation']:.3f}")
    return list(zip(found[UID_COLUMN], found["other"], strict=True))


def describe_balance(differences: pd.Series) -> str:
    """Say how alike the folds are.

    Parameters
    ----------
    differences : Series of float
        The largest standardised difference of each column, a fold against the rest.

    Returns
    -------
    str
        A sentence.
    """
    worst = differences.sort_values(ascending=False)
    few = ", ".join(f"{name} {value:.3f}" for name, value in worst.head(3).items())
    return f"standardised differences, a fold against the rest, of {len(worst)} columns: at most {few}"


def _folds(
    known: Known, layout: CacheLayout, described: dict[str, Any], n_folds: int, seed: int
) -> tuple[pd.Series, bool]:
    """The folds, and whether they are new; InputError if those that are there do not fit."""
    if layout.folds.is_file() and layout.split.is_file():
        there, folds = storage.read_json(layout.split, made_by="make split"), read_folds(layout.folds)
        changed = [name for name, value in described.items() if there.get(name) != value]
        if changed:
            words = {
                "data": "labels, annotations or patients",
                "folds": "the number of folds",
                "seed": "the seed",
            }
            raise InputError(
                f"{layout.folds}: found another split (changed: {', '.join(words[name] for name in changed)}); "
                "expected the same data and flags, because models may be trained on it; delete folds.csv, "
                "split.json and the runs, or use another cache folder"
            )
        _check_pairs(folds, known.pairs, layout.folds)
        return folds, False
    folds = make_folds(known.train, n_folds, seed, known.table, known.pairs)
    return folds, write_folds(layout.folds, folds)


def _check_pairs(folds: pd.Series, pairs: Sequence[tuple[str, str]], path: Path) -> None:
    """Refuse a split that has near-duplicates on two sides."""
    apart = [f"{one} and {other}" for one, other in pairs if folds.get(one) != folds.get(other)]
    if apart:
        raise InputError(
            f"{path}: found near-duplicates in two folds: {first_few(apart)}; expected them in one, or a network is "
            "judged on what it saw; delete folds.csv, split.json and the runs, then run `make split` again"
        )
