"""The wheels that Kaggle's image lacks, downloaded into a folder for the bundle."""

import subprocess
import sys
from pathlib import Path

from cspine import cli, storage
from cspine.errors import InputError

HEADING = "# Not in Kaggle's image"
"""The part of requirements.txt that travels starts at this comment and ends at the next empty line."""
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64")
PYTHONS = ("3.12", "3.13")
"""Python versions of Kaggle's image, today's and the next."""


def download_wheels(requirements: Path, out: Path, pythons: tuple[str, ...] = PYTHONS) -> None:
    """Ask pip for the wheels of each Python version.

    Parameters
    ----------
    requirements : Path
        A requirements.txt with the part that `travelling` reads.
    out : Path
        The folder for the wheels.
    pythons : tuple of str
        Python versions, such as "3.12".

    Raises
    ------
    InputError
        If the requirements lack their heading, or pip can't download them.
    """
    names = travelling(requirements.read_text())
    with storage.locked(out, "wheels"):
        for version in pythons:
            platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--python-version", version, *platforms, "--dest", str(out), *names]
            if subprocess.run(command, check=False).returncode:
                raise InputError(
                    f"pip could not download {', '.join(names)} for Python {version}; its message is above"
                )
    cli.log_stage("wheels", read=requirements, wrote=out, files=len(sorted(out.glob("*.whl"))))


def travelling(text: str) -> list[str]:
    """Find the pinned packages that travel with the bundle.

    Parameters
    ----------
    text : str
        The content of requirements.txt.

    Returns
    -------
    list of str
        Requirements, one a package.

    Raises
    ------
    InputError
        If their heading is gone.
    """
    if HEADING not in text:
        raise InputError(
            f"requirements: no comment {HEADING!r}; expected it above the packages that Kaggle lacks"
        )
    lines = text.split(HEADING, 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
