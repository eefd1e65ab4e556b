"""A whole replica on disk: many studies at once, stopped and continued at will, always the same bytes."""

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from replica.anatomy.shapes import Triple
from replica.annotators.boxes import draw_boxes
from replica.annotators.masks import write_fractures, write_mask
from replica.cohort.published import LEVELS
from replica.cohort.studies import make_cohort
from replica.injuries.fractures import Injury
from replica.scanner.oddities import describe
from replica.scanner.scan import scan
from replica.settings import ReplicaError, ReplicaSettings
from replica.study import Purpose, Study, make_study, study_rng
from replica.writer.dicom import slice_header, write_slice
from replica.writer.disk import bytes_needed, check_free_space, full_disk_reported
from replica.writer.tables import write_json, write_tables

MARKER, RECORDS, WORK, LOCK = "replica.json", ".records", ".work", ".lock"
LOG_EVERY_S = 60.0
"""How often a log hears how far it is."""


def replicate(settings: ReplicaSettings) -> dict:
    """Write a synthetic competition, or finish one begun with the same settings.

    Parameters
    ----------
    settings : ReplicaSettings
        What to write, and to which folder.

    Returns
    -------
    dict of str to int
        Counts: studies, written (in this call), slices, positive, boxes, masks.

    Raises
    ------
    ReplicaError
        If the folder holds something else or a replica of other settings, another process is writing it, or
        the disk is full; then what is finished stays, and the next call goes on.
    """
    out = Path(settings.out)
    with full_disk_reported(out):
        return _replicate(out, settings)


def _replicate(out: Path, settings: ReplicaSettings) -> dict:
    claim(out, settings)
    with _locked(out):
        cohort = make_cohort(settings)
        complete = json.loads((out / MARKER).read_text())["complete"]
        written = 0
        if not complete:
            _folders(out, settings)
            written = 0 if settings.labels_only else _write_studies(out, settings, cohort)
            _finish(out, settings, cohort)
        shutil.rmtree(out / RECORDS, ignore_errors=True)
        shutil.rmtree(out / WORK, ignore_errors=True)
        return {
            "studies": len(cohort),
            "written": written,
            **json.loads((out / MARKER).read_text())["counts"],
        }


def claim(out: Path, settings: ReplicaSettings) -> None:
    """Mark a folder as a replica with these settings, or refuse with the reason.

    Parameters
    ----------
    out : Path
        The folder; made if need be.
    settings : ReplicaSettings
        Of the replica.

    Raises
    ------
    ReplicaError
        If it is a file, or holds something else or a replica of other settings.
    """
    if out.exists() and not out.is_dir():
        raise ReplicaError(f"{out} is a file; give a new folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    marker = out / MARKER
    wanted = settings.fingerprint()
    if not marker.exists():
        strangers = sorted(p.name for p in out.iterdir() if not p.name.startswith((f".{MARKER}", LOCK)))
        if strangers:
            raise ReplicaError(
                f"{out} is not empty ({', '.join(strangers[:3])}) and is no replica: nothing was written; "
                "give a new folder with --out"
            )
        write_json(marker, {"settings": wanted, "complete": False, "counts": {}})
        return
    try:
        found = json.loads(marker.read_text())["settings"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ReplicaError(f"{marker} can't be read ({error}): give a new folder with --out") from error
    other = [
        f"{k} {found.get(k)!r}, asked {wanted.get(k)!r}"
        for k in {**found, **wanted}
        if found.get(k) != wanted.get(k)
    ]
    if other:
        raise ReplicaError(
            f"{out} holds a replica of other settings ({'; '.join(other)}): nothing was written; "
            "use the same settings, another --out, or delete the folder"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder against a second writer; the lock goes with the process that held it."""
    with open(out / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReplicaError(f"another process is writing {out}; wait for it or end it") from error
        yield


def _folders(out: Path, settings: ReplicaSettings) -> None:
    names = ["competition", "truth"]
    if not settings.labels_only:
        names += [f"competition/{n}" for n in ("train_images", "test_images", "segmentations")]
        names += ["truth/fractures", RECORDS]
    shutil.rmtree(out / WORK, ignore_errors=True)  # halves of a run that was killed
    for name in [*names, WORK]:
        (out / name).mkdir(parents=True, exist_ok=True)


def _write_studies(out: Path, settings: ReplicaSettings, cohort: pd.DataFrame) -> int:
    """Write the studies that have no record yet; returns how many."""
    rows = [row for _, row in cohort.iterrows() if not _record(out, row).exists()]
    check_free_space(out, bytes_needed(rows, settings))
    with _Bar(len(cohort), len(cohort) - len(rows)) as bar:
        if settings.processes == 1 or len(rows) <= 1:
            for row in rows:
                write_study(out, settings, row)
                bar.update()
            return len(rows)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(settings.processes, len(rows)), context, initializer=_follow_parent
        ) as pool:
            with _ctrl_c_later():
                futures = [pool.submit(write_study, out, settings, row) for row in rows]
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
            finally:
                # after an error or Ctrl-C, start no further study
                pool.shutdown(wait=True, cancel_futures=True)
    return len(rows)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Ctrl-C is for this process, which ends the workers and says so once, but not while one is half started.

    Workers inherit the mask; the handler stands in for threads of libraries, which may take the signal all the same.
    """
    came, listens = threading.Event(), threading.current_thread() is threading.main_thread()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda *_: came.set()) if listens else None
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if came.is_set():
            signal.raise_signal(signal.SIGINT)


class _Bar(tqdm):
    """A bar on a terminal; in a log a line a minute."""

    def __init__(self, total: int, before: int):
        self.watched, self.told = sys.stderr.isatty(), time.monotonic()
        super().__init__(total=total, initial=before, unit="study")

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self.watched:
            super().display(msg, pos)
        elif time.monotonic() - self.told >= LOG_EVERY_S:
            self.told = time.monotonic()
            print(f"replicate: {self.n} of {self.total} studies", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.watched:
            super().close()
        else:
            self.disable = True


def _follow_parent() -> None:
    """End this worker as soon as its parent is gone, however it went: no orphan may write on."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return  # this is no worker

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _record(out: Path, row: pd.Series) -> Path:
    return out / RECORDS / f"{row['StudyInstanceUID']}.json"


def write_study(out: Path, settings: ReplicaSettings, row: pd.Series) -> None:
    """Write one study: images and mask under temporary names, then renamed, its record last.

    Parameters
    ----------
    out : Path
        The replica's folder.
    settings : ReplicaSettings
        Of the replica.
    row : pandas.Series
        Of the cohort.
    """
    uid, index = row["StudyInstanceUID"], int(row["index"])
    competition, work = out / "competition", out / WORK / str(row["StudyInstanceUID"])
    images = competition / ("train_images" if row["split"] == "train" else "test_images") / uid
    temporary = out / WORK / f"{uid}.nii"
    for stale in (work, images):
        shutil.rmtree(stale, ignore_errors=True)
    study = make_study(row, settings)
    annotator = study_rng(settings, index, Purpose.ANNOTATORS)
    boxes = draw_boxes(study, uid, annotator) if row["boxed"] else []
    try:
        work.mkdir(parents=True)
        slices = write_series(work, study, uid, settings, index)
        os.rename(work, images)
        masked = bool(row["masked"] and study.labels.any())  # a scan without a vertebra has no mask
        if masked:
            write_mask(temporary, study, annotator)
            os.replace(temporary, competition / "segmentations" / f"{uid}.nii")
        if study.wounds:
            write_fractures(temporary, study)
            os.replace(temporary, out / "truth" / "fractures" / f"{uid}.nii.gz")
        truth = {"wounds": _wounds(study, uid), "mimics": _mimics(study, uid)}
        view = dict(zip(LEVELS, (round(share, 3) for share in study.in_view), strict=True))
        record = {
            "slices": slices,
            "boxes": boxes,
            "masked": masked,
            "view": {"view": study.protocol.view, **view},
            **truth,
        }
        if row["oddity"]:
            record["detail"] = describe(study.protocol, tuple(injury.level for injury in study.unseen))
        write_json(_record(out, row), record)
    finally:  # halves would take the space that finished studies need
        shutil.rmtree(work, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def write_series(folder: Path, study: Study, uid: str, settings: ReplicaSettings, index: int) -> int:
    """Scan and write every slice, stack after stack.

    Parameters
    ----------
    folder : Path
        Of the series; it exists.
    study : Study
        Painted.
    uid : str
        StudyInstanceUID.
    settings : ReplicaSettings
        For the seed.
    index : int
        The study's number in the cohort.

    Returns
    -------
    int
        How many slices were written.
    """
    protocol, rng = study.protocol, study_rng(settings, index, Purpose.SCAN)
    header, numbers = slice_header(uid, protocol), protocol.file_numbers()
    for stack in range(protocol.stacks):
        for k, image in enumerate(scan(study.hu, protocol, study.anatomy, rng)):
            write_slice(folder, header, protocol, k, int(numbers[k]) + stack * len(numbers), image)
    return protocol.stacks * len(numbers)


def _wounds(study: Study, uid: str) -> list[dict]:
    """Rows of truth/fractures.csv; `fracture` is the number in the study's mask of fractures.

    Those outside the view come last, without a place and a number in no mask.
    """
    shown = [
        _injury(uid, number, wound.injury) | _millimetres(study, wound.centre_mm)
        for number, wound in enumerate(study.wounds, start=1)
    ]
    hidden = [_injury(uid, n, injury) for n, injury in enumerate(study.unseen, start=len(shown) + 1)]
    return shown + hidden


def _injury(uid: str, number: int, injury: Injury) -> dict:
    severity = round(injury.severity, 4)
    return {
        "StudyInstanceUID": uid,
        "fracture": number,
        "level": injury.level,
        "kind": injury.kind,
        "severity": severity,
    }


def _mimics(study: Study, uid: str) -> list[dict]:
    """Rows of truth/mimics.csv."""
    return [
        {"StudyInstanceUID": uid, "level": m.level, "kind": m.kind, **_millimetres(study, m.centre_mm)}
        for m in study.mimics
    ]


def _millimetres(study: Study, centre_mm: Triple) -> dict[str, float]:
    """A place of the grid in the scanner's millimetres."""
    place = study.protocol.patient_mm(centre_mm)
    return {f"{axis}_mm": round(float(mm), 2) for axis, mm in zip("xyz", place, strict=True)}


def _finish(out: Path, settings: ReplicaSettings, cohort: pd.DataFrame) -> None:
    """Write the tables from the studies' records, then mark the replica complete."""
    empty: dict[str, Any] = {"slices": 0, "boxes": [], "masked": False, "wounds": [], "mimics": []}
    rows = [row for _, row in cohort.iterrows()]
    records: list[dict[str, Any]] = [
        empty if settings.labels_only else json.loads(_record(out, row).read_text()) for row in rows
    ]
    write_tables(out, cohort, records)
    counts = {
        "slices": sum(r["slices"] for r in records),
        "positive": int(cohort["patient_overall"].sum()),
        "boxes": sum(len(r["boxes"]) for r in records),
        "masks": sum(r["masked"] for r in records),
    }
    write_json(out / MARKER, {"settings": settings.fingerprint(), "complete": True, "counts": counts})
