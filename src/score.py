"""Score a submission against its solution, and a run's out-of-fold predictions against train.csv."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import RawFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(RawFlag):
    """Flags of score.py; train.csv gives the constants to beat and the truth for out of fold."""

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


def main(flags: Flags) -> None:
    """Gather the sets of studies, print their tables, write them as JSON.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.competition.score import Scored, score

    scored = Scored(flags.raw, flags.run, flags.submission, flags.solution)
    score(scored, flags.out, flags.minimum_gain_percent)


if __name__ == "__main__":
    cli.run(main, Flags)
