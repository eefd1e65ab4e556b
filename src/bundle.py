"""Put together what travels to Kaggle: the code with its wheels, and a run's models, each for a dataset."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import BundleFlag, PresetFlag, RunFlag
from cspine.settings.layout import DEFAULT_WHEELS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(RunFlag, BundleFlag, PresetFlag):
    """Flags of bundle.py."""

    wheels: Path = DEFAULT_WHEELS
    """A folder with wheels that Kaggle's image lacks (`make wheels` fills data/wheels)."""
    code_only: bool = False
    """No models: they come from the kernel that trains on Kaggle."""
    dirty: bool = False
    """Let changes travel that are not committed."""


def main(flags: Flags) -> None:
    """Check everything that can be checked here, and assemble both halves.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.bundle import BundleSources, make_bundle

    make_bundle(
        BundleSources(None if flags.code_only else flags.run, flags.wheels, flags.dirty), flags.bundle
    )


if __name__ == "__main__":
    cli.run(main, Flags)
