"""How a run came about, for the report: finding the levels, learning, seconds, and what fell short."""

from pathlib import Path

import numpy as np
import pandas as pd

from cspine import storage
from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.evaluation import figures
from cspine.evaluation.page import Picture, Section, Table, count_notes
from cspine.execution.store import INDEX, META
from cspine.preprocessing.verdict import Kind
from cspine.settings.layout import METRICS, CacheLayout

SCORES = {
    "locator": "1 - Dice on whole volumes of the held-out fold",
    "encoder": "the weighted log loss of the held-out fold's slices",
    "classifier": "the competition's metric on the held-out fold",
}
"""What `score` means in each network's metrics.csv."""


def process_sections(run: Path, cache: Path, inference: Path | None) -> list[Section]:
    """Show how the run came about.

    Parameters
    ----------
    run : Path
        The run's folder.
    cache : Path
        The cache.
    inference : Path or None
        What the kernel noted (inference.json), None if it was not run.

    Returns
    -------
    list of Section
        The locator's Dice, learning curves, seconds a study, and what fell short.

    Raises
    ------
    InputError
        If the cache has no index at all, or if `inference` is missing or broken.
    """
    layout = CacheLayout(cache)
    return [
        _locator(run, layout),
        _learning(run),
        _seconds(layout, inference),
        _shortfalls(layout, inference),
    ]


def _metrics(run: Path, kind: str) -> dict[str, pd.DataFrame]:
    """A fold's name to its learning curve."""
    return {path.parent.name: pd.read_csv(path) for path in sorted(run.glob(f"{kind}/fold*/{METRICS}"))}


def _verdicts(cache: CacheLayout) -> tuple[str, ...]:
    """What is thought of the label maps, in a sentence; none where there are none."""
    kinds = [
        storage.read_json(path, made_by="make locate")["verdict"]["kind"]
        for path in sorted(cache.labels.glob(f"*/{META}"))
    ]
    if not kinds:
        return ()
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in Kind)
    return (f"Verdict on {len(kinds)} label maps: {counts}. Reasons are among the notes below.",)


def _locator(run: Path, cache: CacheLayout) -> Section:
    """Dice of every level and fold, and the verdicts."""
    names = [f"dice_{level}" for level in LEVELS]
    chosen = {}
    for fold, metrics in _metrics(run, "locator").items():
        judged = metrics.dropna(subset="score")
        if len(judged) and set(names) <= set(judged.columns):
            chosen[fold] = judged[names].to_numpy(np.float64)[int(judged["score"].argmin())]
    title = "Finding the levels"
    if not chosen:
        return Section(
            title,
            (
                "The locator's folds do not tell Dice by level; an older run has its mean alone.",
                *_verdicts(cache),
            ),
        )
    table = pd.DataFrame(chosen, index=list(LEVELS)).T
    every = table.to_numpy()
    row, column = (int(place) for place in np.unravel_index(int(np.nanargmin(every)), every.shape))
    weakest = f"{LEVELS[column]} in {list(chosen)[row]}, {every[row, column]:.2f}"
    words = (
        f"C1 to C7 are found with a mean Dice of {np.nanmean(every):.2f} on scans that the fold never saw (1 is a "
        f"perfect overlap with the mask); the weakest is {weakest}."
    )
    head = ("fold", *LEVELS)
    cells = [
        [name, *(f"{value:.2f}" for value in values)] for name, values in zip(chosen, every, strict=True)
    ]
    return Section(
        title, (words, *_verdicts(cache)), [Table(head, cells, "Dice on the held-out fold's masks")]
    )


def _learning(run: Path) -> Section:
    """How each fold of all networks learnt."""
    pictures = []
    for kind, score in SCORES.items():
        if metrics := _metrics(run, kind):
            caption = f"{kind}: training loss of every epoch; the held-out score is {score}"
            pictures.append(Picture(caption, [figures.curves_picture(metrics)]))
    return Section("Learning", pictures=pictures)


def _seconds(cache: CacheLayout, inference: Path | None) -> Section:
    """Where the time goes."""
    table = []
    for name, folder in (
        ("prepare: read, save, shrink", cache.volumes),
        ("columns: read, cut, save", cache.columns),
    ):
        if (folder / INDEX).is_file():
            seconds = pd.to_numeric(pd.read_csv(folder / INDEX)["seconds"], errors="coerce").dropna()
            if len(seconds):
                table.append([name, str(len(seconds)), f"{seconds.mean():.2f}", f"{seconds.max():.2f}"])
    if inference:
        report = storage.read_json(inference, made_by="make submission")
        for part, total in report.get("seconds_by_part", {}).items():
            table.append(
                [
                    f"kernel: {part}",
                    str(report["predicted"]),
                    f"{total / max(report['predicted'], 1):.2f}",
                    "-",
                ]
            )
    if not table:
        return Section("Seconds a study", ("Nothing was measured.",))
    return Section("Seconds a study", tables=[Table(("part", "studies", "mean", "longest"), table)])


def _shortfalls(cache: CacheLayout, inference: Path | None) -> Section:
    """Everything that failed, was mended, or fell back to constants."""
    items = []
    for folder in (cache.volumes, cache.columns):
        if (folder / INDEX).is_file():
            index = pd.read_csv(folder / INDEX, dtype=str, keep_default_na=False)
            failed, noted = index[index["status"] != "done"], index[index["notes"] != ""]
            items.append(
                f"{folder.name}: {len(index)} studies, {len(failed)} failed, {len(noted)} with notes"
            )
            items += [f"{folder.name}, {row.StudyInstanceUID}: {row.reason}" for row in failed.itertuples()]
            items += [f"{folder.name}, notes: {words}" for words in count_notes(noted["notes"])]
    if inference:
        report = storage.read_json(inference, made_by="make submission")
        items.append(
            f"kernel: {report['predicted']} of {report['studies']} studies predicted in {report['seconds']} s"
        )
        verdicts = ", ".join(f"{count} {kind}" for kind, count in report.get("verdicts", {}).items())
        items += [f"kernel, label maps: {verdicts}"] if verdicts else []
        items += [f"kernel, constants for {study}: {reason}" for study, reason in report["fell_back"].items()]
        notes = pd.Series(["; ".join(notes) for notes in report["notes"].values()], dtype=str)
        items += [f"kernel, notes: {words}" for words in count_notes(notes)]
    if not items:
        raise InputError(
            f"{cache.root}: no index of prepare or columns; run `make prepare` and `make columns`"
        )
    words = "Failures, mended scans and studies that fell back to constants."
    return Section("What fell short", (words,), items=items)
