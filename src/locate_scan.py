"""Name the vertebrae of any CT scan with the kit's own locator: label map, picture and verdict; no run is needed."""

import sys
from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.strict import STRICT

NOTHING_FOUND = 3


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of locate_scan.py."""

    scan: Path
    """A folder with the DICOM files of a CT series, one of these files, or a NIfTI file."""
    out: Path = Path("data/predictions")
    """The folder for <name>-levels.nii.gz, .json and .png."""


def main(flags: Flags) -> None:
    """Name, print, save, draw.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.

    Raises
    ------
    SystemExit
        With code 3, if the scan shows no neck.
    """
    from cspine.evaluation.named_scan import locate_scan

    if locate_scan(flags.scan, flags.out) == "not a neck":
        sys.exit(NOTHING_FOUND)


if __name__ == "__main__":
    cli.run(main, Flags)
