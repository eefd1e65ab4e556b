"""How often the 95 % intervals hold the true score, what they cost, and how often the demo's gate is passed.

Studies are simulated: correlated levels at the published rates, a model that sees them through noise. The true
score comes from a very large sample.
"""

import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.special import expit
from scipy.stats import norm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from cspine import cli, storage  # noqa: E402
from cspine.competition.labels import PUBLISHED  # noqa: E402
from cspine.competition.metric import best_constants  # noqa: E402
from cspine.competition.scoring import training_constants  # noqa: E402
from cspine.competition.tables import read_train  # noqa: E402
from cspine.evaluation.gate import gain_over_constants, share_that_passes  # noqa: E402
from cspine.evaluation.intervals import DRAWS, draw_studies, resample  # noqa: E402
from cspine.evaluation.score import sets_of_submission  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402

SIZES = (96, 304, 789, 2019)
TRUE_STUDIES = 2_000_000
CONSTANTS = best_constants(PUBLISHED["train"].rates())
SHOWN = ("global", "row", "column", "C3", "patient_overall")


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_intervals.py."""

    repeats: Annotated[int, Field(ge=2)] = 400
    """Simulated sets of each size."""
    raw: Path | None = None
    """A competition folder, a submission and its solution, for the gate."""
    submission: Path | None = None
    """The submission.csv."""
    solution: Path | None = None
    """Its truth."""
    percent: float = 5.0
    """What the gate wants the lower bound to exceed."""
    true_studies: Annotated[int, Field(ge=1000)] = TRUE_STUDIES
    """Studies of the sample that gives the true scores."""
    out: Path = ROOT / "benchmarks" / "results" / "intervals.md"
    """The tables are written here."""


def simulate(random: np.random.Generator, studies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and the values of two models that see the same through noise, the second a little better."""
    rates = PUBLISHED["train"].rates()
    alike = 0.6 * random.normal(size=(studies, 1)) + 0.8 * random.normal(size=(studies, 7))
    levels = (alike > norm.isf(rates[:7])).astype(np.float64)
    truth = np.column_stack([levels, levels.max(axis=1)])
    signal = np.log(2 * rates / (1 - rates)) - 0.7 + 1.6 * truth + 0.9 * random.normal(size=truth.shape)
    logits = [signal + noise * random.normal(size=truth.shape) for noise in (0.9, 0.8)]
    first, second = (np.clip(expit(one), 1e-3, 1 - 1e-3) for one in logits)
    return truth, first, second


def true_figures(studies: int) -> dict[str, float]:
    """Scores, gains and difference of a very large sample, in parts that fit the memory."""
    parts, size = [], 50_000
    for number in range(-(-studies // size)):
        truth, first, second = simulate(np.random.default_rng((99, number)), size)
        whole = np.ones((1, size))
        tiled = np.tile(CONSTANTS, (size, 1))
        parts.append(np.stack([resample(truth, values, whole).values for values in (first, second, tiled)]))
    first, second, constants = np.mean(parts, axis=0)
    return _figures(first, second, constants)


def _figures(first: np.ndarray, second: np.ndarray, constants: np.ndarray) -> dict[str, float]:
    names = ("global", "row", "column", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "patient_overall")
    figures = {name: float(first[names.index(name)]) for name in SHOWN}
    figures["gain, global"] = float(100 * (1 - first[0] / constants[0]))
    figures["difference of two models, global"] = float(second[0] - first[0])
    return figures


def coverage(studies: int, repeats: int, wanted: dict[str, float]) -> dict[str, float]:
    """Share of simulated sets whose interval holds the true figure."""
    inside = dict.fromkeys(wanted, 0)
    draws = draw_studies(studies)
    for repeat in cli.progress(range(repeats), unit="set", what=f"{studies} studies"):
        truth, first, second = simulate(np.random.default_rng((studies, repeat)), studies)
        one, other = resample(truth, first, draws), resample(truth, second, draws)
        constants = resample(truth, np.tile(CONSTANTS, (studies, 1)), draws)
        found = {name: one.estimate(name) for name in SHOWN}
        found["gain, global"] = one.gain_percent(constants, "global")
        found["difference of two models, global"] = other.less(one, "global")
        for name, interval in found.items():
            inside[name] += interval.low <= wanted[name] <= interval.high
    return {name: count / repeats for name, count in inside.items()}


def seconds_of(studies: int = 2019, rounds: int = 7) -> tuple[float, float]:
    """Median seconds of an interval, and of the random integers alone."""
    truth, first, _ = simulate(np.random.default_rng(0), studies)
    whole, limit = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        resample(truth, first, draw_studies(studies)).estimate("global")
        whole.append(time.perf_counter() - started)
        started = time.perf_counter()
        np.random.default_rng(0).integers(studies, size=(DRAWS, studies))
        limit.append(time.perf_counter() - started)
    return float(np.median(whole)), float(np.median(limit))


def gate_lines(flags: Flags) -> list[str]:
    """How often the gate would be passed with other studies."""
    assert flags.raw and flags.submission and flags.solution
    groups = sets_of_submission(flags.submission, flags.solution)
    truth, values = (np.concatenate([group[part] for group in groups.values()]) for part in (0, 1))
    constants = training_constants(read_train(flags.raw))
    gain, bound, name = gain_over_constants(truth, values, constants, draw_studies(len(truth)))
    share = share_that_passes(truth, values, constants, flags.percent)
    return [
        "",
        "## The gate",
        "",
        f"{len(truth)} test studies: gain {gain.value:.1f} % ({gain.low:.1f} to {gain.high:.1f}) over the constants of "
        f"{name} rates, one-sided 95 % lower bound {bound:.1f} %. Of 300 sets of studies drawn from these, "
        f"{100 * share:.0f} % have a lower bound above {flags.percent:g} % (97 expected).",
    ]


def main(flags: Flags) -> None:
    """Measure, write and print.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    wanted = true_figures(flags.true_studies)
    table = {size: coverage(size, flags.repeats, wanted) for size in SIZES}
    whole, limit = seconds_of()
    error = 100 * np.sqrt(0.95 * 0.05 / flags.repeats)
    lines = [
        "# Intervals: how often do they hold the true score?",
        "",
        "```sh",
        "python benchmarks/bench_intervals.py " + shlex.join(sys.argv[1:]),
        "```",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}. {flags.repeats} simulated sets of each size, {DRAWS} draws; the standard error "
        f"of a coverage of 95 % is {error:.1f} points. Goal 93 to 97 %.",
        "",
        "| 95 % interval of | true value | " + " | ".join(f"{size} studies" for size in SIZES) + " |",
        "|---|---|" + "---|" * len(SIZES),
    ]
    for name, value in wanted.items():
        cells = " | ".join(f"{100 * table[size][name]:.1f} %" for size in SIZES)
        lines.append(f"| {name} | {value:.4f} | {cells} |")
    lines += [
        "",
        "C3 is the rarest level: of 96 studies 3 or 4 have it, and no interval from so few is right.",
        "",
        f"Seconds of {DRAWS:,} draws of 2,019 studies: {whole:.3f} (goal 0.1); the random integers alone, which is the "
        f"limit, {limit:.3f}.",
    ]
    if flags.submission:
        lines += gate_lines(flags)
    text = "\n".join(lines) + "\n"
    storage.write_text(flags.out, text)
    print(text)


if __name__ == "__main__":
    cli.run(main, Flags)
