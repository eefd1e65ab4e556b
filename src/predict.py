"""Ask a run's models about exams of any shape: eight probabilities, the deciding slices and a picture a CT series."""

from cspine import cli
from cspine.settings.flags import PredictFlags


def main(flags: PredictFlags) -> None:
    """Look through a place, predict, save, draw.

    Parameters
    ----------
    flags : PredictFlags
        The checked flags of the command line.
    """
    from cspine.evaluation.commands import predict

    predict(flags)


if __name__ == "__main__":
    cli.run(main, PredictFlags)
