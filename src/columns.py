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
    from cspine.competition.tables import read_boxes, read_train
    from cspine.preprocessing.columns import ColumnsStage, cut_columns
    from cspine.preprocessing.stores import open_columns, open_labels

    preset = PRESETS[flags.preset]
    labels, columns = open_labels(flags.cache, preset), open_columns(flags.cache, preset)
    stage = ColumnsStage(flags.raw, labels, columns, preset.column)
    batch = cut_columns(stage, read_train(flags.raw), read_boxes(flags.raw), flags)
    batch.print_summary(
        "columns",
        read=f"{flags.raw} and {labels.folder}",
        wrote=columns.folder,
        counted=("slices", "slices_read"),
    )


if __name__ == "__main__":
    cli.run(main, Flags)
