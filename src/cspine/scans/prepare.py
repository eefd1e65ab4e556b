"""Every labelled study becomes a small volume in the cache: resumable, one bad study costs one study."""

from pathlib import Path
from typing import Any

from cspine.competition.tables import UID_COLUMN, read_train
from cspine.errors import InputError
from cspine.scans.batch import Batch, describe_scan, run_batch
from cspine.scans.cache import StudyStore
from cspine.scans.dicom import read_series
from cspine.scans.masks import largest_components, read_mask
from cspine.scans.volume import resample


def prepare(
    raw: Path | str, store: StudyStore, workers: int, spacing_mm: float, retry_failed: bool = False
) -> Batch:
    """Read every study of train.csv, resample it and write it to the store, with its mask if it has one.

    raw: the competition folder. store: gets `volume` int16 HU (z, y, x) at `spacing_mm` and `labels` uint8 of
    the same shape where a mask exists; and index.csv. workers: processes. Studies that are in the store are
    left alone; those that failed before are tried again only with `retry_failed`.
    Raises InputError for tables that can't be used, and if no study at all can be used.
    """
    raw = Path(raw)
    uids = read_train(raw)[UID_COLUMN].tolist()
    tasks = {uid: (str(raw), uid, str(store.folder), store.settings, spacing_mm) for uid in uids}
    batch = run_batch("prepare", prepare_study, tasks, store, workers, retry_failed)
    if not batch.done:
        uid, reason = next(iter(batch.failed.items()))
        raise InputError(
            f"{raw / 'train_images'}: found no usable study among {len(uids)}, {uid} for one: {reason}; "
            "expected train_images/<StudyInstanceUID>/<n>.dcm; check the download, then run again "
            "with --retry-failed"
        )
    return batch


def prepare_study(
    raw: str, uid: str, folder: str, settings: dict[str, Any], spacing_mm: float
) -> dict[str, Any]:
    """Prepare one study in a worker process; returns its description, the store's meta.json.

    Raises InputError if the study can't be read. A mask that can't be used costs the mask only.
    """
    volume = read_series(Path(raw) / "train_images" / uid)
    small = resample(volume, spacing_mm)
    arrays = {"volume": small.hu}
    notes = list(volume.notes)
    mask = Path(raw) / "segmentations" / f"{uid}.nii"
    if mask.is_file():
        try:
            arrays["labels"] = largest_components(read_mask(mask, small))
        except InputError as error:
            notes.append(f"mask left out: {error}")
    grid = {"affine": small.affine.tolist(), "shape": list(small.hu.shape)}
    meta = {**describe_scan(volume), **grid, "notes": notes}
    StudyStore(folder, settings).write(uid, arrays, meta)
    return meta
