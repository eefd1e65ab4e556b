"""Several runs as one: non-negative weights of their held-out logits, fitted, judged and written like a run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine import cli, storage
from cspine.competition import rows
from cspine.competition.checks import UID_COLUMN
from cspine.competition.inventory import is_replica
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.tables import read_submission, read_train
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.cross_validation import conclude, read_oof_logits
from cspine.evaluation.intervals import Estimate, Resampled, draw_studies, resample
from cspine.evaluation.ladder import cross_fitted, random_groups
from cspine.evaluation.slopes import fit_slopes
from cspine.inference.blends import BlendWeights, read_blend, write_blend
from cspine.settings.layout import RunLayout


@dataclass(frozen=True)
class Candidate:
    """One way of putting the runs together, judged on studies that had no part in its fit."""

    name: str
    score: Estimate
    """The global form, each candidate calibrated alike."""
    to_best_single: Estimate
    """Paired difference to the best single run."""
    to_equal: Estimate
    """Paired difference to equal weights."""


@dataclass(frozen=True)
class Blended:
    """Weights of runs, and what they are worth."""

    level: np.ndarray
    """Weights for C1 to C7, float64 (runs,); their sum is 1."""
    overall: np.ndarray
    """Weights for patient_overall."""
    logits: np.ndarray
    """Held-out logits of the blend, float64 (n, 8): each study's with weights that were fitted without it."""
    candidates: tuple[Candidate, ...]
    """The single runs, equal weights, fitted weights."""
    fitted: bool
    """Whether the fitted weights are used; equal ones are where fitted ones are no better beyond the interval."""


def blend_runs(raw: Path, runs: Sequence[Path], out: Path) -> None:
    """Weigh runs against each other and write a folder that can be asked and pushed like a run.

    Parameters
    ----------
    raw : Path
        The competition folder.
    runs : sequence of Path
        At least two runs on the same split, each with the oof.csv and oof_logits.csv of `make cv`.
    out : Path
        The blend's folder.

    Raises
    ------
    InputError
        For fewer than two runs, one run twice, a blend among them, runs of other studies or folds, and an
        `out` that is one of them or holds another run.
    """
    train = read_train(raw)
    _check_runs(runs, out)
    tables = _same_studies(runs)
    covered, _ = rows.wide(read_submission(RunLayout(runs[0]).oof, advice="`make cv` makes it"), what=runs[0])
    labels = train.set_index(UID_COLUMN)[list(PREDICTION_TYPES)].astype(np.float64)
    unknown = [uid for uid in tables[0].index if uid not in labels.index]
    if unknown:
        raise InputError(
            f"{RunLayout(runs[0]).oof_logits}: found study {unknown[0]} ({len(unknown)} such studies); expected "
            "studies of train.csv; use the runs' own --raw"
        )
    truth = labels.loc[tables[0].index].to_numpy()
    logits = np.stack([table[list(PREDICTION_TYPES)].to_numpy() for table in tables])
    found = blend(logits, truth, random_groups(list(tables[0].index)), [run.name for run in runs])
    print(describe_blend(found, [run.name for run in runs]) + "\n")
    frame = pd.DataFrame(found.logits, tables[0].index, list(PREDICTION_TYPES))
    frame.insert(0, "fold", tables[0]["fold"])
    with storage.locked(out, "blend"):
        paths = tuple(Path(os.path.relpath(run.resolve(), out.resolve())) for run in runs)
        write_blend(
            out, BlendWeights(paths, tuple(map(float, found.level)), tuple(map(float, found.overall)))
        )
        conclude(train, frame, out, covered, is_replica(raw))
    read = " ".join(str(run) for run in runs)
    cli.log_stage(
        "blend", read=read, wrote=out, studies=len(frame), fitted_weights="yes" if found.fitted else "no"
    )


def _check_runs(runs: Sequence[Path], out: Path) -> None:
    """Refuse runs that can't be blended."""
    places = [run.resolve() for run in runs]
    if len(runs) < 2 or len(set(places)) < len(runs):
        raise InputError(
            f"--runs: found {len(set(places))} different runs; expected at least 2, each once; `make train` with "
            "another RUN= makes one"
        )
    for run in runs:
        if RunLayout(run).blend.is_file():
            raise InputError(f"{run}: found a blend; expected single runs; name its members instead")
    if out.resolve() in places or (any(out.glob("*/fold*")) and read_blend(out) is None):
        raise InputError(f"--out {out}: found a run; expected a folder of the blend's own; name another one")


def _same_studies(runs: Sequence[Path]) -> list[pd.DataFrame]:
    """Held-out logits of every run, in the order of the first; InputError if studies or folds differ."""
    tables = [read_oof_logits(run) for run in runs]
    first = tables[0]
    for run, table in zip(runs, tables, strict=True):
        both = table.index.union(first.index)
        differing = int((table["fold"].reindex(both) != first["fold"].reindex(both)).sum())
        if differing:
            raise InputError(
                f"{RunLayout(run).oof_logits}: found {differing} studies that {runs[0]} lacks or has in another "
                "fold; expected the same studies in the same folds; blend runs of one split, all folds trained"
            )
    return [table.loc[first.index] for table in tables]


def blend(logits: np.ndarray, truth: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> Blended:
    """Find weights, and hold them against the best single run and against equal weights.

    Parameters
    ----------
    logits : ndarray of float64, shape (runs, n, 8)
        Held-out logits of every run, columns as PREDICTION_TYPES.
    truth : ndarray of float64, shape (n, 8)
        Labels of the same studies, 0 or 1.
    groups : ndarray of int, shape (n,)
        Group of every study; weights and calibrations are fitted on the other groups.
    names : sequence of str
        The runs' names.

    Returns
    -------
    Blended
        Weights and comparisons.
    """
    count = len(logits)
    equal = np.full((2, count), 1 / count)
    crossed = np.empty(logits.shape[1:])
    for group in np.unique(groups):
        here = groups == group
        crossed[here] = _combine(logits[:, here], fit_weights(logits[:, ~here], truth[~here]))
    parts = {name: logits[number] for number, name in enumerate(names)}
    parts |= {"equal weights": _combine(logits, equal), "fitted weights": crossed}
    draws = draw_studies(len(truth))
    found = {name: _judge(one, truth, groups, draws) for name, one in parts.items()}
    best = min(names, key=lambda name: found[name].values[0])
    candidates = tuple(
        Candidate(
            name,
            one.estimate("global"),
            one.less(found[best], "global"),
            one.less(found["equal weights"], "global"),
        )
        for name, one in found.items()
    )
    fitted = candidates[-1].to_equal.high < 0
    weights = fit_weights(logits, truth) if fitted else equal
    return Blended(
        weights[0], weights[1], parts["fitted weights" if fitted else "equal weights"], candidates, fitted
    )


def _judge(logits: np.ndarray, truth: np.ndarray, groups: np.ndarray, draws: np.ndarray) -> Resampled:
    """Scores of logits (n, 8) after a calibration on the other groups."""
    constants = np.full(len(PREDICTION_TYPES), 0.5)
    values = cross_fitted(
        lambda known, labels: Calibration.fit(known, labels, constants), logits, truth, groups
    )
    return resample(truth, values, draws)


def fit_weights(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Find non-negative weights of runs: the slopes that `fit_slopes` gives, their sum made 1.

    Parameters
    ----------
    logits : ndarray of float64, shape (runs, n, 8)
        Logits of every run, columns as PREDICTION_TYPES.
    truth : ndarray of float64, shape (n, 8)
        Labels, 0 or 1.

    Returns
    -------
    ndarray of float64, shape (2, runs)
        Weights for C1 to C7, and for patient_overall; each row's sum is 1.
    """
    slopes, _ = fit_slopes(logits, truth)
    total = slopes.sum(axis=1, keepdims=True)
    return np.where(total > 0, slopes / np.maximum(total, 1e-12), 1 / len(logits))


def _combine(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The runs' logits (runs, n, 8) added up with weights (2, runs)."""
    level, overall = (tuple(row.tolist()) for row in weights)
    return BlendWeights((), level, overall).combine(list(logits))


def describe_blend(found: Blended, names: Sequence[str]) -> str:
    """Lay a blend out as plain text.

    Parameters
    ----------
    found : Blended
        The blend.
    names : sequence of str
        The runs' names.

    Returns
    -------
    str
        Two small tables: what each candidate is worth, and the weights.
    """
    width = max(len(one.name) for one in found.candidates)
    head = f"{'':{width}}  out of fold  to the best single run          to equal weights"
    lines = [head]
    for one in found.candidates:
        pair = "".join(
            f"  {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
            for change in (one.to_best_single, one.to_equal)
        )
        lines.append(f"{one.name:{width}}  {one.score.value:.4f}     {pair}")
    lines += ["", f"{'weights':{width}}   levels  overall"]
    for name, level, overall in zip(names, found.level, found.overall, strict=True):
        lines.append(f"{name:{width}}  {level:7.3f}  {overall:7.3f}")
    words = "fitted weights are used: better than equal ones beyond the interval"
    lines.append(
        words if found.fitted else "equal weights are used: fitted ones are not better beyond the interval"
    )
    return "\n".join(lines)
