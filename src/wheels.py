"""Download the wheels that Kaggle's image lacks, for Python 3.12 and 3.13, into a folder for the bundle."""

import subprocess
import sys
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.errors import InputError

HEADING = "# Not in Kaggle's image"
"""The part of requirements.txt that travels starts at this comment and ends at the next empty line."""
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of wheels.py."""

    requirements: Path = Path("requirements.txt")
    """Where the versions stand."""
    out: Path = Path("data/wheels")
    """The folder for the wheels."""
    pythons: tuple[str, ...] = ("3.12", "3.13")
    """Python versions of Kaggle's image, today's and the next."""


def main(settings: Settings) -> None:
    """Ask pip for each Python version."""
    names = travelling(settings.requirements.read_text())
    with storage.locked(settings.out, "wheels"):
        for version in settings.pythons:
            platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--python-version", version, *platforms, "--dest", str(settings.out), *names]
            if subprocess.run(command, check=False).returncode:
                raise InputError(
                    f"pip could not download {', '.join(names)} for Python {version}; its message is above"
                )
    files = sorted(settings.out.glob("*.whl"))
    stage.say("wheels", read=settings.requirements, wrote=settings.out, files=len(files))


def travelling(text: str) -> list[str]:
    """The pinned packages that travel with the bundle. Raises InputError if their heading is gone."""
    if HEADING not in text:
        raise InputError(
            f"requirements: no comment {HEADING!r}; expected it above the packages that Kaggle lacks"
        )
    lines = text.split(HEADING, 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    stage.run(main, Settings)
