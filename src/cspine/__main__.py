"""The command `cspine`: predict and locate-scan, wherever the kit was installed with pip."""

import sys

from cspine import cli
from cspine.settings.flags import LocateScanFlags, PredictFlags

USAGE = """usage: cspine predict -i IN -o OUT --run RUN
       cspine locate-scan -i IN -o OUT

`cspine predict --help` lists every flag. Not a medical device."""


def main() -> None:
    """Run the command that the first word names."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name == "predict":
        cli.run(predict, PredictFlags)
    elif name == "locate-scan":
        cli.run(locate_scan, LocateScanFlags)
    else:
        print(USAGE, file=sys.stdout if name in ("--help", "-h") else sys.stderr)
        sys.exit(0 if name in ("--help", "-h") else 2)


def predict(flags: PredictFlags) -> None:
    """Predict exams.

    Parameters
    ----------
    flags : PredictFlags
        The checked flags of the command line.
    """
    from cspine.evaluation.commands import predict as work

    work(flags)


def locate_scan(flags: LocateScanFlags) -> None:
    """Name vertebrae.

    Parameters
    ----------
    flags : LocateScanFlags
        The checked flags of the command line.
    """
    from cspine.evaluation.commands import locate_scan as work

    work(flags)


if __name__ == "__main__":
    main()
