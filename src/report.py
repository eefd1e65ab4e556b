"""Write the HTML report of a run: scores, calibration, pictures of studies, and what fell short."""

from dataclasses import dataclass as plain
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition import scoring, tables
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.metric import study_losses
from cspine.errors import InputError
from cspine.evidence import figures
from cspine.evidence.report import Section, count_notes, write_report
from cspine.scans.column import Column
from cspine.training.cached import open_columns
from cspine.training.presets import preset_named

SCORES = {
    "locator": "1 - Dice on whole volumes of the held-out fold",
    "encoder": "the weighted log loss of the held-out fold's slices",
    "classifier": "the competition's metric on the held-out fold",
}
"""What `score` means in each network's metrics.csv."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of report.py."""

    raw: Path = Path("data/raw")
    """The competition folder."""
    cache: Path = Path("data/cache")
    """The cache with the columns that are shown."""
    run: Path = Path("data/runs/t4")
    """The run; report.html is written there."""
    preset: str = "t4"
    """Settings by name: smoke, demo, t4 or h200."""
    submission: Path | None = None
    """The folder that submission.py wrote, for what the kernel noted."""
    studies: Annotated[int, Field(ge=1, le=50)] = 4
    """Studies shown of each kind."""


def main(settings: Settings) -> None:
    """Gather, draw, write."""
    scores = storage.read_json(settings.run / "scores.json", made_by="make score")
    table = scoring.from_dict(scores)
    uids, values = tables.wide(tables.read_submission(settings.run / "oof.csv", advice="`make cv` makes it"))
    train = tables.read_train(settings.raw).set_index(tables.UID_COLUMN)
    truth = train.loc[uids, list(PREDICTION_TYPES)].to_numpy(np.float64)
    found = Found(uids, values, truth)
    sections = [
        Section("Scores", "Lower is better; the gain is over the best constants 2q / (1 + q) of the training rates q. "
                "Out-of-fold values are calibrated on the other folds; a fold judged at several epochs kept the best.",
                block=scoring.format_tables(table),
                pictures=(("Gain over the constants, level by level", figures.gain_picture(table)),)),
        Section("Calibration", "Out of fold. A submitted value v stands for the probability v / (2 - v).",
                pictures=(("Predicted probability against the share that is fractured",
                           figures.reliability_picture(values, truth)),)),
        *_studies(settings, found),
        _learning(settings.run),
        _shortfalls(settings),
    ]  # fmt: skip
    path = settings.run / "report.html"
    write_report(path, f"Cervical spine fractures: {settings.run.name}", sections)
    stage.say("report", read=f"{settings.run} and {settings.cache}", wrote=path, studies=len(uids))


@plain(frozen=True)
class Found:
    """Out-of-fold values beside the truth."""

    uids: list[str]
    values: np.ndarray
    truth: np.ndarray


def _studies(settings: Settings, found: Found) -> list[Section]:
    """Pictures of typical and of badly predicted studies."""
    store = open_columns(settings.cache, preset_named(settings.preset))
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
        "The worst errors": ("the studies that cost most, out of fold", order[::-1][: settings.studies]),
    }
    sections = []
    for title, (words, numbers) in kinds.items():
        chosen = [
            numbers[int(place)]
            for place in np.linspace(0, len(numbers) - 1, min(settings.studies, len(numbers)))
        ]
        pictures = tuple(_picture(store, found, number, losses[number]) for number in chosen)
        sections.append(Section(title, f"{words}; levels outlined as the locator saw them, × marks a true fracture, "
                                "the red rectangle an annotated box.", pictures=pictures))  # fmt: skip
    return sections


def _picture(store, found: Found, number: int, loss: float):  # noqa: ANN001, ANN202
    uid = found.uids[number]
    column = Column.load(*store.read(uid))
    broken = [level for level, there in zip(LEVELS, found.truth[number], strict=False) if there] or ["none"]
    figure = figures.study_picture(column, found.values[number], found.truth[number], title="")
    return f"…{uid[-6:]}: fractured {', '.join(broken)}; weighted loss {loss:.3f}", figure


def _learning(run: Path) -> Section:
    """How each fold of both networks learnt."""
    pictures = []
    for kind, score in SCORES.items():
        metrics = {
            path.parent.name: pd.read_csv(path) for path in sorted(run.glob(f"{kind}/fold*/metrics.csv"))
        }
        if metrics:
            pictures.append((f"{kind}: the score is {score}", figures.curves_picture(metrics)))
    return Section("Learning", "", pictures=tuple(pictures))


def _shortfalls(settings: Settings) -> Section:
    """Everything that failed, was mended, or stands on constants."""
    lines = []
    for name in ("volumes", "columns"):
        path = settings.cache / name / "index.csv"
        if path.is_file():
            index = pd.read_csv(path, dtype=str, keep_default_na=False)
            failed = index[index["status"] != "done"]
            noted = index[index["notes"] != ""]
            lines.append(f"{name}: {len(index)} studies, {len(failed)} failed, {len(noted)} with notes")
            lines += [f"  {row.StudyInstanceUID}: {row.reason}" for row in failed.itertuples()]
            lines += count_notes(noted["notes"])
    if settings.submission:
        report = storage.read_json(settings.submission / "inference.json", made_by="make submission")
        lines.append(
            f"kernel: {report['predicted']} of {report['studies']} studies predicted in {report['seconds']} s"
        )
        lines += [f"  constants for {study}: {reason}" for study, reason in report["on_constants"].items()]
        lines += count_notes(pd.Series(["; ".join(notes) for notes in report["notes"].values()], dtype=str))
    if not lines:
        raise InputError(
            f"{settings.cache}: no index of prepare or columns; run `make prepare` and `make columns`"
        )
    return Section(
        "What fell short", "Failures, mended scans and studies on constants.", block="\n".join(lines)
    )


if __name__ == "__main__":
    stage.run(main, Settings)
