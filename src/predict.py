"""Ask a run's models about any folder with a CT series: eight probabilities and a picture."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.layout import DEFAULT_RUN
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of predict.py."""

    study: Path
    """A folder with the DICOM files of one CT of the neck."""
    run: Path = DEFAULT_RUN
    """The run whose models are asked."""
    out: Path = Path("data/predictions")
    """The folder for <name of the study's folder>.json and .png."""


def main(flags: Flags) -> None:
    """Predict one study; print, save, draw.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.one_study import predict_one

    predict_one(flags.study, flags.run, flags.out)


if __name__ == "__main__":
    cli.run(main, Flags)
