"""Split the training studies into folds that are alike, or make a local competition out of them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag, RawFlag
from cspine.settings.layout import DEFAULT_FOLDS, DEFAULT_SEED
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(CacheFlag, RawFlag):
    """Flags of split.py; a different split that is in the cache already is never overwritten."""

    folds: Annotated[int, Field(ge=2, le=1000)] = DEFAULT_FOLDS
    """How many folds."""
    seed: Annotated[int, Field(ge=0)] = DEFAULT_SEED
    """The seed of the first random folds; the same seed gives the same folds."""
    leaderboard: Path | None = None
    """Instead of folds: write a local competition (train, public, private as the original's) into this folder."""


def main(flags: Flags) -> None:
    """Make the folds, print their counts, write them once.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.preprocessing.split import split_leaderboard, split_studies

    if flags.leaderboard is not None:
        split_leaderboard(flags.raw, flags.cache, flags.leaderboard, flags.seed)
    else:
        split_studies(flags.raw, flags.cache, flags.folds, flags.seed)


if __name__ == "__main__":
    cli.run(main, Flags)
