"""What the commands for own scans do, for the scripts in src/ and for the command `cspine`."""

import sys

from cspine.settings.flags import LocateScanFlags, PredictFlags
from cspine.settings.layout import DEFAULT_RUN

NOTHING_FOUND = 3
"""Exit code where no scan could be predicted, or shows no neck."""


def predict(flags: PredictFlags) -> None:
    """Predict every CT of a neck in a place; without a trained run name its levels.

    Parameters
    ----------
    flags : PredictFlags
        The checked flags of the command line.

    Raises
    ------
    SystemExit
        With code 3, if nothing could be predicted.
    """
    if flags.run == DEFAULT_RUN and not flags.run.exists():
        print(f"no trained run in {flags.run}: the levels alone, without probabilities", flush=True)
        locate_scan(LocateScanFlags(flags.input, flags.out))
        return
    from cspine.evaluation.exams import predict_exams

    if not predict_exams(flags):
        sys.exit(NOTHING_FOUND)


def locate_scan(flags: LocateScanFlags) -> None:
    """Name the vertebrae of a scan.

    Parameters
    ----------
    flags : LocateScanFlags
        The checked flags of the command line.

    Raises
    ------
    SystemExit
        With code 3, if the scan shows no neck.
    """
    from cspine.evaluation import named_scan

    if named_scan.locate_scan(flags.input, flags.out) == "not a neck":
        sys.exit(NOTHING_FOUND)
