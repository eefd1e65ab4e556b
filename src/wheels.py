"""Download the wheels that Kaggle's image lacks, for Python 3.12 and 3.13, into a folder for the bundle."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.layout import DEFAULT_WHEELS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of wheels.py."""

    requirements: Path = Path("requirements.txt")
    """Where the versions stand."""
    out: Path = DEFAULT_WHEELS
    """The folder for the wheels."""


def main(flags: Flags) -> None:
    """Ask pip for each Python version.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.wheels import download_wheels

    download_wheels(flags.requirements, flags.out)


if __name__ == "__main__":
    cli.run(main, Flags)
