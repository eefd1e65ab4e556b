"""Submissions and out-of-fold predictions held against their truth, printed and written as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import checks, rows, submission, tables
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import FORMS
from cspine.competition.scoring import title_of, training_constants
from cspine.errors import InputError
from cspine.evaluation.cross_validation import read_oof_logits
from cspine.evaluation.gate import require_lower_bound
from cspine.evaluation.intervals import DRAWS, SEED, Estimate, draw_studies, resample
from cspine.evaluation.score_table import CAVEAT, format_folds, format_tables, score_table, to_dict
from cspine.networks.fold_models import read_fold_description
from cspine.settings.layout import CLASSIFIER, MODEL, RunLayout

OUT_OF_FOLD = "out of fold"
Group = tuple[np.ndarray, np.ndarray]
"""Truth and prediction of a set's studies, both (n, 8)."""


@dataclass(frozen=True)
class Scored:
    """What is scored."""

    raw: Path
    """The competition folder."""
    runs: tuple[Path, ...] = ()
    """The runs whose oof.csv is scored; the others are compared to the first."""
    answers: Path | None = None
    """A submission.csv; it needs `solution`."""
    solution: Path | None = None
    """The truth of that submission; both or none."""
    partial: bool = False
    """Whether an oof.csv may lack studies."""


def score(scored: Scored, out: Path | None = None, lower_bound_percent: float | None = None) -> None:
    """Gather the sets of studies, print their tables, write them as JSON.

    Parameters
    ----------
    scored : Scored
        What is scored, and against which truth.
    out : Path, optional
        The file to write; by default scores.json in the first run's folder, or beside the submission.
    lower_bound_percent : float, optional
        What the lower bound of the gain on the submission's studies has to exceed.

    Raises
    ------
    InputError
        If there is nothing to score or only half of a pair, if a table can't be used, and as
        `require_lower_bound`.
    """
    pair = scored.answers is not None and scored.solution is not None
    if (scored.answers is None) != (scored.solution is None) or not (scored.runs or pair):
        raise InputError(
            "score: found nothing to score, or half of a pair; expected --submission with --solution, or --runs, or "
            "all three (`make score SUBMISSION=... SOLUTION=...`; `make cv` makes a run's oof.csv)"
        )
    train = tables.read_train(scored.raw)
    constants = training_constants(train)
    groups, content = {}, {"draws": DRAWS, "seed": SEED, "intervals": CAVEAT.replace("\n", " ")}
    read, target, folds = [], out, {}
    if scored.runs:
        layout = RunLayout(scored.runs[0])
        name, groups_of_run, uids = out_of_fold(layout.oof, train, scored.partial)
        groups[name] = groups_of_run
        folds = _by_fold(layout.root, uids, groups_of_run)
        read, target = [str(RunLayout(run).oof) for run in scored.runs], target or layout.scores
    if scored.answers and scored.solution:
        groups |= sets_of_submission(scored.answers, scored.solution)
        read += [str(scored.answers), str(scored.solution)]
        target = target or RunLayout(scored.answers.parent).scores
    table = score_table(groups, constants)
    print(format_tables(table) + "\n")
    content["scores"] = to_dict(table)
    if folds:
        of_folds = score_table(folds, constants)
        print(format_folds(of_folds) + "\n")
        content["folds"] = to_dict(of_folds)
    if len(scored.runs) > 1:
        compared = compare_runs(scored.runs, train, scored.partial)
        print(format_comparison(compared) + "\n")
        content["runs"] = compared
    print(CAVEAT + "\n")
    assert target is not None
    storage.write_json(target, content)
    cli.log_stage("score", read=", ".join(read), wrote=target, sets=len(groups))
    if lower_bound_percent is not None:
        tested = {name: group for name, group in groups.items() if not name.startswith(OUT_OF_FOLD)}
        print(require_lower_bound(tested or groups, constants, lower_bound_percent))


def out_of_fold(path: Path, train: pd.DataFrame, partial: bool = False) -> tuple[str, Group, list[str]]:
    """Give truth and prediction of the studies in oof.csv.

    Parameters
    ----------
    path : Path
        A run's oof.csv.
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    partial : bool
        Whether studies of train.csv may be missing.

    Returns
    -------
    name : str
        "out of fold", and how many studies of how many where some are missing.
    group : tuple of ndarray, each of shape (n, 8)
        Labels and values, columns as PREDICTION_TYPES.
    uids : list of str
        The studies.

    Raises
    ------
    InputError
        For a table that can't be used, for studies that train.csv does not name, and, unless `partial`, if
        studies of train.csv are missing.
    """
    uids, prediction = rows.wide(tables.read_submission(path, advice="`make train` makes it"), what=path)
    truth = train.set_index(checks.UID_COLUMN)[list(PREDICTION_TYPES)]
    unknown = [uid for uid in uids if uid not in truth.index]
    if unknown:
        found = f"study {checks.first_few(unknown)} ({len(unknown)} such studies)"
        raise InputError(
            f"{path}: found {found}; expected only studies of train.csv; use the run's own --raw"
        )
    missing = truth.index.difference(uids, sort=False)
    name = OUT_OF_FOLD
    if len(missing):
        name = f"{OUT_OF_FOLD}, {len(uids)} of {len(train)} studies"
        if not partial and not _whole_folds(path.parent, missing):
            raise InputError(
                f"{path}: found {len(uids)} of {len(train)} training studies, without {checks.first_few(missing)}; "
                "expected all of them; finish the folds (`make train`, `make cv`), or score what is there with "
                "--partial, which says how many"
            )
    return name, (truth.loc[uids].to_numpy(), prediction), uids


def _whole_folds(run: Path, missing: pd.Index) -> bool:
    """Whether a run lacks these studies since their folds are not trained, which `make cv` has said."""
    if not RunLayout(run).oof_logits.is_file() or not any(run.glob(f"{CLASSIFIER}/fold*/{MODEL}")):
        return False
    one = read_fold_description(RunLayout(run).models(CLASSIFIER)[0], CLASSIFIER)
    logits = read_oof_logits(run)
    return logits["fold"].nunique() < one.folds and not logits.index.isin(missing).any()


def _by_fold(run: Path, uids: Sequence[str], group: Group) -> dict[str, Group]:
    """The studies of each fold as a set; none where the run does not say which fold a study was in."""
    if not RunLayout(run).oof_logits.is_file():
        print(f"no scores of single folds: {RunLayout(run).oof_logits} is missing; `make cv` makes it\n")
        return {}
    fold = read_oof_logits(run)["fold"].reindex(list(uids)).to_numpy()
    numbers = sorted({int(one) for one in fold[np.isfinite(fold)]})
    return {f"fold {number}": (group[0][fold == number], group[1][fold == number]) for number in numbers}


def sets_of_submission(path: Path, solution_path: Path) -> dict[str, Group]:
    """Give truth and prediction of a submission's sets.

    Parameters
    ----------
    path : Path
        The submission.csv.
    solution_path : Path
        The solution.csv with the truth.

    Returns
    -------
    dict
        "public" and "private", or "test" where the solution knows one set alone, to truth and prediction, both
        float64 of shape (n, 8). A set without rows is left out.

    Raises
    ------
    InputError
        For tables that can't be used, and for row ids other than the solution's.
    """
    solution, answer = tables.read_solution(solution_path), tables.read_submission(path)
    submission.check(answer, solution, what=path)
    values = answer.set_index("row_id")["fractured"]
    groups = {}
    for usage in ("Public", "Private", "Test"):
        part = solution[solution["Usage"] == usage]
        if len(part):
            prediction = part.assign(fractured=values.loc[part["row_id"]].to_numpy())
            groups[usage.lower()] = (rows.wide(part)[1], rows.wide(prediction)[1])
    return groups


def compare_runs(runs: Sequence[Path], train: pd.DataFrame, partial: bool = False) -> list[dict[str, Any]]:
    """Set runs side by side, out of fold, each against the first.

    Parameters
    ----------
    runs : sequence of Path
        The runs' folders, each with an oof.csv.
    train : DataFrame
        All labelled studies, as from `tables.read_train`.
    partial : bool
        Whether studies may be missing; those that all runs have are compared.

    Returns
    -------
    list of dict
        A row a run: "run", "studies", and for every form the score and its paired difference to the first run
        ("value", "low", "high"), and in words whether it is better.

    Raises
    ------
    InputError
        As `out_of_fold`.
    """
    predictions = []
    for run in runs:
        _, (_, values), uids = out_of_fold(RunLayout(run).oof, train, partial)
        predictions.append(dict(zip(uids, values, strict=True)))
    common = [uid for uid in predictions[0] if all(uid in other for other in predictions)]
    if not common:
        raise InputError(
            f"--runs: found no study that all of {len(runs)} runs predicted; compare runs of one split"
        )
    truth = train.set_index(checks.UID_COLUMN).loc[common, list(PREDICTION_TYPES)].to_numpy()
    draws = draw_studies(len(common))
    scores = [resample(truth, np.stack([one[uid] for uid in common]), draws) for one in predictions]
    found = []
    for run, one in zip(runs, scores, strict=True):
        row: dict[str, Any] = {"run": str(run), "studies": len(common)}
        for form in FORMS:
            difference = one.less(scores[0], form)
            row[form] = {
                "score": asdict(one.estimate(form)),
                "to_first": asdict(difference),
                "verdict": "the first" if one is scores[0] else verdict(difference),
            }
        found.append(row)
    return found


def verdict(difference: Estimate) -> str:
    """Say in words what a difference of two scores is worth; lower is better.

    Parameters
    ----------
    difference : Estimate
        A score less that of another.

    Returns
    -------
    str
        "better", "worse", or "no difference beyond the interval".
    """
    if not difference.excludes(0):
        return "no difference beyond the interval"
    return "better" if difference.value < 0 else "worse"


def format_comparison(compared: list[dict[str, Any]]) -> str:
    """Lay a comparison of runs out as plain text, a block a form.

    Parameters
    ----------
    compared : list of dict
        As from `compare_runs`.

    Returns
    -------
    str
        The blocks, with an empty line between them.
    """
    names = [row["run"] for row in compared]
    width, blocks = max(len(name) for name in names), []
    for form in FORMS:
        lines = [
            f"runs side by side, {compared[0]['studies']} studies; {title_of(form).partition(':')[0]}",
            f"{'':{width}}   score  95 % interval     to the first  95 % interval",
        ]
        for row in compared:
            score, change = row[form]["score"], row[form]["to_first"]
            line = f"{row['run']:{width}}  {score['value']:.4f}  {score['low']:.4f} to {score['high']:.4f}"
            if row is not compared[0]:
                line += f"       {change['value']:+.4f}  {change['low']:+.4f} to {change['high']:+.4f}"
                line += f"  {row[form]['verdict']}"
            lines.append(line)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
