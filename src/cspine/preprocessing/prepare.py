"""Every labelled study becomes a small volume in the cache: resumable, one bad study costs one study."""

from pathlib import Path
from typing import Any

from cspine.competition.checks import UID_COLUMN
from cspine.competition.inventory import find_mask
from cspine.competition.tables import read_train
from cspine.dicom.reader import WITHOUT_FAST_DECODER, read_study
from cspine.dicom.volume import SCAN_COLUMNS, scan_columns
from cspine.errors import InputError
from cspine.execution.batch import Batch, StudyWork, run_batch
from cspine.execution.sources import MADE_FROM, Sources, of_folder
from cspine.execution.store import StudyStore
from cspine.preprocessing.masks import read_mask
from cspine.preprocessing.resampling import resample
from cspine.preprocessing.stores import open_volumes
from cspine.settings.execution import ExecutionSettings
from cspine.settings.presets import Preset


def prepare(
    raw: Path | str,
    store: StudyStore,
    spacing_mm: float,
    execution: ExecutionSettings = ExecutionSettings(),  # noqa: B008 (frozen)
) -> Batch:
    """Read every study of train.csv, resample it and write it to the store, with its mask if it has one.

    Studies that are in the store are left alone, unless their series or their mask changed meanwhile.

    Parameters
    ----------
    raw : Path or str
        The competition folder.
    store : StudyStore
        Gets `volume` int16 HU (z, y, x) at `spacing_mm`, `labels` uint8 of the same shape where a mask
        exists, and index.csv.
    spacing_mm : float
        Voxel size on all axes.
    execution : ExecutionSettings
        Where the studies are worked on.

    Returns
    -------
    Batch
        What became of the studies.

    Raises
    ------
    InputError
        For tables that can't be used, and if no study at all can be used.
    DiskFull
        If the disk is full.
    """
    raw = Path(raw).absolute()  # workers may have another current folder
    uids = read_train(raw)[UID_COLUMN].tolist()
    cache = str(store.folder.absolute())
    tasks = {uid: (str(raw), uid, cache, store.settings, spacing_mm) for uid in uids}
    work = StudyWork(
        "prepare", prepare_study, WITHOUT_FAST_DECODER, SCAN_COLUMNS, scan_columns, sources_of_study
    )
    batch = run_batch(work, tasks, store, execution, folders=(raw,))
    if not batch.done:
        uid, reason = next(iter(batch.failed.items()))
        raise InputError(
            f"{raw / 'train_images'}: found no usable study among {len(uids)}, {uid} for one: {reason}; "
            "expected train_images/<StudyInstanceUID>/<n>.dcm; check the download, then run again "
            "with --retry-failed"
        )
    return batch


def prepare_cache(
    raw: Path,
    cache: Path,
    preset: Preset,
    execution: ExecutionSettings = ExecutionSettings(),  # noqa: B008 (frozen)
) -> None:
    """Prepare what a cache lacks, list what failed, print the figures.

    Parameters
    ----------
    raw : Path
        The competition folder.
    cache : Path
        The cache, which gets the volumes.
    preset : Preset
        The settings.
    execution : ExecutionSettings
        Where the studies are worked on.

    Raises
    ------
    InputError
        As `prepare`.
    """
    store = open_volumes(cache, preset)
    batch = prepare(raw, store, preset.locator.spacing_mm, execution)
    batch.print_summary("prepare", read=raw, wrote=store.folder, counted=("slices", "slices_read"))


def sources_of_study(raw: str, uid: str, *_: Any) -> Sources:
    """List what a study is prepared from.

    Parameters
    ----------
    raw : str
        The competition folder.
    uid : str
        The study.
    *_ : Any
        The other arguments of `prepare_study`, which the store's settings hold.

    Returns
    -------
    Sources
        Its series, and its mask where there is one.
    """
    mask = find_mask(Path(raw) / "segmentations", uid)
    return Sources(of_folder(Path(raw) / "train_images" / uid), [mask] if mask is not None else [])


def prepare_study(
    raw: str, uid: str, folder: str, settings: dict[str, Any], spacing_mm: float, fallback: bool = False
) -> dict[str, Any]:
    """Prepare one study in a worker process.

    A mask that can't be used costs the mask only.

    Parameters
    ----------
    raw : str
        The competition folder.
    uid : str
        The study.
    folder : str
        The store's folder.
    settings : dict
        The store's settings.
    spacing_mm : float
        Voxel size on all axes.
    fallback : bool
        Read without the fast decoder, which crashed.

    Returns
    -------
    dict
        The study's description, the store's meta.json.

    Raises
    ------
    InputError
        If the study can't be read.
    """
    made_from = sources_of_study(
        raw, uid
    ).describe()  # before it is read: a change while it is read is noticed too
    volume = read_study(Path(raw) / "train_images" / uid, fallback)
    small = resample(volume, spacing_mm)
    meta = {**volume.describe(), "affine": small.affine.tolist(), "shape": list(small.hu.shape)}
    arrays, notes = {"volume": small.hu}, list(volume.notes)
    del volume  # a mask may take as much memory again
    path = find_mask(Path(raw) / "segmentations", uid)
    if path is not None:
        try:
            mask = read_mask(path, small)
            arrays["labels"], meta["mask"] = mask.labels, mask.coverage
            notes += mask.notes
        except InputError as error:
            notes.append(f"mask left out: {error}")
    meta |= {"notes": notes, MADE_FROM: made_from}
    StudyStore(folder, settings).write(uid, arrays, meta)
    return meta
