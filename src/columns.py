"""Cut C1-C7 out of every series into CACHE/columns; run again, it goes on."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cspine import stage
from cspine.competition.tables import read_boxes, read_train
from cspine.scans.cutting import Cut, cut_columns
from cspine.training.cached import open_columns, open_labels
from cspine.training.presets import preset_named


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of columns.py."""

    raw: Path = Path("data/raw")
    """The competition folder (train.csv, train_images, train_bounding_boxes.csv); never written to."""
    cache: Path = Path("data/cache")
    """The cache with the label maps; columns/ in it is written."""
    preset: str = "t4"
    """Settings by name: demo, t4 or h200."""
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    """Processes that read series."""
    retry_failed: bool = False
    """Try studies again that failed before."""


def main(settings: Settings) -> None:
    """Cut what is missing, list what failed, say the figures."""
    preset = preset_named(settings.preset)
    labels, columns = open_labels(settings.cache, preset), open_columns(settings.cache, preset)
    cut = Cut(settings.raw, labels, columns, preset.column)
    batch = cut_columns(
        cut, read_train(settings.raw), read_boxes(settings.raw), settings.workers, settings.retry_failed
    )
    batch.tell("columns", read=f"{settings.raw} and {labels.folder}", wrote=columns.folder)


if __name__ == "__main__":
    stage.run(main, Settings)
