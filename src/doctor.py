"""Look at the machine and the data before the first hour: Python, memory, disk, GPU, weights, data, Kaggle's token."""

from cspine import cli
from cspine.settings.flags import DoctorFlags


def main(flags: DoctorFlags) -> None:
    """Print a line for each thing, with what to do.

    Parameters
    ----------
    flags : DoctorFlags
        The checked flags of the command line.
    """
    from cspine.findings import report
    from cspine.kaggle.doctor import examine_credentials
    from cspine.training.machine import examine

    report([*examine(flags), examine_credentials()], "to prepare and train")


if __name__ == "__main__":
    cli.run(main, DoctorFlags)
