"""How alike folds and parts are, beside what else is in use; whether near-duplicates are found; how long it takes.

iterative-stratification (PyPI) is compared where it can be imported; it is not among the requirements.
"""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from markdown_table import markdown  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.competition.checks import UID_COLUMN  # noqa: E402
from cspine.competition.cohort import PERSON, read_cohort  # noqa: E402
from cspine.competition.labels import PREDICTION_TYPES  # noqa: E402
from cspine.competition.leaderboard import audit_lines, make_leaderboard  # noqa: E402
from cspine.competition.splits import make_folds  # noqa: E402
from cspine.competition.strata import BOXES, MASK, standardised_differences, strata  # noqa: E402
from cspine.competition.tables import read_train  # noqa: E402
from cspine.execution.store import StudyStore  # noqa: E402
from cspine.preprocessing.duplicates import ALIKE, find_duplicates, fingerprint  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402
from replica.settings import ReplicaSettings  # noqa: E402
from replica.writer.folder import replicate  # noqa: E402

FOLDS = 5


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_splits.py."""

    seeds: Annotated[int, Field(ge=1)] = 5
    """Replicas of the published cohort (tables alone)."""
    studies: Annotated[int, Field(ge=40)] = 2019
    """Training studies of each."""
    volumes: Path | None = None
    """A cache's volumes (after make prepare), for the near-duplicates."""
    out: Path = ROOT / "benchmarks" / "results" / "splits.md"
    """The tables are written here."""


def cohort_of(seed: int, studies: int, split: str = "published") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels and what is balanced, of a replica of tables alone."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ReplicaSettings(out=Path(folder) / "replica", train=studies, seed=seed, labels_only=True)
        if split == "even":
            settings = replace(settings, public=0, private=0, split="even")
        replicate(settings)
        raw = Path(folder) / "replica" / "competition"
        train, people = read_train(raw), read_cohort(raw)
    assert people is not None
    boxed, masked = (set(people.index[people[name]]) for name in ("boxed", "masked"))
    return train, strata(train, boxed, masked, people.loc[train[UID_COLUMN], list(PERSON)])


def ways(train: pd.DataFrame, table: pd.DataFrame, seed: int) -> dict[str, Callable[[], pd.Series]]:
    """Everything that gives folds, by name."""

    def at_random() -> pd.Series:
        folds = np.random.default_rng(seed).permutation(len(table)) % FOLDS
        return pd.Series(folds, table.index)

    found = {
        "random": at_random,
        "exchange search, labels alone": lambda: make_folds(train, FOLDS, seed),
        "exchange search, all columns (`make split`)": lambda: make_folds(train, FOLDS, seed, table),
    }
    try:
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
    except ImportError:
        return found

    def iterative() -> pd.Series:
        columns = table.copy()
        columns["age"] = columns["age"] > columns["age"].median()
        parts = MultilabelStratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(
            table, columns.astype(int)
        )
        folds = pd.Series(0, table.index)
        for fold, (_, held_out) in enumerate(parts):
            folds.iloc[held_out] = fold
        return folds

    return {"random": at_random, "iterative-stratification 0.1.9, all columns": iterative} | found


def balance(seeds: int, studies: int) -> pd.DataFrame:
    """Largest standardised differences and counts of each way, over all seeds."""
    rows: dict[str, list[tuple]] = {}
    for seed in cli.progress(range(seeds), unit="replica", what="balance"):
        train, table = cohort_of(seed, studies)
        for name, make in ways(train, table, seed).items():
            started = time.perf_counter()
            folds = make().loc[table.index]
            seconds = time.perf_counter() - started
            worst = standardised_differences(table, folds).abs().max()
            labels = worst[[kind for kind in PREDICTION_TYPES if kind in worst]].max()
            people = worst[[c for c in worst.index if c not in (*PREDICTION_TYPES, BOXES, MASK)]].max()
            counts = [
                [int(table.loc[folds == fold, column].sum()) for fold in range(FOLDS)]
                for column in (MASK, BOXES)
            ]
            sizes = [int((folds == fold).sum()) for fold in range(FOLDS)]
            rows.setdefault(name, []).append((labels, people, *counts, sizes, seconds))
    table = {}
    for name, found in rows.items():
        labels, people, masks, boxes, sizes, seconds = zip(*found, strict=True)
        table[name] = {
            "levels and overall": f"{max(labels):.3f}",
            "site, sex, age": f"{max(people):.3f}",
            "masks a fold": _range(masks),
            "boxed studies a fold": _range(boxes),
            "studies a fold": _range(sizes),
            "seconds": f"{np.median(seconds):.2f}",
        }
    return pd.DataFrame(table).T


def _range(counts: tuple[list[int], ...]) -> str:
    """Least and most over folds and seeds."""
    every = [count for one in counts for count in one]
    return f"{min(every)} to {max(every)}"


def altered(volume: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Copies as another export would make them."""
    return {
        "noise of 40 HU": (volume + random.normal(0, 40, volume.shape)).astype(np.int16),
        "one slice less at both ends": volume[1:-1],
        "three slices less at one end": volume[3:],
        "slices in the other order": volume[::-1],
        "HU * 0.97 + 20": (volume * 0.97 + 20).astype(np.int16),
        "spacing of 0.8": ndimage.zoom(volume, 1.25, order=1),
    }


def near_duplicates(folder: Path, copies: int = 60) -> list[str]:
    """Correlations of different patients and of altered copies."""
    store = StudyStore.of(folder)
    uids = store.uids()
    started = time.perf_counter()
    found = find_duplicates(folder, alike=-1.0) if len(uids) <= 1000 else find_duplicates(folder)
    seconds = time.perf_counter() - started
    random, rows = np.random.default_rng(0), {}
    for uid in uids[:copies]:
        volume = np.asarray(store.read(uid)[0]["volume"])
        original = fingerprint(volume)
        for name, copy in altered(volume, random).items():
            other = fingerprint(copy)
            turned = other.reshape(24, -1)[::-1].ravel()
            rows.setdefault(name, []).append(max(float(original @ other), float(original @ turned)))
    lines = [
        f"{len(uids)} prepared patients of a replica, {len(uids) * (len(uids) - 1) // 2} pairs, {seconds:.1f} s; the "
        f"most alike pair of different patients has a correlation of {found['correlation'].max():.3f}. They are "
        f"called near-duplicates from {ALIKE} on.",
        "",
        "| copy | least | median | found |",
        "|---|---|---|---|",
    ]
    for name, values in rows.items():
        share = np.mean(np.array(values) >= ALIKE)
        lines.append(f"| {name} | {min(values):.3f} | {np.median(values):.3f} | {100 * share:.0f} % |")
    return lines


def main(flags: Flags) -> None:
    """Measure, write and print.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    train, table = cohort_of(0, 3112, split="even")
    started = time.perf_counter()
    _, audit = make_leaderboard(train, table, 0)
    seconds = time.perf_counter() - started
    lines = [
        "# Splits: how alike are the folds?",
        "",
        "```sh",
        "python benchmarks/bench_splits.py " + shlex.join(sys.argv[1:]),
        "```",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, one thread. Largest standardised difference of any fold against the rest, "
        f"over {flags.seeds} replicas of {flags.studies} training studies (tables alone), {FOLDS} folds; goal 0.03, "
        "masks 17 or 18, boxes 46 to 48.",
        "",
        markdown(balance(flags.seeds, flags.studies), "split"),
        "",
        "## A local leaderboard",
        "",
        f"3,112 labelled studies of a replica divided as the original was (`make split LEADERBOARD=1`), "
        f"{seconds:.2f} s:",
        "",
        "```",
        *audit_lines(audit),
        "```",
    ]
    if flags.volumes:
        lines += ["", "## Near-duplicates", "", *near_duplicates(flags.volumes)]
    text = "\n".join(lines) + "\n"
    storage.write_text(flags.out, text)
    print(text)


if __name__ == "__main__":
    cli.run(main, Flags)
