"""Merge the folds' held-out logits, fit the calibration, and score out of fold."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag, RawFlag, RunFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(RunFlag, CacheFlag, RawFlag):
    """Flags of cv.py; oof.csv and calibration.json are written into the run."""


def main(flags: Flags) -> None:
    """Read every fold, calibrate each on the others, score, and write.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.cross_validation import cross_validate

    cross_validate(flags.raw, flags.cache, flags.run)


if __name__ == "__main__":
    cli.run(main, Flags)
