"""Submissions and out-of-fold predictions held against their truth, printed and written as scores.json."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import checks, rows, scoring, submission, tables
from cspine.competition.labels import PREDICTION_TYPES
from cspine.errors import InputError
from cspine.settings.layout import RunLayout


@dataclass(frozen=True)
class Scored:
    """What is scored."""

    raw: Path
    """The competition folder."""
    run: Path | None
    """The run whose oof.csv is scored, None for none."""
    answers: Path | None
    """A submission.csv; it needs `solution`."""
    solution: Path | None
    """The truth of that submission; both or none."""


def score(scored: Scored, out: Path | None = None, minimum_gain_percent: float | None = None) -> None:
    """Gather the sets of studies, print their tables, write them as JSON.

    Parameters
    ----------
    scored : Scored
        What is scored, and against which truth.
    out : Path, optional
        The file to write; by default scores.json in the run's folder, or beside the submission.
    minimum_gain_percent : float, optional
        By how much the last set has to beat the constants.

    Raises
    ------
    InputError
        If there is nothing to score or only half of a pair, if a table can't be used, and if the last set
        gains less than the minimum.
    """
    pair = scored.answers is not None and scored.solution is not None
    if (scored.answers is None) != (scored.solution is None) or not (scored.run or pair):
        raise InputError(
            "score: found nothing to score, or half of a pair; expected --submission with --solution, or --run, or "
            "all three (`make score SUBMISSION=... SOLUTION=...`; `make cv` makes a run's oof.csv)"
        )
    train = tables.read_train(scored.raw)
    groups, read, target = {}, [], out
    if scored.run:
        layout = RunLayout(scored.run)
        groups["out of fold"] = out_of_fold(layout.oof, train)
        read.append(str(layout.oof))
        target = target or layout.scores
    if scored.answers and scored.solution:
        groups |= public_and_private(scored.answers, scored.solution)
        read += [str(scored.answers), str(scored.solution)]
        target = target or RunLayout(scored.answers.parent).scores
    table = scoring.score_table(groups, scoring.training_constants(train))
    print(scoring.format_tables(table) + "\n")
    assert target is not None
    storage.write_json(target, scoring.to_dict(table))
    cli.log_stage("score", read=", ".join(read), wrote=target, sets=len(groups))
    if minimum_gain_percent is not None:
        print(require_gain(table, minimum_gain_percent))


def out_of_fold(path: Path, train: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Give truth and prediction of the studies in oof.csv, which may be fewer than train.csv's.

    Parameters
    ----------
    path : Path
        A run's oof.csv.
    train : DataFrame
        All labelled studies, as from `tables.read_train`.

    Returns
    -------
    truth : ndarray of int64, shape (n, 8)
        Labels, columns as PREDICTION_TYPES.
    prediction : ndarray of float64, shape (n, 8)
        Values of the same studies.

    Raises
    ------
    InputError
        For a table that can't be used, and for studies that train.csv does not name.
    """
    uids, prediction = rows.wide(tables.read_submission(path, advice="`make train` makes it"), what=path)
    truth = train.set_index(checks.UID_COLUMN)[list(PREDICTION_TYPES)]
    unknown = [uid for uid in uids if uid not in truth.index]
    if unknown:
        found = f"study {unknown[0]} ({len(unknown)} such studies)"
        raise InputError(
            f"{path}: found {found}; expected only studies of train.csv; use the run's own --raw"
        )
    if len(uids) < len(train):
        print(f"out of fold: {len(uids)} of {len(train)} training studies have predictions\n")
    return truth.loc[uids].to_numpy(), prediction


def public_and_private(path: Path, solution_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Give truth and prediction of a submission's public and private studies.

    Parameters
    ----------
    path : Path
        The submission.csv.
    solution_path : Path
        The solution.csv with the truth.

    Returns
    -------
    dict
        "public" and "private" to truth and prediction, both float64 of shape (n, 8). A set without rows is
        left out.

    Raises
    ------
    InputError
        For tables that can't be used, and for row ids other than the solution's.
    """
    solution, answer = tables.read_solution(solution_path), tables.read_submission(path)
    submission.check(answer, solution, what=path)
    values = answer.set_index("row_id")["fractured"]
    groups = {}
    for usage in ("Public", "Private"):
        part = solution[solution["Usage"] == usage]
        if len(part):
            prediction = part.assign(fractured=values.loc[part["row_id"]].to_numpy())
            groups[usage.lower()] = (rows.wide(part)[1], rows.wide(prediction)[1])
    return groups


def require_gain(table: pd.DataFrame, minimum_percent: float) -> str:
    """Say by how much the last set beats the constants in the global form.

    Parameters
    ----------
    table : DataFrame
        Scores, as from `scoring.score_table`.
    minimum_percent : float
        The least gain.

    Returns
    -------
    str
        A sentence with the gain.

    Raises
    ------
    InputError
        If the gain is less than the minimum.
    """
    last = table[table["score"] == "global"].iloc[-1]
    if not last["gain_percent"] >= minimum_percent:
        raise InputError(
            f"{last['set']}: the model scores {last['model']:.4f}, the constants {last['constants']:.4f}: a gain of "
            f"{last['gain_percent']:.1f} %, expected at least {minimum_percent:.0f} %; train longer or on more studies"
        )
    return (
        f"{last['set']}: {last['gain_percent']:.1f} % better than the constants "
        f"(at least {minimum_percent:.0f} % wanted)"
    )
