"""The report of a run: what it is worth, for whom, where it errs, how it learnt, and what fell short."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import checks, rows, tables
from cspine.competition.inventory import is_replica
from cspine.competition.labels import OVERALL, PREDICTION_TYPES
from cspine.competition.metric import FORMS
from cspine.competition.scoring import title_of, training_constants
from cspine.competition.submission import probability_of
from cspine.evaluation import figures
from cspine.evaluation.calibration import Calibration, expected_calibration_error
from cspine.evaluation.cross_validation import read_oof_logits
from cspine.evaluation.intervals import Estimate, draw_studies
from cspine.evaluation.page import Picture, Section, Table, write_page
from cspine.evaluation.ranking import OPERATING, Ranking, rank, ranking_panel
from cspine.evaluation.report_process import process_sections
from cspine.evaluation.report_studies import Found, Gallery, study_sections
from cspine.evaluation.roc import roc_picture
from cspine.evaluation.score_table import CAVEAT, from_dict
from cspine.evaluation.slices import rank_slices, read_slice_logits
from cspine.evaluation.subgroups import Group, groupings, in_words, score_groups
from cspine.preprocessing.stores import open_columns
from cspine.settings.layout import RunLayout
from cspine.settings.presets import Preset

EXTERNAL = (
    "What others measured with the winners' models, on other data and therefore not comparable one to one: an external "
    "validation of winning models on non-contrast CT found an AUC of 0.89 per patient, sensitivity 67 % and "
    "specificity 93 %; another external test found AUCs of 0.91 (1st place), 0.91 (4th), 0.92 (7th) and 0.79 (5th)."
)


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
    train = tables.read_train(sources.raw)
    uids, values = rows.wide(tables.read_submission(run.oof, advice="`make cv` makes it"))
    truth = train.set_index(checks.UID_COLUMN).loc[uids, list(PREDICTION_TYPES)].to_numpy(np.float64)
    found, draws = Found(uids, values, truth), draw_studies(len(uids))
    held_out = read_oof_logits(sources.run)
    slice_logits = read_slice_logits(sources.run, int(held_out["fold"].max()) + 1)
    gallery = Gallery(
        open_columns(sources.cache, sources.preset), sources.preset, slice_logits, sources.studies
    )
    groups, missing = groupings(sources.raw, sources.cache, uids)
    scored = score_groups(groups, values, truth, training_constants(train), draws)
    sections = [
        _scores(scores),
        _ranking(found, draws),
        _slices(found, gallery),
        _calibration(found, held_out, train),
        _groups(scored, missing),
        *study_sections(found, gallery),
        *process_sections(sources.run, sources.cache, sources.inference),
    ]
    write_page(
        run.report, f"Cervical spine fractures: {sources.run.name}", headline(scores, sources), sections
    )
    cli.log_stage("report", read=f"{sources.run} and {sources.cache}", wrote=run.report, studies=len(uids))


def headline(scores: dict[str, Any], sources: ReportSources) -> str:
    """Say in a sentence or two what the run is and what it is worth.

    Parameters
    ----------
    scores : dict
        What `make score` wrote.
    sources : ReportSources
        What the report is made from.

    Returns
    -------
    str
        The sentences.
    """
    name, row = next(iter(scores["scores"]["global"].items()))
    synthetic = is_replica(sources.raw)
    kind = "synthetic scans (a replica)" if synthetic else "the scans of this folder"
    words = (
        f"Run {sources.run.name}, trained and judged on {kind}: {name}, {row['studies']} studies, weighted log loss "
        f"{row['model']:.4f} ({row['model_low']:.4f} to {row['model_high']:.4f}), {row['gain_percent']:.1f} % "
        f"({row['gain_low']:.1f} to {row['gain_high']:.1f}) better than the best constants. "
    )
    if synthetic:
        words += "Synthetic: this says nothing about a patient. "
    return words + "Not a medical device."


def _interval(one: Estimate, digits: int = 2, factor: float = 1.0) -> str:
    """A figure and its interval."""
    if not np.isfinite(one.value):
        return "-"
    value, low, high = (f"{factor * part:.{digits}f}" for part in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def _scores(scores: dict[str, Any]) -> Section:
    """Every set and form, folds, and the gain by level."""
    table = from_dict(scores["scores"])
    head = ("", "studies", "model", "constants", "gain")
    parts = [
        Table(
            head,
            [_score_row(row) for row in table[table["score"] == form].to_dict("records")],
            title_of(form),
        )
        for form in FORMS
    ]
    if "folds" in scores:
        folds = from_dict({"global": scores["folds"]["global"]})
        caption = "global form, each fold out of fold"
        parts.append(Table(head, [_score_row(row) for row in folds.to_dict("records")], caption))
    words = (
        "Lower is better; the gain is over the best constants 2q / (1 + q) of the training rates q. In brackets "
        + CAVEAT.replace("\n", " "),
    )
    picture = Picture(
        "Gain over the constants, level by level; whiskers are 95 % intervals", [figures.gain_picture(table)]
    )
    return Section("Scores", words, parts, pictures=[picture])


def _score_row(row: Mapping[Any, Any]) -> list[str]:
    cells = [str(row["set"]), str(row["studies"])]
    for name in ("model", "constants"):
        cells.append(f"{row[name]:.4f} ({row[f'{name}_low']:.4f} to {row[f'{name}_high']:.4f})")
    return [*cells, f"{row['gain_percent']:.1f} % ({row['gain_low']:.1f} to {row['gain_high']:.1f})"]


def _ranking(found: Found, draws: np.ndarray) -> Section:
    """ROC, precision and recall, operating points."""
    ranked = {
        kind: rank(found.values[:, n], found.truth[:, n], draws) for n, kind in enumerate(PREDICTION_TYPES)
    }
    per_cent = f"{100 * OPERATING:.0f} %"
    head = ("", "fractured", "AUC", "average precision", f"sensitivity at {per_cent} specificity",
            f"specificity at {per_cent} sensitivity")  # fmt: skip
    table = Table(
        head, [[kind, f"{one.positives} of {one.rows}", *_ranks(one)] for kind, one in ranked.items()]
    )
    panels = [
        ranking_panel(kind, one, n)
        for n, (kind, one) in enumerate(ranked.items())
        if np.isfinite(one.auc.value)
    ]
    bands = "Each with its 95 % band: ROC on the left, precision over recall on the right; dotted is chance"
    pictures = [
        Picture("ROC curves of all levels and of the patient", [roc_picture(found.values, found.truth)]),
        Picture(bands, panels),
    ]
    words = ("Out of fold, with 95 % intervals over the studies.", EXTERNAL)
    return Section("Who is found", words, [table], pictures=pictures)


def _ranks(one: Ranking) -> list[str]:
    figures_of = (one.auc, one.average_precision, one.sensitivity, one.specificity)
    return [_interval(part) for part in figures_of]


def _slices(found: Found, gallery: Gallery) -> Section:
    """Slice logits against boxes."""
    title = "Single slices"
    if not gallery.slice_logits:
        return Section(title, ("This run has no slice logits; `make train` writes them.",))
    truth = dict(zip(found.uids, found.truth, strict=True))
    ranked = rank_slices(gallery.slice_logits, truth, gallery.columns, gallery.preset.stacks)
    if ranked is None:
        return Section(title, ("No fractured vertebra has both slices inside of a box and outside of it.",))
    inside, slices = ranked.ranking.positives, ranked.ranking.rows
    words = (
        f"Within {ranked.vertebrae} fractured vertebrae of {ranked.studies} studies that have boxes, out of fold: "
        f"slices inside of a box ({inside}) against slices outside of it ({slices - inside}), AUC "
        f"{_interval(ranked.ranking.auc)}."
    )
    return Section(title, (words,))


def _calibration(found: Found, held_out: pd.DataFrame, train: pd.DataFrame) -> Section:
    """Probabilities against what happened, before and after calibration."""
    known = [number for number, uid in enumerate(found.uids) if uid in held_out.index]
    logits = held_out.loc[[found.uids[number] for number in known], list(PREDICTION_TYPES)].to_numpy()
    raw = Calibration.raw(training_constants(train)).apply(logits)
    table = []
    for name, part in (("C1 to C7", slice(0, 7)), (OVERALL, slice(7, 8))):
        errors = [
            expected_calibration_error(
                probability_of(values[:, part]).ravel(), found.truth[known][:, part].ravel()
            )
            for values in (raw, found.values[known])
        ]
        table.append([name, *(f"{100 * error:.1f} %" for error in errors)])
    head = ("", "before (raw logits)", "after (as submitted)")
    return Section(
        "Calibration",
        ("Out of fold. A submitted value v stands for the probability v / (2 - v).",),
        [Table(head, table, "expected calibration error, ten bins of equal size")],
        pictures=[Picture("Predicted probability against the share that is fractured",
                          [figures.reliability_picture(found.values, found.truth)])],
    )  # fmt: skip


def _groups(scored: list[Group], missing: list[str]) -> Section:
    """Score by subgroup."""
    head = ("by", "group", "studies", "fractured", "score", "gain, %", "gain less that of the rest, points")
    table = [
        [one.by, one.name, str(one.studies), str(one.positives), _interval(one.score, 3),
         _interval(one.gain_percent, 0), _interval(one.to_the_rest, 0)]
        for one in scored
    ]  # fmt: skip
    words = (in_words(scored), "Out of fold, global form; groups of fewer than ten studies are left out.")
    return Section("For whom", words, [Table(head, table)] if table else [], items=missing)
