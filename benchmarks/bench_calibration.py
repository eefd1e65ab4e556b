"""What the calibration costs and saves: simulated where the truth is known, and on a run's own unseen studies.

`make bench-calibration` simulates alone; with a run, and a replica that its folds never saw (make submission left
its fold_logits.csv), it also holds the slopes for the mean of the folds against a refit on labelled studies:
make bench-calibration EXTRA="--run RUN --raw RAW --fold-logits FILE --solution FILE".
"""

import sys
from dataclasses import dataclass as record
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.stats import norm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from markdown_table import markdown  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.competition.checks import UID_COLUMN  # noqa: E402
from cspine.competition.labels import PREDICTION_TYPES, PUBLISHED  # noqa: E402
from cspine.competition.metric import global_loss  # noqa: E402
from cspine.competition.rows import wide  # noqa: E402
from cspine.competition.scoring import training_constants  # noqa: E402
from cspine.competition.submission import SUBMIT_CLIP  # noqa: E402
from cspine.competition.tables import read_solution, read_train  # noqa: E402
from cspine.evaluation.averaging import FoldNoise, fit_averaging  # noqa: E402
from cspine.evaluation.calibration import Calibration  # noqa: E402
from cspine.evaluation.cross_validation import read_oof_logits  # noqa: E402
from cspine.evaluation.intervals import draw_studies, estimate, resample  # noqa: E402
from cspine.evaluation.ladder import climb, cross_fitted, random_groups  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "calibration.md"
HALF = np.full(len(PREDICTION_TYPES), 0.5)
RATES = PUBLISHED["train"].rates()
SCENES = {"little": (0.35, 0.2), "middling": (0.5, 0.25), "much": (0.8, 0.5)}
"""Name -> standard deviation of a network's noise, and of a fold's own shift, in units of the true logit."""
STUDIES, UNSEEN, JUDGED = 2019, 1093, 60_000
SIMEX_ADDED = (0.5, 1.0, 1.5, 2.0)
"""Multiples of the noise that SIMEX adds before it extrapolates."""


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_calibration.py."""

    repeats: Annotated[int, Field(ge=1)] = 20
    """Simulated competitions a scene."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Networks that are averaged."""
    run: Path | None = None
    """A run after make cv."""
    raw: Path | None = None
    """Its competition folder."""
    fold_logits: Path | None = None
    """The fold_logits.csv of studies that no fold saw."""
    solution: Path | None = None
    """Their truth."""
    out: Path = RESULTS
    """Where the results are written."""


@record(frozen=True)
class Simulated:
    """A competition: single networks out of fold, all networks on unseen studies, and many to be judged on."""

    logits: np.ndarray
    truth: np.ndarray
    fold_logits: np.ndarray
    judged_logits: np.ndarray
    judged_truth: np.ndarray


def simulate(random: np.random.Generator, folds: int, noise: float, shift: float) -> Simulated:
    """Draw one; a single network's logits need slope 1 and no bias, as training on the metric leaves them."""
    shifts = shift * random.normal(size=(folds, 8))

    def noises(studies: int) -> np.ndarray:
        own = random.normal(size=(studies, folds, 8))
        return noise * (np.sqrt(0.5) * random.normal(size=(studies, folds, 1)) + np.sqrt(0.5) * own) + shifts

    def single(signal: np.ndarray) -> np.ndarray:
        return signal + noises(len(signal))[np.arange(len(signal)), np.arange(len(signal)) % folds]

    labels, signal = _signal(random, JUDGED)
    trained = Calibration.fit(single(signal), labels, HALF)
    truth, signal = _signal(random, STUDIES)
    _, unseen = _signal(random, UNSEEN)
    judged_truth, judged = _signal(random, JUDGED)
    return Simulated(
        logits=trained.straight(single(signal)),
        truth=truth,
        fold_logits=trained.straight(unseen[:, None] + noises(UNSEEN)),
        judged_logits=trained.straight(judged + noises(JUDGED).mean(axis=1)),
        judged_truth=judged_truth,
    )


def _signal(random: np.random.Generator, studies: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth (n, 8) with the published rates, neighbours alike, and what noiseless networks would say."""
    alike = 0.6 * random.normal(size=(studies, 1)) + 0.8 * random.normal(size=(studies, 7))
    levels = (alike > norm.isf(RATES[:7])).astype(np.float64)
    truth = np.column_stack([levels, levels.max(axis=1)])
    prior = np.log(2 * RATES / (1 - RATES)) - 0.5
    return truth, prior + 1.5 * truth + 0.9 * random.normal(size=truth.shape)


def simex(found: Simulated, random: np.random.Generator) -> Calibration:
    """The usual remedy: add more of the noise, refit, extrapolate by a parabola to less of it."""
    folds = found.fold_logits.shape[1]
    centred = found.fold_logits - found.fold_logits.mean(axis=1, keepdims=True)
    noise = (centred * np.sqrt(folds / (folds - 1))).reshape(-1, 8)
    points = [_numbers(Calibration.fit(found.logits, found.truth, HALF))]
    for added in SIMEX_ADDED:
        drawn = noise[random.integers(len(noise), size=len(found.logits))]
        points.append(_numbers(Calibration.fit(found.logits + np.sqrt(added) * drawn, found.truth, HALF)))
    parabola = np.polyfit((0.0, *SIMEX_ADDED), np.array(points), 2)
    where = -(1 - 1 / folds)
    level, overall, *biases = (parabola * np.array([[where**2], [where], [1.0]])).sum(axis=0).tolist()
    plain = points[0]
    level, overall = (
        float(np.clip(new, old, 2 * old)) for new, old in zip((level, overall), plain, strict=False)
    )
    return Calibration(level, overall, tuple(biases), tuple(HALF))


def _numbers(calibration: Calibration) -> np.ndarray:
    return np.array([calibration.level_slope, calibration.overall_slope, *calibration.biases])


def _score(calibration: Calibration, logits: np.ndarray, truth: np.ndarray) -> float:
    return global_loss(truth, np.clip(calibration.apply(logits), SUBMIT_CLIP, 1 - SUBMIT_CLIP))


def simulated_costs(flags: Flags) -> pd.DataFrame:
    """Excess over the best slopes and biases for the mean, for each scene and way of calibrating."""
    rows = []
    for scene, (noise, shift) in SCENES.items():
        costs: dict[str, list[float]] = {}
        for repeat in cli.progress(range(flags.repeats), unit="competition", what=scene):
            found = simulate(np.random.default_rng(repeat), flags.folds, noise, shift)
            best = Calibration.fit(found.judged_logits, found.judged_truth, HALF)
            single = Calibration.fit(found.logits, found.truth, HALF)
            groups = random_groups([str(number) for number in range(STUDIES)])
            curve, _ = fit_averaging(found.logits, found.truth, groups)
            measured = FoldNoise.measure(found.fold_logits)
            assert measured is not None
            always = replace(curve, kept_from=0.0)
            ways = {
                "raw logits": Calibration.raw(HALF),
                "calibration of single networks": single,
                "SIMEX": simex(found, np.random.default_rng(repeat)),
                "moment reconstruction": replace(single, averaging=always).for_mean(measured),
                "the same, kept only where the rehearsal helps": replace(single, averaging=curve).for_mean(
                    measured
                ),
                "refit on 2,019 labelled unseen studies": Calibration.fit(
                    found.judged_logits[:STUDIES], found.judged_truth[:STUDIES], HALF
                ),
            }
            lowest = _score(best, found.judged_logits, found.judged_truth)
            for way, one in ways.items():
                costs.setdefault(way, []).append(
                    _score(one, found.judged_logits, found.judged_truth) - lowest
                )
            costs.setdefault("removed", []).append(curve.shares(measured)[0])
        removed = np.mean(costs.pop("removed"))
        rows.append(
            {"scene": f"{scene} ({100 * removed:.0f} % removed)"} | {k: np.mean(v) for k, v in costs.items()}
        )
    return pd.DataFrame(rows).set_index("scene").T


@record(frozen=True)
class Evidence:
    """A run's held-out logits, and what its folds say about studies that none of them saw."""

    logits: np.ndarray
    truth: np.ndarray
    folds: np.ndarray
    studies: list[str]
    constants: np.ndarray
    fold_logits: np.ndarray
    unseen_truth: np.ndarray


def gather(flags: Flags) -> Evidence:
    """Read a run and the labelled studies that it never saw."""
    assert flags.run and flags.raw and flags.fold_logits and flags.solution
    held_out, train = read_oof_logits(flags.run), read_train(flags.raw)
    truth = train.set_index(UID_COLUMN).loc[held_out.index, list(PREDICTION_TYPES)].to_numpy(np.float64)
    unseen = pd.read_csv(flags.fold_logits, dtype={UID_COLUMN: str})
    uids, labels = wide(read_solution(flags.solution))
    of_uid = dict(zip(uids, labels, strict=True))
    studies = list(unseen[UID_COLUMN].unique())
    parts = [unseen.loc[unseen[UID_COLUMN] == uid, list(PREDICTION_TYPES)].to_numpy() for uid in studies]
    return Evidence(
        held_out[list(PREDICTION_TYPES)].to_numpy(),
        truth,
        held_out["fold"].to_numpy(),
        list(held_out.index),
        training_constants(train),
        np.stack(parts),
        np.stack([of_uid[uid] for uid in studies]),
    )


def slopes_on_unseen(found: Evidence) -> pd.DataFrame:
    """Slopes of single networks, corrected for the mean, and refitted on the labelled unseen studies."""
    single, corrected = _single_and_corrected(found)
    mean, truth = found.fold_logits.mean(axis=1), found.unseen_truth
    refit = Calibration.fit(mean, truth, HALF)
    drawn = []
    for counts in draw_studies(len(mean), draws=300).astype(int):
        again = Calibration.fit(np.repeat(mean, counts, axis=0), np.repeat(truth, counts, axis=0), HALF)
        drawn.append((again.level_slope, again.overall_slope))
    rows = {}
    for number, kind in enumerate(("level_slope", "overall_slope")):
        interval = estimate(getattr(refit, kind), np.array(drawn)[:, number])
        value = getattr(corrected, kind)
        rows[kind.replace("_", " ")] = {
            "single networks": f"{getattr(single, kind):.3f}",
            "corrected": f"{value:.3f}",
            "refit on the mean": f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})",
            "corrected lies inside": "yes" if interval.low <= value <= interval.high else "no",
        }
    return pd.DataFrame(rows).T


def ladder_on_unseen(found: Evidence) -> pd.DataFrame:
    """The same steps, fitted out of fold alone, scored on unseen studies with paired intervals."""
    single, corrected = _single_and_corrected(found)
    groups = random_groups(found.studies)
    kept = climb(found.logits, found.truth, groups, found.constants).calibration
    noise = FoldNoise.measure(found.fold_logits)
    assert noise is not None
    ways = {
        "constants": None,
        "raw logits": Calibration.raw(found.constants),
        "calibration of single networks": single,
        "corrected for the mean": corrected,
        "what the kernel submits (kept steps)": kept.for_mean(noise),
    }
    draws, truth, mean = (
        draw_studies(len(found.unseen_truth)),
        found.unseen_truth,
        found.fold_logits.mean(axis=1),
    )
    scores = {}
    for way, one in ways.items():
        values = np.tile(found.constants, (len(mean), 1)) if one is None else one.apply(mean)
        scores[way] = resample(truth, np.clip(values, SUBMIT_CLIP, 1 - SUBMIT_CLIP), draws)
    rows = {}
    for way, one in scores.items():
        score, change = one.estimate("global"), one.less(scores["calibration of single networks"], "global")
        rows[way] = {
            "score": f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})",
            "to the calibration of single networks": f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        }
    return pd.DataFrame(rows).T


def schemes_out_of_fold(found: Evidence) -> pd.DataFrame:
    """Out-of-fold values by random groups, and as they once were: each fold by a fit on the other folds."""
    groups = random_groups(found.studies)

    def fit(logits: np.ndarray, truth: np.ndarray) -> Calibration:
        return Calibration.fit(logits, truth, found.constants)

    def raw(_logits: np.ndarray, _truth: np.ndarray) -> Calibration:
        return Calibration.raw(found.constants)

    ways = {
        "raw logits": cross_fitted(raw, found.logits, found.truth, groups),
        "calibrated, random groups over all folds": cross_fitted(fit, found.logits, found.truth, groups),
        "calibrated, each fold by the others (former scheme)": cross_fitted(
            fit, found.logits, found.truth, found.folds
        ),
        "printed by make cv (kept steps)": climb(found.logits, found.truth, groups, found.constants).values,
    }
    draws = draw_studies(len(found.truth))
    scores = {way: resample(found.truth, values, draws) for way, values in ways.items()}
    rows = {}
    for way, one in scores.items():
        score, change = one.estimate("global"), one.less(scores["raw logits"], "global")
        rows[way] = {
            "out of fold": f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})",
            "to raw logits": f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        }
    return pd.DataFrame(rows).T


def _single_and_corrected(found: Evidence) -> tuple[Calibration, Calibration]:
    """The calibration of single networks, and the one for the mean, whatever the rehearsal says."""
    single = Calibration.fit(found.logits, found.truth, found.constants)
    curve, _ = fit_averaging(found.logits, found.truth, random_groups(found.studies))
    noise = FoldNoise.measure(found.fold_logits)
    assert noise is not None, "too few unseen studies"
    return single, replace(single, averaging=replace(curve, kept_from=0.0)).for_mean(noise)


def main(flags: Flags) -> None:
    """Measure, write and print.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    parts = [
        "# Calibration: what it costs, and what it costs to leave it out",
        "```sh\npython benchmarks/bench_calibration.py" + _command(flags) + "\n```",
        f"{datetime.now(UTC):%Y-%m-%d}. Global form; lower is better.",
        "## Simulated: excess over the best possible slopes and biases for the mean",
        f"{flags.repeats} simulated competitions a scene: {STUDIES} held-out studies, {flags.folds} networks, "
        f"{UNSEEN} unlabelled unseen studies, judged on {JUDGED} others. Removed: share of the held-out logits' "
        "spread within a class that averaging removes.",
        markdown(simulated_costs(flags), "excess"),
    ]
    if flags.run:
        found = gather(flags)
        sizes = f"{len(found.truth)} held-out and {len(found.unseen_truth)} unseen studies, " + (
            f"{found.fold_logits.shape[1]} folds."
        )
        parts += [
            "## A run: slopes for the mean of its folds",
            sizes + " The interval of the refit draws the unseen studies 300 times.",
            markdown(slopes_on_unseen(found), "slope"),
            "## The same run: steps scored on the unseen studies",
            markdown(ladder_on_unseen(found), "way"),
            "## The same run: schemes out of fold",
            markdown(schemes_out_of_fold(found), "scheme"),
        ]
    text = "\n\n".join(parts) + "\n"
    storage.write_text(flags.out, text)
    print(text)


def _command(flags: Flags) -> str:
    """The flags that differ from the defaults, as typed."""
    words = []
    for name, value in vars(flags).items():
        if name != "out" and not name.startswith("__") and value != getattr(Flags, name):
            words.append(f" --{name.replace('_', '-')} {value}")
    return "".join(words)


if __name__ == "__main__":
    cli.run(main, Flags)
