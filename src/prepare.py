"""Turn every DICOM series of train.csv into a small volume in CACHE/volumes; run again, it goes on."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cspine import stage
from cspine.scans.prepare import prepare
from cspine.training.cached import open_volumes
from cspine.training.presets import preset_named


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of prepare.py."""

    raw: Path = Path("data/raw")
    """The competition folder (train.csv, train_images, segmentations); never written to."""
    cache: Path = Path("data/cache")
    """The cache; volumes/ in it is written."""
    preset: str = "t4"
    """Settings by name: demo, t4 or h200."""
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    """Processes that read series."""
    retry_failed: bool = False
    """Try studies again that failed before."""


def main(settings: Settings) -> None:
    """Prepare, list what failed, say the figures."""
    preset = preset_named(settings.preset)
    store = open_volumes(settings.cache, preset)
    batch = prepare(
        settings.raw, store, settings.workers, preset.locator.spacing_mm, retry_failed=settings.retry_failed
    )
    batch.tell("prepare", read=settings.raw, wrote=store.folder)


if __name__ == "__main__":
    stage.run(main, Settings)
