"""A stage of the pipeline as a Kaggle kernel: takes over what was done before, works as long as it may, packs it.

A kernel's inputs are read-only, its working folder holds 20 GB, its session ends after 12 hours, and only what lies in
the working folder at the end is kept. So the work is done in a scratch folder by a process of its own that is stopped
in time; what is finished by then is packed, and the next version of the same kernel goes on from it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cspine import cli, storage
from cspine.competition.splits import read_folds
from cspine.competition.tables import read_train
from cspine.errors import InputError
from cspine.execution.store import SETTINGS, StudyStore
from cspine.kaggle.marker import CODE, folder_with
from cspine.settings.layout import CacheLayout, RunLayout

HOURS = 11.0
"""Of the 12 that Kaggle gives a session; the rest is for packing."""
OUTPUT_BYTES = 20_000_000_000
"""What Kaggle keeps of a kernel's output."""
PARTS = 5
"""Archives of a store before there is a split."""
TAKES: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "locate": ("prepare",),
    "columns": ("locate",),
    "train": ("locate", "columns"),
}
"""Stage -> those whose output it goes on from."""
ADDS = {"prepare": "volumes", "locate": "labels", "columns": "columns"}
"""Stage -> the store that it fills, as `CacheLayout` calls it."""
TRAINS = ("locate", "train")
"""Stages that write to a run."""


@dataclass
class Summary:
    """What a kernel's output tells of itself, by which the next one finds it."""

    stage: str
    preset: str
    git: str
    studies: int = 0
    """Of train.csv."""
    done: int = 0
    """Studies, or folds of `train`, that are finished."""
    failed: dict[str, str] = field(default_factory=dict)
    """Studies that can't be used, with the reason."""
    complete: bool = False
    """Whether the next stage can begin."""
    problem: str = ""
    """Why the work ended, unless it was done or its time was up."""
    hours: float = 0.0
    gigabytes: float = 0.0
    """Of the output."""


def marker_of(stage: str) -> str:
    """Name the file by which a stage's output is found.

    Parameters
    ----------
    stage : str
        As "prepare".

    Returns
    -------
    str
        Name of a JSON file.
    """
    return f"cspine-{stage}.json"


@dataclass(frozen=True)
class Session:
    """One version of a kernel."""

    stage: str
    inputs: Path
    working: Path
    hours: float
    processes: int

    def run(self) -> Summary:
        """Take over, work, pack.

        Returns
        -------
        Summary
            What became of it, also written to the working folder.

        Raises
        ------
        InputError
            If an input is not attached or not complete; nothing was done then.
        """
        began = time.monotonic()
        raw = self._input("train.csv", "the competition's data")
        code = storage.read_json(self._input(CODE, "the dataset with the code") / CODE)
        summary = Summary(self.stage, code["preset"], code.get("git", "unknown"))
        with tempfile.TemporaryDirectory(prefix="cspine-", ignore_cleanup_errors=True) as scratch:
            cache, run = Path(scratch) / "cache", Path(scratch) / "run"
            self._take_over(cache, run)
            if self.stage == "train":
                _unpack_if_there_is_room(StudyStore.of(CacheLayout(cache).columns))
            summary.problem = self._work(raw, cache, run, summary.preset, began)
            self._count(summary, raw, cache, run)
            self._deliver(cache, run)
        summary.hours = round((time.monotonic() - began) / 3600, 2)
        size = sum(path.stat().st_size for path in self.working.rglob("*") if path.is_file())
        summary.gigabytes = round(size / 1e9, 3)
        if size > OUTPUT_BYTES:
            summary.problem = f"the output has {size / 1e9:.1f} GB, Kaggle keeps 20"
        storage.write_json(self.working / marker_of(self.stage), asdict(summary))
        return summary

    def _input(self, marker: str, what: str) -> Path:
        found = folder_with(self.inputs, marker)
        if found is None:
            raise InputError(f"no input under {self.inputs} holds {marker}: attach {what}")
        return found

    def _take_over(self, cache: Path, run: Path) -> None:
        """Lay what the stages before, and this one's last version, left into the scratch folder."""
        cache.mkdir(parents=True)
        for stage in TAKES[self.stage]:
            folder = self._input(marker_of(stage), f"the output of {stage}")
            before = storage.read_json(folder / marker_of(stage))
            if not before["complete"]:
                raise InputError(
                    f"{stage} has done {before['done']} of {before['studies']} studies; `make push KERNEL={stage}` "
                    "goes on with it, this kernel needs all of them"
                )
            _lay(folder, cache, run)
        mine = folder_with(self.inputs, marker_of(self.stage))
        if mine is not None:
            print(f"goes on from the last version's output, {mine}", flush=True)
            _lay(mine, cache, run)

    def _work(self, raw: Path, cache: Path, run: Path, preset: str, began: float) -> str:
        """Do the stage's steps, each in processes of their own, until the last or the time is over; why it failed."""
        for step in _steps(self.stage, cache):
            words = [step, *map(str, (raw, cache, run)), preset, str(self.processes)]
            command = [sys.executable, "-m", "cspine.kaggle.stage_work", *words]
            with subprocess.Popen(command, start_new_session=True) as process:
                try:
                    code = process.wait(max(began + self.hours * 3600 - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    print(f"the {cli.duration(self.hours * 3600)} of this version are over", flush=True)
                    _stop(process)
                    return ""
                except BaseException:
                    _stop(process)
                    raise
            if code:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                return f"{step} ended with {how}, its messages are above"
        return ""

    def _count(self, summary: Summary, raw: Path, cache: Path, run: Path) -> None:
        """Tell what is finished."""
        uids = list(read_train(raw).StudyInstanceUID)
        summary.studies = len(uids)
        if self.stage == "train":
            folds = 1 + max(read_folds(CacheLayout(cache).folds).to_dict().values())
            layout = RunLayout(run)
            summary.done = sum(layout.slice_logits(fold).is_file() for fold in range(folds))
            summary.complete = summary.done == folds
            return
        folder: Path = getattr(CacheLayout(cache), ADDS[self.stage])
        if not (folder / SETTINGS).is_file():  # not a single study
            return
        store = StudyStore.of(folder)
        summary.done = len(set(store.uids()) & set(uids))
        index = store.read_index()
        failed = index[index["status"] == "failed"]
        summary.failed = dict(zip(failed["StudyInstanceUID"], failed["reason"], strict=True))
        expected = len(uids) - len(summary.failed)
        if self.stage == "locate":
            expected = len(StudyStore.of(CacheLayout(cache).volumes).uids())
        has_split = CacheLayout(cache).folds.is_file()
        summary.complete = not summary.problem and has_split and summary.done >= expected

    def _deliver(self, cache: Path, run: Path) -> None:
        """Put what was done, packed, into the working folder."""
        target = self.working / "cache"
        for path in sorted(cache.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                storage.write_bytes(target / path.name, path.read_bytes())
        if self.stage in ADDS:
            folder: Path = getattr(CacheLayout(cache), ADDS[self.stage])
            if (folder / SETTINGS).is_file():
                store = StudyStore.of(folder)
                store.pack_into(target / folder.name, _groups(cache, store.uids()))
        if self.stage in TRAINS and run.is_dir():
            shutil.copytree(
                run, self.working / "run", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*")
            )
        if self.stage == "train" and RunLayout(run).calibration.is_file():
            from cspine.kaggle.bundle import assemble_models

            assemble_models(run, self.working / "bundle")


def _steps(stage: str, cache: Path) -> list[str]:
    """What a stage consists of; folds are scored as they come, so that some of them can be used already."""
    if stage == "prepare":
        return ["prepare", "split"]
    if stage != "train":
        return [stage]
    folds = sorted(set(read_folds(CacheLayout(cache).folds).to_dict().values()))
    return [step for fold in folds for step in (f"train{fold}", "cv")]


def _groups(cache: Path, uids: list[str]) -> dict[str, list[str]]:
    """Archive -> studies: one a fold, or parts of equal size while there is no split."""
    if CacheLayout(cache).folds.is_file():
        folds = read_folds(CacheLayout(cache).folds).to_dict()
        names = sorted(set(folds.values()))
        return {f"fold{fold}": [uid for uid in uids if folds.get(uid) == fold] for fold in names}
    return {f"part{part}": uids[part::PARTS] for part in range(PARTS)}


def _lay(output: Path, cache: Path, run: Path) -> None:
    """Lay an output into the scratch folder: archives as links, the rest as copies."""
    for path in sorted((output / "cache").rglob("*")):
        target = cache / path.relative_to(output / "cache")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if path.suffix == ".zip":
                target.symlink_to(path.resolve())
            else:
                shutil.copyfile(path, target)
    if (output / "run").is_dir():
        shutil.copytree(output / "run", run, dirs_exist_ok=True, copy_function=shutil.copyfile)


def _unpack_if_there_is_room(store: StudyStore) -> None:
    """Unpack the columns for training, which reads each of them in every epoch."""
    packed = sum(path.stat().st_size for path in store.folder.glob("*.zip"))
    free = shutil.disk_usage(store.folder).free
    if free < 4 * packed:
        print(f"the columns stay packed: {packed / 1e9:.1f} GB of them, {free / 1e9:.1f} GB free", flush=True)
        return
    store.unpack()


def _stop(process: subprocess.Popen) -> None:
    """End a process, and whatever is left of its group: workers that it did not take with it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def gpus() -> int:
    """Count the GPUs without torch.

    Returns
    -------
    int
        As nvidia-smi tells.
    """
    if not shutil.which("nvidia-smi"):
        return 0
    found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return found.stdout.count("GPU ")


def main(stage: str, inputs: Path, hours: float = HOURS, processes: int = 0) -> int:
    """Run a stage in the current folder.

    Parameters
    ----------
    stage : str
        As "prepare".
    inputs : Path
        The folder of the kernel's inputs.
    hours : float
        After which the work is stopped.
    processes : int
        Of training; by default one a GPU.

    Returns
    -------
    int
        0 if there is something to go on from. Kaggle keeps the output of such a version only, so a stage that did a
        part of its work and failed then ends with 0, too; `make kaggle-status` reads its summary and tells.
    """
    try:
        summary = Session(stage, inputs, Path.cwd(), hours, processes or max(gpus(), 1)).run()
    except InputError as error:
        print(f"PROBLEM: {error}", flush=True)
        return 1
    unit = "folds" if stage == "train" else "studies"
    print(f"{stage}: {summary.done} {unit} done, {len(summary.failed)} failed, of {summary.studies} studies")
    print(
        f"{summary.hours} h, output {summary.gigabytes} GB, complete: {'yes' if summary.complete else 'no'}"
    )
    if summary.problem:
        print(f"PROBLEM: {summary.problem}")
    if not summary.complete:
        print(f"`make push KERNEL={stage}` goes on from here")
    return 0 if summary.done else 1


if __name__ == "__main__":
    name, attached, *rest = sys.argv[1:]
    sys.exit(
        main(name, Path(attached), *(kind(word) for kind, word in zip((float, int), rest, strict=False)))
    )
