"""Study after study into a store: resumable, one bad study costs one study, the index tells what became of each."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from cspine import stage
from cspine.scans.cache import StudyStore
from cspine.scans.engine import Job, Outcome, run_tasks
from cspine.scans.volume import Volume
from cspine.storage import NoRoom, locked

STUDY_TIMEOUT_S = 600.0
"""A thousand slices take some ten seconds; a study that takes this long hangs."""
INDEX_EVERY_S = 5.0
"""How often the index is written meanwhile."""
NAMED = 3
"""Studies that the summary names of each kind of failure."""
DONE, FAILED = "done", "failed"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BatchSettings:
    """Flags of the scripts that read every series."""

    raw: Path = Path("data/raw")
    """The competition folder as downloaded; never written to."""
    cache: Path = Path("data/cache")
    """The cache; each script writes one folder in it."""
    preset: str = "t4"
    """Settings by name: smoke, demo, t4 or h200."""
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    """Processes that read series on this machine."""
    retry_failed: bool = False
    """Try studies again that failed before."""
    scheduler: str = ""
    """Address of a Dask scheduler whose workers do it instead, or `local` to try that on this machine."""


@dataclass(frozen=True)
class How:
    """Where a batch runs: processes on this machine, or a Dask scheduler's workers; and failures anew or not."""

    workers: int = 1
    retry_failed: bool = False
    scheduler: str = ""

    def outcomes(self, job: Job, tasks: Mapping[str, tuple], folders: tuple[Path, ...]) -> Iterator[Outcome]:
        """Do a job with every study; folders: what the workers have to see."""
        if not self.scheduler:
            return run_tasks(job, tasks.items(), min(self.workers, max(len(tasks), 1)))
        from cspine.scans.cluster import run_on_cluster  # Kaggle's image need not have Dask

        return run_on_cluster(job, tasks.items(), self.scheduler, self.workers, folders)


@dataclass
class Batch:
    """What was done; the rows of the index by study."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    reused: int = 0
    """Studies that were in the store before."""
    tried: int = 0
    """Studies that were worked on in this run."""
    begun_anew: int = 0
    """Studies whose worker died in this run and that were begun once more."""
    slices: int = 0
    """Slices read in this run."""
    seconds: float = 0.0
    """Duration of this run."""

    @property
    def done(self) -> int:
        """Studies that can be used."""
        return sum(row["status"] == DONE for row in self.rows.values())

    @property
    def failed(self) -> dict[str, str]:
        """Studies that can't be used, with the reason."""
        return {uid: row["reason"] for uid, row in self.rows.items() if row["status"] == FAILED}

    @property
    def noted(self) -> int:
        """Studies in which something was mended or left out."""
        return sum(row["status"] == DONE and bool(row["notes"]) for row in self.rows.values())

    def failures(self) -> list[str]:
        """A line for each kind of failure, the most frequent first: a study, its reason, others alike."""
        kinds: dict[str, list[str]] = {}
        for uid, reason in self.failed.items():
            # What differs from study to study: names with digits, and quoted values.
            kinds.setdefault(re.sub(r"\S*\d\S*|'[^']*'", "#", reason), []).append(uid)
        lines = []
        for uids in sorted(kinds.values(), key=len, reverse=True):
            names = ", ".join(uids[1:NAMED]) + (", ..." if len(uids) > NAMED else "")
            others = f" (and {len(uids) - 1} more alike: {names})" if len(uids) > 1 else ""
            lines.append(f"failed {uids[0]}: {self.failed[uids[0]]}{others}")
        return lines

    def tell(self, name: str, read: Any, wrote: Any) -> None:
        """Print the failures and the stage's line."""
        print("".join(f"{line}\n" for line in self.failures()), end="")
        stage.say(
            name,
            read=read,
            wrote=wrote,
            done=f"{self.done} (reused {self.reused}, failed {len(self.failed)})",
            with_notes=self.noted,
            **({"begun_anew": self.begun_anew} if self.begun_anew else {}),
            slices_per_s=round(self.slices / max(self.seconds, 1e-3)),
            studies_per_h=round(self.tried / max(self.seconds, 1e-3) * 3600),
        )


def run_batch(
    what: str,
    function: Callable,
    tasks: Mapping[str, tuple],
    store: StudyStore,
    how: How,
    folders: tuple[Path, ...] = (),
) -> Batch:
    """Call `function(*args)` in worker processes for every study that is not in the store yet.

    function: writes its study to the store and returns the study's description (`describe_scan` and further
    keys), from which the row of index.csv is made; an InputError is the study's failure. Takes `careful=True`
    for a second attempt after a crash. tasks: study -> args. folders: what else the workers have to see.
    Studies that failed before are tried again only if `how` says so. Raises NoRoom if the disk is full:
    finished studies stay, and those that the full disk hit do not count as failed.
    """
    started = time.monotonic()
    job = Job(function, STUDY_TIMEOUT_S, again=partial(function, careful=True))
    with locked(store.folder, what):
        store.clean_temporaries()
        batch = _resume(store, list(tasks), how.retry_failed)
        missing = {uid: args for uid, args in tasks.items() if uid not in batch.rows}
        written = started
        seen = (store.folder.absolute(), *folders)
        with _index_in_the_end(store, batch), closing(how.outcomes(job, missing, seen)) as outcomes:
            for outcome in stage.progress(outcomes, unit="study", total=len(missing), what=what):
                _take(batch, outcome)
                if time.monotonic() - written > INDEX_EVERY_S:
                    store.write_index(batch.rows.values())
                    written = time.monotonic()
    batch.seconds = time.monotonic() - started
    return batch


def describe_scan(volume: Volume) -> dict[str, Any]:
    """What the index tells of a scan as it was read, ready for JSON.

    slice_heights_mm: true positions of the slices along their normal, from head to feet.
    """
    heights_mm = volume.files.heights_mm
    steps_mm = np.abs(np.diff(heights_mm))
    return {
        "study": volume.study,
        "direction": volume.direction,
        "files": len(volume.files.z_of_number) or len(volume.hu),
        "scan_shape": list(volume.hu.shape),
        "scan_spacing_mm": list(volume.spacing_mm),
        "slices_read": len(heights_mm),
        "step_min_mm": round(float(steps_mm.min()), 4) if len(steps_mm) else None,
        "step_max_mm": round(float(steps_mm.max()), 4) if len(steps_mm) else None,
        "slice_heights_mm": [round(float(height), 4) for height in heights_mm],
        "notes": list(volume.notes),
    }


@contextmanager
def _index_in_the_end(store: StudyStore, batch: Batch) -> Iterator[None]:
    """Write the index also after an error, and let the first error be the one that is told."""
    try:
        yield
    except BaseException as first:
        try:
            store.write_index(batch.rows.values())
        except NoRoom:
            first.add_note("index.csv could not be brought up to date; the next run does that")
        raise
    store.write_index(batch.rows.values())


def _take(batch: Batch, outcome: Outcome) -> None:
    """Enter an outcome into the books; NoRoom goes on to the caller."""
    if outcome.kind == NoRoom.__name__:
        raise NoRoom(f"study {outcome.key}: {outcome.error}")
    batch.rows[outcome.key] = _row(outcome)
    batch.tried += 1
    batch.begun_anew += outcome.starts > 1
    batch.slices += outcome.value["slices_read"] if outcome.error is None else 0


def _resume(store: StudyStore, uids: list[str], retry_failed: bool) -> Batch:
    """What earlier runs did: studies in the store, and failures that are not to be tried again."""
    batch = Batch()
    index = store.read_index().set_index("StudyInstanceUID", drop=False).to_dict("index")
    for uid in uids:
        row = index.get(uid)
        if store.has(uid):
            kept = row if row and row["status"] == DONE else _row(Outcome(uid, store.meta(uid), None, 0.0))
            batch.rows[uid] = kept
            batch.reused += 1
        elif row and row["status"] == FAILED and not retry_failed:
            batch.rows[uid] = row
    return batch


def _printable(text: str) -> str:
    """The text without what damaged files may bring into it: line ends, NUL and the like."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _row(outcome: Outcome) -> dict[str, Any]:
    """A study's row of the index; shape and spacing are those of the scan as it was read."""
    if outcome.error is not None:
        return {
            "StudyInstanceUID": outcome.key,
            "status": FAILED,
            "reason": _printable(outcome.error),
            "notes": "",
            "seconds": round(outcome.seconds, 2),
        }
    meta = outcome.value
    spacing = zip(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), meta["scan_spacing_mm"], strict=True)
    return {
        "StudyInstanceUID": outcome.key,
        "status": DONE,
        "reason": "",
        "notes": _printable("; ".join(meta["notes"])),
        **dict(zip("zyx", meta["scan_shape"], strict=True)),
        **{name: round(step, 5) for name, step in spacing},
        **{name: meta[name] for name in ("slices_read", "step_min_mm", "step_max_mm", "direction")},
        "seconds": round(outcome.seconds, 2),
    }
