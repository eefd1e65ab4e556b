"""One study read in a worker process, at the first attempt or after a crash."""

from dataclasses import replace
from pathlib import Path

from cspine.scans.dicom import read_series
from cspine.scans.volume import Volume

READ_AGAIN = "fast decoder ended its process; read again by pydicom"


def read_study(folder: Path | str, careful: bool) -> Volume:
    """Read a series; careful: after the first attempt crashed, without the fast decoder, which is noted."""
    if not careful:
        return read_series(folder)
    volume = read_series(folder, careful=True)
    return replace(volume, notes=(READ_AGAIN, *volume.notes))
