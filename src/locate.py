"""Train the locator folds on the studies with masks, then write a label map of every prepared study."""

from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition.splits import read_folds
from cspine.training.cached import open_labels, open_volumes
from cspine.training.distributed import joined
from cspine.training.locate import LocatorJob, label_studies, train_fold
from cspine.training.presets import preset_named


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of locate.py."""

    cache: Path = Path("data/cache")
    """The cache with folds.csv and the prepared volumes."""
    run: Path = Path("data/runs/t4")
    """The folder for the checkpoints."""
    preset: str = "t4"
    """Settings by name: smoke, demo, t4 or h200."""


def main(settings: Settings) -> None:
    """Train what is missing, label what is missing."""
    preset = preset_named(settings.preset)
    folds = dict(read_folds(settings.cache / "folds.csv").itertuples(index=False, name=None))
    volumes, labels = open_volumes(settings.cache, preset), open_labels(settings.cache, preset)
    with joined() as place, storage.locked(settings.run, "locate", take=place.leads):
        job = LocatorJob(settings.run, volumes, folds, preset, place)
        for fold in range(max(folds.values()) + 1):
            train_fold(job, fold)
        written = label_studies(job, labels)
        if place.leads:
            stage.say(
                "locate",
                read=settings.cache / "volumes",
                wrote=f"{settings.run / 'locator'} and {settings.cache / 'labels'}",
                with_masks=len(job.with_masks()),
                label_maps=len(labels.uids()),
                new=written,
            )


if __name__ == "__main__":
    stage.run(main, Settings)
