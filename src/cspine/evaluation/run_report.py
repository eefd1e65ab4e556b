"""The report of a run: scores, calibration, pictures of studies, how it learnt, and what fell short."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cspine import cli, storage
from cspine.competition import checks, rows, tables
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.metric import study_losses
from cspine.errors import InputError
from cspine.evaluation import figures
from cspine.evaluation.page import Section, count_notes, write_page
from cspine.evaluation.score_table import format_tables, from_dict
from cspine.execution.store import INDEX, StudyStore
from cspine.preprocessing.column import Column
from cspine.preprocessing.stores import open_columns
from cspine.settings.layout import METRICS, CacheLayout, RunLayout
from cspine.settings.presets import Preset

SCORES = {
    "locator": "1 - Dice on whole volumes of the held-out fold",
    "encoder": "the weighted log loss of the held-out fold's slices",
    "classifier": "the competition's metric on the held-out fold",
}
"""What `score` means in each network's metrics.csv."""


@dataclass(frozen=True)
class ReportSources:
    """What a report is made from."""

    raw: Path
    """The competition folder."""
    cache: Path
    """The cache."""
    run: Path
    """The run's folder."""
    preset: Preset
    """The settings of cache and run."""
    inference: Path | None = None
    """What the kernel noted (inference.json), None if it was not run."""
    studies: int = 4
    """How many are shown of each kind."""


def report_run(sources: ReportSources) -> None:
    """Gather, draw, write RUN/report.html.

    Parameters
    ----------
    sources : ReportSources
        What the report is made from.

    Raises
    ------
    InputError
        If a file that the report needs is missing or can't be used.
    """
    run = RunLayout(sources.run)
    scores = storage.read_json(run.scores, made_by="make score")
    table = from_dict(scores["scores"])
    uids, values = rows.wide(tables.read_submission(run.oof, advice="`make cv` makes it"))
    train = tables.read_train(sources.raw).set_index(checks.UID_COLUMN)
    truth = train.loc[uids, list(PREDICTION_TYPES)].to_numpy(np.float64)
    found = Found(uids, values, truth)
    sections = [
        Section("Scores", "Lower is better; the gain is over the best constants 2q / (1 + q) of the training rates q. "
                "Out-of-fold values are calibrated on the other folds; a fold judged at several epochs kept the best.",
                block=format_tables(table),
                pictures=(("Gain over the constants, level by level", figures.gain_picture(table)),)),
        Section("Calibration", "Out of fold. A submitted value v stands for the probability v / (2 - v).",
                pictures=(("Predicted probability against the share that is fractured",
                           figures.reliability_picture(values, truth)),)),
        *_studies(sources, found),
        _learning(sources.run),
        _shortfalls(sources),
    ]  # fmt: skip
    write_page(run.report, f"Cervical spine fractures: {sources.run.name}", sections)
    cli.log_stage("report", read=f"{sources.run} and {sources.cache}", wrote=run.report, studies=len(uids))


@dataclass(frozen=True)
class Found:
    """Out-of-fold values beside the truth."""

    uids: list[str]
    values: np.ndarray
    """Submitted values, float64 (n, 8)."""
    truth: np.ndarray
    """Labels, float64 (n, 8)."""


def _studies(sources: ReportSources, found: Found) -> list[Section]:
    """Pictures of typical and of badly predicted studies."""
    store = open_columns(sources.cache, sources.preset)
    losses = study_losses(found.truth, found.values)
    order = [int(n) for n in np.argsort(losses, kind="stable") if store.has(found.uids[int(n)])]
    positive = [n for n in order if found.truth[n, 7]]
    negative = [n for n in order if not found.truth[n, 7]]
    kinds = {
        "Fractured studies": (
            "from the best to the median prediction",
            positive[: max(len(positive) // 2, 1)],
        ),
        "Studies without a fracture": (
            "from the best to the median prediction",
            negative[: max(len(negative) // 2, 1)],
        ),
        "The worst errors": ("the studies that cost most, out of fold", order[::-1][: sources.studies]),
    }
    sections = []
    for title, (words, numbers) in kinds.items():
        chosen = [
            numbers[int(position)]
            for position in np.linspace(0, len(numbers) - 1, min(sources.studies, len(numbers)))
        ]
        pictures = tuple(_picture(store, found, number, losses[number], sources.preset) for number in chosen)
        sections.append(Section(title, f"{words}; levels outlined as the locator saw them, × marks a true fracture, "
                                "the red rectangle an annotated box.", pictures=pictures))  # fmt: skip
    return sections


def _picture(store: StudyStore, found: Found, number: int, loss: float, preset: Preset) -> tuple[str, Figure]:
    """Caption and picture of one study."""
    uid = found.uids[number]
    column = Column.load(*store.read(uid))
    broken = [level for level, there in zip(LEVELS, found.truth[number], strict=False) if there] or ["none"]
    title = (
        f"Study {uid.rpartition('.')[2]}, window {preset.column.window_name}, fractured: {', '.join(broken)}"
    )
    figure = figures.study_picture(column, found.values[number], found.truth[number], title)
    return f"{title}; weighted loss {loss:.3f}", figure


def _learning(run: Path) -> Section:
    """How each fold of both networks learnt."""
    pictures = []
    for kind, score in SCORES.items():
        metrics = {
            path.parent.name: pd.read_csv(path) for path in sorted(run.glob(f"{kind}/fold*/{METRICS}"))
        }
        if metrics:
            pictures.append((f"{kind}: the score is {score}", figures.curves_picture(metrics)))
    return Section("Learning", "", pictures=tuple(pictures))


def _shortfalls(sources: ReportSources) -> Section:
    """Everything that failed, was mended, or fell back to constants."""
    lines = []
    cache = CacheLayout(sources.cache)
    for folder in (cache.volumes, cache.columns):
        if (folder / INDEX).is_file():
            index = pd.read_csv(folder / INDEX, dtype=str, keep_default_na=False)
            failed = index[index["status"] != "done"]
            noted = index[index["notes"] != ""]
            lines.append(
                f"{folder.name}: {len(index)} studies, {len(failed)} failed, {len(noted)} with notes"
            )
            lines += [f"  {row.StudyInstanceUID}: {row.reason}" for row in failed.itertuples()]
            lines += count_notes(noted["notes"])
    if sources.inference:
        report = storage.read_json(sources.inference, made_by="make submission")
        lines.append(
            f"kernel: {report['predicted']} of {report['studies']} studies predicted in {report['seconds']} s"
        )
        lines += [f"  constants for {study}: {reason}" for study, reason in report["fell_back"].items()]
        lines += count_notes(pd.Series(["; ".join(notes) for notes in report["notes"].values()], dtype=str))
    if not lines:
        raise InputError(
            f"{sources.cache}: no index of prepare or columns; run `make prepare` and `make columns`"
        )
    return Section(
        "What fell short",
        "Failures, mended scans and studies that fell back to constants.",
        block="\n".join(lines),
    )
