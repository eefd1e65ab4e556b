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
    from cspine.preprocessing.prepare import prepare
    from cspine.preprocessing.stores import open_volumes

    preset = PRESETS[flags.preset]
    store = open_volumes(flags.cache, preset)
    batch = prepare(flags.raw, store, preset.locator.spacing_mm, flags)
    batch.print_summary("prepare", read=flags.raw, wrote=store.folder, counted=("slices", "slices_read"))


if __name__ == "__main__":
    cli.run(main, Flags)
