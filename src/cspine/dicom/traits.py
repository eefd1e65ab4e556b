"""What the headers tell about each scan before it is read: size, direction, step, spacing, transfer syntax."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom import dcmread
from pydicom.uid import UID

from cspine import cli, storage
from cspine.competition import checks
from cspine.competition.checks import UID_COLUMN
from cspine.dicom.folder import list_files
from cspine.dicom.header import SliceHeader, Unreadable, read_header
from cspine.dicom.order import normal_of
from cspine.errors import InputError

HEAD_FIRST, FEET_FIRST, UNKNOWN = "head to feet", "feet to head", "unknown"
TRIED = 4
"""Files that are tried from either end before a study counts as unreadable."""


@dataclass(frozen=True)
class Traits:
    """What the first and the last readable file of a study say; empty where none can be read."""

    StudyInstanceUID: str
    slices: int
    """Files of the study."""
    rows: int | None = None
    columns: int | None = None
    direction: str = UNKNOWN
    """How the slices lie when they are sorted by file number."""
    step_mm: float | None = None
    """Distance between the first and the last slice over their number less one."""
    pixel_mm: float | None = None
    """Distance between rows."""
    syntax: str = UNKNOWN
    """Name of the transfer syntax (PS3.5 annex A)."""
    header_uid: str = ""
    """StudyInstanceUID (0020,000D) as the first file has it."""


COLUMNS = tuple(Traits.__dataclass_fields__)


def read_traits(folder: Path | str) -> Traits:
    """Read the headers at both ends of a study's files.

    Parameters
    ----------
    folder : Path or str
        The study's folder.

    Returns
    -------
    Traits
        What they say; unknown or None where nothing can be read.
    """
    folder = Path(folder)
    try:
        files = list_files(folder).paths
    except InputError:
        return Traits(folder.name, 0)
    first, last = _first_readable(files), _first_readable(files[::-1])
    if first is None or last is None:
        return Traits(folder.name, len(files))
    rise_mm = float(np.subtract(last.position_mm, first.position_mm) @ normal_of(first))
    direction = UNKNOWN if abs(rise_mm) < 1e-3 else FEET_FIRST if rise_mm > 0 else HEAD_FIRST
    return Traits(
        folder.name,
        len(files),
        rows=first.rows,
        columns=first.columns,
        direction=direction,
        step_mm=round(abs(rise_mm) / max(len(files) - 1, 1), 4) if direction != UNKNOWN else None,
        pixel_mm=round(first.spacing_mm[0], 4),
        syntax=UID(first.syntax).name,
        header_uid=_study_uid(first.file),
    )


def _study_uid(file: Path) -> str:
    """StudyInstanceUID of a file; empty where it has none."""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID"], force=True)
        return str(header.get("StudyInstanceUID", ""))
    except Exception:  # noqa: BLE001 (pydicom lets any exception out of a damaged file; it has no UID then)
        return ""


def _first_readable(files: list[Path]) -> SliceHeader | None:
    """The header of the first of some files that has one."""
    for file in files[:TRIED]:
        try:
            return read_header(file)[0]
        except Unreadable:
            continue
    return None


def table_of_traits(path: Path | str, images: Path | str, uids: Sequence[str]) -> pd.DataFrame:
    """Give the traits of many studies, from a table if it is there and of the same studies.

    Parameters
    ----------
    path : Path or str
        The table, CACHE/traits.csv; written where it is missing or of other studies.
    images : Path or str
        The folder with a folder a study; may be missing.
    uids : sequence of str
        The studies.

    Returns
    -------
    DataFrame
        Columns as the fields of Traits, indexed by StudyInstanceUID, in the order of `uids`; without any row
        where `images` is missing.

    Raises
    ------
    InputError
        If the table is there and can't be used.
    """
    path, images = Path(path), Path(images)
    if not images.is_dir():
        return pd.DataFrame(columns=list(COLUMNS)).set_index(UID_COLUMN)
    there = [uid for uid in uids if (images / uid).is_dir()]
    if path.is_file():
        found = read_table(path)
        if sorted(found.index) == sorted(there):
            return found.loc[there]
    bar = cli.progress(there, unit="study", what="headers")
    rows = [asdict(read_traits(images / uid)) for uid in bar]
    storage.write_csv(path, pd.DataFrame(rows, columns=list(COLUMNS)))
    return read_table(path) if rows else pd.DataFrame(columns=list(COLUMNS)).set_index(UID_COLUMN)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of traits.

    Parameters
    ----------
    path : Path
        CACHE/traits.csv.

    Returns
    -------
    DataFrame
        Indexed by StudyInstanceUID: slices, rows, columns, step_mm, pixel_mm float64 (NaN where unknown),
        direction and syntax str.

    Raises
    ------
    InputError
        If the file is missing or can't be used.
    """
    frame = checks.read_text(path, COLUMNS, advice="`make describe` makes it", may_be_empty=True)
    checks.check_study_uids(frame[UID_COLUMN], path)
    checks.check_unique(frame[UID_COLUMN], path)
    for name in ("slices", "rows", "columns", "step_mm", "pixel_mm"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
    return frame.set_index(UID_COLUMN)
