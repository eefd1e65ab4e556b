"""Study after study into a store: resumable, one bad study costs one study, the index tells what became of each."""

import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cspine import cli
from cspine.errors import printable
from cspine.execution.engine import run_tasks
from cspine.execution.sources import MADE_FROM, Sources
from cspine.execution.store import StudyStore
from cspine.execution.worker import Job, Outcome
from cspine.settings.execution import ExecutionSettings
from cspine.storage import DiskFull, locked

STUDY_TIMEOUT_S = 600.0
"""A thousand slices take some ten seconds; a study that takes this long hangs."""
INDEX_EVERY_S = 5.0
"""How often the index is written meanwhile."""
NAMED = 3
"""Studies that the summary names of each kind of failure."""
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class StudyWork:
    """What a batch does with each study, and what its index tells of it.

    name: of the stage, for messages. function: called with a study's arguments; it writes its study to the store
    and returns a description with `notes` and what `columns_of` asks for; an InputError is the study's failure.
    Takes `fallback=True` for a second attempt after a crash; fallback_words: what is different then. columns,
    columns_of: the stage's own columns of index.csv, and how a description fills them. sources: called with the same
    arguments; what a study is made from, which `function` describes under `MADE_FROM`.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    fallback_words: str
    columns: tuple[str, ...]
    columns_of: Callable[[Mapping[str, Any]], dict[str, Any]]
    sources: Callable[..., Sources]

    def job(self) -> Job:
        """The same for worker processes.

        Returns
        -------
        Job
            What a worker does with a study's arguments.
        """
        again = partial(self.function, fallback=True)
        return Job(self.function, STUDY_TIMEOUT_S, again, self.fallback_words)


@dataclass
class Batch:
    """What was done; the rows of the index by study."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    reused: int = 0
    """Studies that were in the store before."""
    tried: list[str] = field(default_factory=list)
    """Studies that were worked on in this run."""
    changed: int = 0
    """Of these, studies that were in the store, but made from other files or values than there are now."""
    retried: int = 0
    """Studies whose worker died in this run and that were begun once more."""
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
        """A line for each kind of failure, the most frequent first.

        Returns
        -------
        list of str
            A study, its reason, and others alike.
        """
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

    def total(self, column: str) -> int:
        """Sum of a column of the index over the studies that were worked on in this run and can be used.

        Parameters
        ----------
        column : str
            A column of numbers.

        Returns
        -------
        int
            The sum.
        """
        rows = (self.rows[uid] for uid in self.tried)
        return sum(row[column] for row in rows if row["status"] == DONE)

    def print_summary(self, name: str, read: Any, wrote: Any, counted: tuple[str, str]) -> None:
        """Print the failures and the stage's line.

        Parameters
        ----------
        name : str
            The stage's name.
        read, wrote : Any
            What it read and what it wrote, in words or as a path.
        counted : tuple of (str, str)
            What is counted a second, and its column.
        """
        what, column = counted
        print("".join(f"{line}\n" for line in self.failures()), end="")
        cli.log_stage(
            name,
            read=read,
            wrote=wrote,
            done=f"{self.done} (reused {self.reused}, failed {len(self.failed)})",
            with_notes=self.noted,
            **({"changed_since": self.changed} if self.changed else {}),
            **({"retried": self.retried} if self.retried else {}),
            **{f"{what}_per_s": round(self.total(column) / max(self.seconds, 1e-3))},
            studies_per_h=round(len(self.tried) / max(self.seconds, 1e-3) * 3600),
        )


def run_batch(
    work: StudyWork,
    tasks: Mapping[str, tuple],
    store: StudyStore,
    execution: ExecutionSettings,
    folders: tuple[Path, ...] = (),
) -> Batch:
    """Call `work.function(*args)` in worker processes for every study that is not in the store yet.

    Parameters
    ----------
    work : StudyWork
        What is done with each study.
    tasks : mapping of str to tuple
        Study -> args.
    store : StudyStore
        Gets the studies and the index.
    execution : ExecutionSettings
        Processes here or a Dask scheduler; studies that failed before are tried again only if it says so.
    folders : tuple of Path
        What else the workers have to see.

    Returns
    -------
    Batch
        What was done in this run and in earlier ones.

    Raises
    ------
    DiskFull
        If the disk is full: finished studies stay, and those that the full disk hit do not count as failed.
    InputError
        If the Dask scheduler or one of its workers can't be used.
    """
    started = time.monotonic()
    with locked(store.folder, work.name):
        store.clean_temporaries()
        batch = _resume(store, work, tasks, execution.retry_failed)
        missing = {uid: args for uid, args in tasks.items() if uid not in batch.rows}
        written = started
        visible = (store.folder.absolute(), *folders)
        outcomes = _outcomes(work.job(), missing, execution, visible)
        with _left_in_order(store, work, batch), closing(outcomes):
            for outcome in cli.progress(outcomes, unit="study", total=len(missing), what=work.name):
                _take(batch, work, outcome)
                if time.monotonic() - written > INDEX_EVERY_S:
                    store.write_index(batch.rows.values(), work.columns)
                    written = time.monotonic()
    batch.seconds = time.monotonic() - started
    return batch


def _outcomes(
    job: Job, tasks: Mapping[str, tuple], execution: ExecutionSettings, folders: tuple[Path, ...]
) -> Generator[Outcome, None, None]:
    """Do a job with every study; folders: what the workers have to see."""
    if not execution.scheduler:
        return run_tasks(job, tasks.items(), min(execution.workers, max(len(tasks), 1)))
    from cspine.execution.cluster import run_on_cluster  # Kaggle's image need not have Dask

    return run_on_cluster(job, tasks.items(), execution.scheduler, execution.workers, folders)


@contextmanager
def _left_in_order(store: StudyStore, work: StudyWork, batch: Batch) -> Iterator[None]:
    """Delete what stopped workers were writing, and write the index, also after an error; the first error is told."""
    try:
        yield
    except BaseException as first:
        store.clean_temporaries()  # a full disk has room for the index then
        try:
            store.write_index(batch.rows.values(), work.columns)
        except DiskFull:
            first.add_note("index.csv could not be brought up to date; the next run does that")
        raise
    store.clean_temporaries()
    store.write_index(batch.rows.values(), work.columns)


def _take(batch: Batch, work: StudyWork, outcome: Outcome) -> None:
    """Enter an outcome into the batch; DiskFull goes on to the caller."""
    if outcome.kind == DiskFull.__name__:
        raise DiskFull(f"study {outcome.key}: {outcome.error}")
    batch.rows[outcome.key] = _row(work, outcome)
    batch.tried.append(outcome.key)
    batch.retried += outcome.attempts > 1


def _resume(store: StudyStore, work: StudyWork, tasks: Mapping[str, tuple], retry_failed: bool) -> Batch:
    """What earlier runs did: studies in the store that are still right, and failures not to be tried again."""
    batch = Batch()
    index = store.read_index().set_index("StudyInstanceUID", drop=False).to_dict("index")
    for uid, args in cli.progress(tasks.items(), unit="study", total=len(tasks), what="look for changes"):
        row = index.get(uid)
        if store.has(uid):
            meta = store.meta(uid)
            if work.sources(*args).differ_from(meta.get(MADE_FROM)):
                store.discard(uid)  # should it fail now, nothing may go on with what it was
                batch.changed += 1
                continue
            done = row if row and row["status"] == DONE else None
            batch.rows[uid] = done or _row(work, Outcome(uid, meta, None, 0.0))
            batch.reused += 1
        elif row and row["status"] == FAILED and not retry_failed:
            batch.rows[uid] = row
    return batch


def _row(work: StudyWork, outcome: Outcome) -> dict[str, Any]:
    """A study's row of the index."""
    failed = outcome.error is not None
    return {
        "StudyInstanceUID": outcome.key,
        "status": FAILED if failed else DONE,
        "reason": printable(outcome.error or ""),
        "notes": "" if failed else printable("; ".join(outcome.value["notes"])),
        **({} if failed else work.columns_of(outcome.value)),
        "seconds": round(outcome.seconds, 2),
    }
