"""Who the patients are, where a table says so: a replica's truth; the competition's own files tell nothing."""

from pathlib import Path

import numpy as np
import pandas as pd

from cspine.competition import checks
from cspine.competition.checks import UID_COLUMN

COHORT = Path("truth") / "cohort.csv"
"""Beside the competition folder."""
PERSON = ("site", "sex", "age")
SPLITS = ("train", "public", "private")


def read_cohort(raw: Path | str) -> pd.DataFrame | None:
    """Read the cohort table beside a competition folder.

    Parameters
    ----------
    raw : Path or str
        The competition folder.

    Returns
    -------
    DataFrame or None
        Indexed by StudyInstanceUID: split ("train", "public" or "private"), site str, sex str, age float64 in
        years, boxed and masked bool. None where there is no such table, as with the real data.

    Raises
    ------
    InputError
        For a table that can't be used.
    """
    path = Path(raw).parent / COHORT
    if not path.is_file():
        return None
    head = path.open().readline().strip().split(",")
    wanted = (UID_COLUMN, "split", *PERSON, "boxed", "masked")
    missing = [name for name in wanted if name not in head]
    if missing:
        raise checks.table_error(
            path, "the columns " + ",".join(head), "among them " + ",".join(wanted), "make the replica anew"
        )
    frame = checks.read_text(path, tuple(head), advice="make the replica anew")
    checks.check_study_uids(frame[UID_COLUMN], path)
    checks.check_unique(frame[UID_COLUMN], path)
    checks.check_all(
        frame["split"].isin(SPLITS), frame, "split", path, UID_COLUMN, "one of " + ", ".join(SPLITS)
    )
    frame["age"] = checks.numbers(frame, "age", path, UID_COLUMN).astype(np.float64)
    for name in ("boxed", "masked"):
        frame[name] = frame[name].isin(("True", "1", "1.0"))
    return frame.set_index(UID_COLUMN)[list(wanted[1:])]
