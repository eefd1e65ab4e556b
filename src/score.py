"""Score a submission against its solution, and runs out of fold against train.csv, with intervals."""

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
    """The truth: the replica's solution.csv (row_id,fractured,weight,Usage), or MLE-bench's (row_id,fractured)."""
    runs: tuple[Path, ...] = ()
    """Runs' folders, whose oof.csv is scored out of fold; the others are compared to the first."""
    partial: bool = False
    """Score an oof.csv that lacks studies, and say how many there are."""
    json: Path | None = None
    """The scores as JSON; default: scores.json in the first run's folder, or beside the submission."""
    require_lower_bound_percent: float | None = None
    """Fail unless the lower bound of the gain, over all test sets together, exceeds this."""


def main(flags: Flags) -> None:
    """Gather the sets of studies, print their tables, write them as JSON.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.score import Scored, score

    scored = Scored(flags.raw, flags.runs, flags.submission, flags.solution, flags.partial)
    score(scored, flags.json, flags.require_lower_bound_percent)


if __name__ == "__main__":
    cli.run(main, Flags)
