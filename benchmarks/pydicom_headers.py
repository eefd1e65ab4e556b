"""The stage `prepare` with every header parsed by pydicom; a module of its own, so that workers can import it."""

from pathlib import Path
from typing import Any

from cspine.competition.checks import UID_COLUMN
from cspine.competition.tables import read_train
from cspine.dicom import header
from cspine.dicom.data_elements import BARE_START, DataElements, NotDicom, by_pydicom
from cspine.dicom.reader import WITHOUT_FAST_DECODER
from cspine.dicom.volume import SCAN_COLUMNS, scan_columns
from cspine.execution.batch import Batch, StudyWork, run_batch
from cspine.execution.store import StudyStore
from cspine.preprocessing.prepare import prepare_study, sources_of_study
from cspine.settings.execution import ExecutionSettings


def prepare_by_pydicom(
    raw: Path, store: StudyStore, spacing_mm: float, execution: ExecutionSettings
) -> Batch:
    """Prepare every study as `cspine.preprocessing.prepare.prepare` does, with headers by pydicom."""
    cache = str(store.folder.absolute())
    uids = read_train(raw)[UID_COLUMN].tolist()
    tasks = {uid: (str(raw.absolute()), uid, cache, store.settings, spacing_mm) for uid in uids}
    work = StudyWork(
        "prepare",
        prepare_study_by_pydicom,
        WITHOUT_FAST_DECODER,
        SCAN_COLUMNS,
        scan_columns,
        sources_of_study,
    )
    return run_batch(work, tasks, store, execution)


def read_by_pydicom(content: bytes) -> DataElements:
    """Take a file apart up to its pixels as `read_data_elements` does, without its parser for plain files."""
    if content[128:132] == b"DICM":
        return by_pydicom(content)
    if BARE_START.match(content):
        return by_pydicom(content, bare=True)
    raise NotDicom


def prepare_study_by_pydicom(*args: Any, **options: Any) -> dict[str, Any]:
    """Prepare one study in a worker process with headers by pydicom; as `prepare_study` otherwise."""
    header.read_data_elements = read_by_pydicom
    return prepare_study(*args, **options)
