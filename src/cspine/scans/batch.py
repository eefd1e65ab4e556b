"""Study after study into a store: resumable, one bad study costs one study, the index tells what became of each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cspine import stage
from cspine.scans.cache import StudyStore
from cspine.scans.engine import Outcome, run_tasks
from cspine.scans.volume import Volume
from cspine.storage import locked

STUDY_TIMEOUT_S = 600.0
"""A thousand slices take some ten seconds; a study that takes this long hangs."""
INDEX_EVERY_S = 5.0
"""How often the index is written meanwhile."""
DONE, FAILED = "done", "failed"


@dataclass
class Batch:
    """What was done; the rows of the index by study."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    reused: int = 0
    """Studies that were in the store before."""
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

    def tell(self, name: str, read: Any, wrote: Any) -> None:
        """Print the failures and the stage's line."""
        for uid, reason in self.failed.items():
            print(f"failed {uid}: {reason}")
        stage.say(
            name,
            read=read,
            wrote=wrote,
            done=f"{self.done} (reused {self.reused}, failed {len(self.failed)})",
            with_notes=self.noted,
            slices_per_s=round(self.slices / max(self.seconds, 1e-3)),
        )


def run_batch(
    what: str,
    function: Callable,
    tasks: Mapping[str, tuple],
    store: StudyStore,
    workers: int,
    retry_failed: bool,
) -> Batch:
    """Call `function(*args)` in worker processes for every study that is not in the store yet.

    function: writes its study to the store and returns the study's description (`describe_scan` and further
    keys), from which the row of index.csv is made; an InputError is the study's failure. tasks: study -> args.
    Studies that failed before are tried again only with `retry_failed`.
    """
    started = time.monotonic()
    with locked(store.folder, what):
        store.clean_temporaries()
        batch = _resume(store, list(tasks), retry_failed)
        missing = [(uid, args) for uid, args in tasks.items() if uid not in batch.rows]
        written = started
        try:
            outcomes = run_tasks(function, missing, min(workers, max(len(missing), 1)), STUDY_TIMEOUT_S)
            for outcome in stage.progress(outcomes, unit="study", total=len(missing), what=what):
                batch.rows[outcome.key] = _row(outcome)
                batch.slices += outcome.value["files"] if outcome.error is None else 0
                if time.monotonic() - written > INDEX_EVERY_S:
                    store.write_index(batch.rows.values())
                    written = time.monotonic()
        finally:
            store.write_index(batch.rows.values())
    batch.seconds = time.monotonic() - started
    return batch


def describe_scan(volume: Volume) -> dict[str, Any]:
    """What the index tells of a scan as it was read, ready for JSON."""
    return {
        "study": volume.study,
        "direction": volume.direction,
        "files": len(volume.files.z_of_number) or len(volume.hu),
        "scan_shape": list(volume.hu.shape),
        "scan_spacing_mm": list(volume.spacing_mm),
        "notes": list(volume.notes),
    }


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


def _row(outcome: Outcome) -> dict[str, Any]:
    """A study's row of the index; shape and spacing are those of the scan as it was read."""
    if outcome.error is not None:
        return {"StudyInstanceUID": outcome.key, "status": FAILED, "reason": outcome.error, "notes": ""}
    meta = outcome.value
    spacing = zip(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), meta["scan_spacing_mm"], strict=True)
    return {
        "StudyInstanceUID": outcome.key,
        "status": DONE,
        "reason": "",
        "notes": "; ".join(meta["notes"]),
        **dict(zip("zyx", meta["scan_shape"], strict=True)),
        **{name: round(step, 5) for name, step in spacing},
        "direction": meta["direction"],
        "seconds": round(outcome.seconds, 2),
    }
