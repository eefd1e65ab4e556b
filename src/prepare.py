"""Turn every DICOM series of train.csv into a small volume in CACHE/volumes; run again, it goes on."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.execution import ExecutionSettings
from cspine.settings.flags import CacheFlag, PresetFlag, RawFlag
from cspine.settings.presets import PRESETS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(ExecutionSettings, PresetFlag, CacheFlag, RawFlag):
    """Flags of prepare.py."""


def main(flags: Flags) -> None:
    """Prepare what is missing, list what failed, print the figures.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.preprocessing.prepare import prepare_cache

    prepare_cache(flags.raw, flags.cache, PRESETS[flags.preset], flags)


if __name__ == "__main__":
    cli.run(main, Flags)
