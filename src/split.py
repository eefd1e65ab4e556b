"""Split the training studies into folds with every level balanced; writes folds.csv into the cache."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition import splits, tables


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of split.py."""

    raw: Path = Path("data/raw")
    """The competition folder with train.csv; never written to."""
    cache: Path = Path("data/cache")
    """The folder for folds.csv; a different split that is there already is never overwritten."""
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    """How many folds."""
    seed: Annotated[int, Field(ge=0)] = 2022
    """The seed that breaks ties; the same seed gives the same folds."""


def main(settings: Settings) -> None:
    """Read train.csv, make the folds, print their counts, write them once."""
    train = tables.read_train(settings.raw)
    folds = splits.make_folds(train, settings.folds, settings.seed)
    path = settings.cache / "folds.csv"
    with storage.locked(settings.cache, "split"):
        new = splits.write_folds(path, folds)
    print(splits.count_positives(folds, train).to_string())
    wrote = path if new else f"nothing ({path} holds this split)"
    stage.say("split", read=settings.raw / "train.csv", wrote=wrote, studies=len(folds), folds=settings.folds)


if __name__ == "__main__":
    stage.run(main, Settings)
