"""Run the inference kernel's own script as Kaggle would and check the submission.csv that it leaves."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import RawFlag, RunFlag
from cspine.settings.layout import DEFAULT_OUT, DEFAULT_WHEELS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(RunFlag, RawFlag):
    """Flags of submission.py."""

    out: Path = DEFAULT_OUT
    """The folder for submission.csv, inference.json and the Kaggle folders (kaggle/input, kaggle/working)."""
    script: Path = Path("kernels/inference/inference.py")
    """The kernel's script."""
    python: Path | None = None
    """Another Python to run it, with the packages of Kaggle's image; it gets the wheels of `make wheels`."""


def main(flags: Flags) -> None:
    """Lay out, run, check.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.local_run import OWN, Interpreter, make_submission

    interpreter = OWN if flags.python is None else Interpreter(flags.python, DEFAULT_WHEELS)
    make_submission(flags.raw, flags.run, flags.script, flags.out, interpreter)


if __name__ == "__main__":
    cli.run(main, Flags)
