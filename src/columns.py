"""Cut C1-C7 out of every series into CACHE/columns; run again, it goes on."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.execution import ExecutionSettings
from cspine.settings.flags import CacheFlag, PresetFlag, RawFlag
from cspine.settings.presets import PRESETS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(ExecutionSettings, PresetFlag, CacheFlag, RawFlag):
    """Flags of columns.py."""


def main(flags: Flags) -> None:
    """Cut what is missing, list what failed, print the figures.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.preprocessing.columns import cut_cache

    cut_cache(flags.raw, flags.cache, PRESETS[flags.preset], flags)


if __name__ == "__main__":
    cli.run(main, Flags)
