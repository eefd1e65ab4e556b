"""Train the locator folds on the studies with masks, then write a label map of every prepared study."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag, LoaderFlag, PresetFlag, RunFlag
from cspine.settings.presets import PRESETS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(LoaderFlag, PresetFlag, RunFlag, CacheFlag):
    """Flags of locate.py."""


def main(flags: Flags) -> None:
    """Train what is missing, label what is missing.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.training.locate import train_and_label

    train_and_label(flags.cache, flags.run, PRESETS[flags.preset].for_machine(flags.loader_workers))


if __name__ == "__main__":
    cli.run(main, Flags)
