"""Train the locator that comes with the kit, on the masks of a replica of wide coverage"""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(CacheFlag):
    """Flags of pretrain_locator.py."""

    replica: Path = Path("data/raw/wide")
    """The folder of a replica of wide coverage, of which the cache holds the volumes."""
    out: Path = Path("data/runs/locator-replica")
    """Gets the weights and their card, and the state while it trains."""


def main(flags: Flags) -> None:
    """Train from where the last run stopped, and write weights and card.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.training.pretrain_locator import pretrain

    pretrain(flags.replica, flags.cache, flags.out)


if __name__ == "__main__":
    cli.run(main, Flags)
