"""Ask a run's models about exams of any shape: eight probabilities, the deciding slices and a picture a CT series."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import PredictFlags
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(PredictFlags):
    """Flags of predict.py."""


def main(flags: Flags) -> None:
    """Look through a place, predict, save, draw.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.commands import predict

    predict(flags)


if __name__ == "__main__":
    cli.run(main, Flags)
