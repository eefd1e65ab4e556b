"""Count what lies in a competition folder and say what is missing; writes describe.json into the cache."""

from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition import inventory


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of describe.py."""

    raw: Path = Path("data/raw")
    """The competition folder (train.csv, train_images, ...); never written to."""
    cache: Path = Path("data/cache")
    """The folder for describe.json."""


def main(settings: Settings) -> None:
    """Count, print, write."""
    found = inventory.describe(settings.raw)
    print(inventory.format_description(found))
    target = settings.cache / "describe.json"
    storage.write_json(target, found)
    images = found["images"]
    stage.say("describe", read=settings.raw, wrote=target, studies=images["studies"], slices=images["slices"])


if __name__ == "__main__":
    stage.run(main, Settings)
