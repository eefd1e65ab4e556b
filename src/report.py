"""Write the HTML report of a run: scores, calibration, pictures of studies, and what fell short."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag, PresetFlag, RawFlag, RunFlag
from cspine.settings.presets import PRESETS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(PresetFlag, RunFlag, CacheFlag, RawFlag):
    """Flags of report.py; report.html is written into the run."""

    inference: Path | None = None
    """The inference.json that submission.py left, for what the kernel noted."""
    studies: Annotated[int, Field(ge=1, le=50)] = 4
    """Studies shown of each kind."""


def main(flags: Flags) -> None:
    """Gather, draw, write.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.run_report import ReportSources, report_run

    preset = PRESETS[flags.preset]
    report_run(ReportSources(flags.raw, flags.cache, flags.run, preset, flags.inference, flags.studies))


if __name__ == "__main__":
    cli.run(main, Flags)
