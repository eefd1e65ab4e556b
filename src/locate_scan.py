"""Name the vertebrae of any CT scan with the kit's own locator: label map, picture and verdict; no run is needed."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import LocateScanFlags
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(LocateScanFlags):
    """Flags of locate_scan.py."""


def main(flags: Flags) -> None:
    """Name, print, save, draw.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.commands import locate_scan

    locate_scan(flags)


if __name__ == "__main__":
    cli.run(main, Flags)
