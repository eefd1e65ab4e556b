"""Score a submission against its solution, and a run's out-of-fold predictions against train.csv."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition import scoring, submission, tables
from cspine.competition.labels import PREDICTION_TYPES
from cspine.errors import InputError


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of score.py."""

    raw: Path = Path("data/raw")
    """The competition folder: train.csv gives the constants to beat and the truth for out of fold."""
    submission: Path | None = None
    """A submission.csv; needs --solution."""
    solution: Path | None = None
    """The solution.csv of the replica (row_id,fractured,weight,Usage)."""
    run: Path | None = None
    """A run's folder, whose oof.csv is scored out of fold."""
    out: Path | None = None
    """The scores as JSON; default: scores.json in the run's folder, or beside the submission."""
    minimum_gain_percent: float | None = None
    """Fail unless the last set (private, where there is one) beats the constants by this much."""


def main(settings: Settings) -> None:
    """Gather the sets of studies, print their tables, write them as JSON."""
    if (settings.submission is None) != (settings.solution is None) or not (
        settings.run or settings.submission
    ):
        raise InputError(
            "score: found nothing to score, or half of a pair; expected --submission with --solution, or --run, or "
            "all three (`make score SUBMISSION=... SOLUTION=...`; `make cv` makes a run's oof.csv)"
        )
    train = tables.read_train(settings.raw)
    groups, read = {}, []
    if settings.run:
        groups["out of fold"] = _out_of_fold(settings.run / "oof.csv", train)
        read.append(str(settings.run / "oof.csv"))
    if settings.submission:
        groups |= _public_and_private(settings.submission, settings.solution)
        read += [str(settings.submission), str(settings.solution)]
    table = scoring.score_table(groups, scoring.training_constants(train))
    print(scoring.format_tables(table) + "\n")
    target = settings.out or (settings.run or settings.submission.parent) / "scores.json"
    storage.write_json(target, scoring.to_dict(table))
    stage.say("score", read=", ".join(read), wrote=target, sets=len(groups))
    _demand(table, settings.minimum_gain_percent)


def _demand(table: pd.DataFrame, minimum: float | None) -> None:
    """Raise InputError if the last set's gain in the global form is below the minimum."""
    last = table[table["score"] == "global"].iloc[-1]
    if minimum is not None and not last["gain_percent"] >= minimum:
        raise InputError(
            f"{last['set']}: the model scores {last['model']:.4f}, the constants {last['constants']:.4f}: a gain of "
            f"{last['gain_percent']:.1f} %, expected at least {minimum:.0f} %; train longer or on more studies"
        )
    if minimum is not None:
        print(
            f"{last['set']}: {last['gain_percent']:.1f} % better than the constants (at least {minimum:.0f} % wanted)"
        )


def _out_of_fold(path: Path, train: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of the studies in oof.csv, which may be fewer than train.csv's."""
    uids, prediction = tables.wide(tables.read_submission(path, advice="`make train` makes it"), what=path)
    truth = train.set_index(tables.UID_COLUMN)[list(PREDICTION_TYPES)]
    unknown = [uid for uid in uids if uid not in truth.index]
    if unknown:
        found = f"study {unknown[0]} ({len(unknown)} such studies)"
        raise InputError(
            f"{path}: found {found}; expected only studies of train.csv; use the run's own --raw"
        )
    if len(uids) < len(train):
        print(f"out of fold: {len(uids)} of {len(train)} training studies have predictions\n")
    return truth.loc[uids].to_numpy(), prediction


def _public_and_private(path: Path, solution_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    solution, answer = tables.read_solution(solution_path), tables.read_submission(path)
    submission.check(answer, solution, what=path)
    values = answer.set_index("row_id")["fractured"]
    groups = {}
    for usage in ("Public", "Private"):
        part = solution[solution["Usage"] == usage]
        if len(part):
            prediction = part.assign(fractured=values.loc[part["row_id"]].to_numpy())
            groups[usage.lower()] = (tables.wide(part)[1], tables.wide(prediction)[1])
    return groups


if __name__ == "__main__":
    stage.run(main, Settings)
