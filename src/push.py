"""Put together what travels to Kaggle: code, wheels and models as one dataset, and the kernel."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import RunFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(RunFlag):
    """Flags of push.py."""

    out: Path = Path("data/kaggle/push")
    """The folder for bundle/ and kernel/."""
    owner: str = ""
    """Your Kaggle user name; it goes into both metadata files."""
    wheels: Path = Path("data/wheels")
    """A folder with wheels that Kaggle's image lacks (`make wheels` fills data/wheels)."""
    kernel: Path = Path("kernels/inference")
    """The kernel's folder."""


def main(flags: Flags) -> None:
    """Assemble both folders and say which two commands send them.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.push import PushSources, prepare_push

    prepare_push(PushSources(flags.run, flags.kernel, flags.owner, flags.wheels), flags.out)


if __name__ == "__main__":
    cli.run(main, Flags)
