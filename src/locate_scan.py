"""Name the vertebrae of any CT scan with the kit's own locator: label map, picture and verdict; no run is needed."""

from cspine import cli
from cspine.settings.flags import LocateScanFlags


def main(flags: LocateScanFlags) -> None:
    """Name, print, save, draw.

    Parameters
    ----------
    flags : LocateScanFlags
        The checked flags of the command line.
    """
    from cspine.evaluation.commands import locate_scan

    locate_scan(flags)


if __name__ == "__main__":
    cli.run(main, LocateScanFlags)
