"""What the Kaggle kernel does: from the attached inputs to a submission.csv that is valid at any moment."""

import csv
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cspine
from cspine import cli, storage
from cspine.competition.checks import UID_COLUMN, check_study_uid
from cspine.competition.labels import PUBLISHED
from cspine.competition.metric import best_constants
from cspine.competition.rows import split_row_ids
from cspine.competition.submission import assemble, write_submission
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration
from cspine.execution.worker import end_with_parent
from cspine.inference.device_task import Task
from cspine.kaggle.answers import ANSWERS, Answers
from cspine.kaggle.devices import Devices
from cspine.kaggle.inference_report import InferenceReport
from cspine.kaggle.marker import CODE, read_marker, sums_of
from cspine.settings.execution import ExecutionSettings
from cspine.settings.layout import FALLBACKS, FOLD_LOGITS, INFERENCE_REPORT, SUBMISSION, RunLayout

TIME_LIMIT_S = 8.5 * 3600
"""Kaggle stops a kernel after 9 hours; half an hour stays for the rest."""
REHEARSED = 20
"""Studies that a run outside of the scoring run tries, taken from train_images where test_images has fewer."""
HIDDEN_STUDIES = 1093
"""Of the scoring run, public and private."""
TOO_MUCH = 0.1
"""Share of studies on constants that ends a rehearsal with 1."""
RESERVE_BYTES = 4 << 20
"""Kept on the disk while studies are predicted, and given up for the last files where it is full."""


class KernelRun:
    """A submission in the making: constants first, predictions as they come, always a whole file on disk."""

    def __init__(self, competition: Path, working: Path):
        self.competition, self.working = competition, working
        self.sample = pd.DataFrame(
            {"row_id": sample_row_ids(competition / "sample_submission.csv")}, dtype=str
        )
        self.constants = best_constants(PUBLISHED["train"].rates())
        self.calibration: Calibration | None = None
        self.studies = list(split_row_ids(self.sample["row_id"])[UID_COLUMN].unique())
        self.report = InferenceReport(studies=len(self.studies))
        self.extra: dict[str, Path] = {}
        """Studies that are only rehearsed."""
        self.path = working / SUBMISSION
        self.reserve = working / ".reserve"
        self.answers = Answers(working / ANSWERS, self.report)

    def problem(self, words: str) -> None:
        """Note and print what went wrong.

        Parameters
        ----------
        words : str
            What happened.
        """
        if words not in self.report.problems:
            self.report.problems.append(words)
            say(f"PROBLEM: {words}")

    def save(self, what: str, write: Callable[[], object]) -> None:
        """Write a file; where that fails, give up the reserve and try again; at worst the old file stays.

        Parameters
        ----------
        what : str
            The file's name.
        write : callable
            Writes it.
        """
        for last in (False, True):
            try:
                write()
                return
            except (OSError, InputError) as error:
                self.reserve.unlink(missing_ok=True)
                if last:
                    self.problem(f"{what} could not be written: {error}")

    def check_code(self) -> None:
        """Compare the code with the bundle's list; what differs is a problem, and may work all the same."""
        code = Path(cspine.__file__).parents[2]
        try:
            listed = read_marker(code / CODE)
        except InputError as error:
            self.problem(str(error))
            return
        for name, total in listed.items():
            path = code / name
            if not path.is_file() or storage.sha256_of(path) != total:
                self.problem(
                    f"{name} is not as in the list of the bundle: its SHA-256 differs, or it is gone"
                )

    def write(self) -> None:
        """Write what is known so far."""
        frame, _ = assemble(self.sample, self.answers.values(self.calibration), self.constants)
        self.save(SUBMISSION, lambda: write_submission(self.path, frame, self.sample))

    def take(self, words: dict[str, Any]) -> None:
        """Note one study's outcome and write it.

        Parameters
        ----------
        words : dict
            As from `device_answers.as_words`.
        """
        line = json.dumps(words) + "\n"
        self.save(ANSWERS, lambda: self.answers.remember(line))
        self.answers.note(words)
        if words["study"] in self.answers.fold_logits:
            self.write()

    def folders(self) -> dict[str, Path]:
        """Find the studies' folders; a study without one, or whose name is no UID, is noted.

        Returns
        -------
        dict of str to Path
            Study to folder, for those that are there.
        """
        found = {}
        for study in self.studies:
            try:
                check_study_uid(study)
            except InputError as error:
                self.report.fell_back[study] = str(error)
                self.problem(f"sample_submission.csv: {error}")
                continue
            folder = self.competition / "test_images" / study
            if folder.is_dir():
                found[study] = folder
            else:
                self.report.fell_back[study] = f"no folder test_images/{study}"
        return found

    def rehearse(self, count: int) -> None:
        """Choose training studies, evenly, that are tried beside the visible ones.

        Parameters
        ----------
        count : int
            How many at most.
        """
        images = self.competition / "train_images"
        there = sorted(images.iterdir()) if images.is_dir() else []
        there = [folder for folder in there if folder.is_dir() and folder.name not in self.studies]
        wanted = min(max(count, 0), len(there))  # none where test_images has enough
        chosen = np.unique(np.linspace(0, len(there) - 1, wanted).round().astype(int)) if wanted else []
        self.extra = {there[number].name: there[number] for number in chosen}
        self.answers.only_rehearsed = self.extra

    def predict(self, models: Path, until: float, scored: bool) -> None:
        """Predict all studies whose folders are there.

        Parameters
        ----------
        models : Path
            A run's checkpoints and calibration.
        until : float
            time.monotonic() after which no further study is begun.
        scored : bool
            Whether this is the scoring run, in which nothing is rehearsed.

        Raises
        ------
        InputError
            If no model can be used, or if no study at all could be predicted.
        """
        sums: dict[str, str] = {}
        try:
            sums = sums_of(models)
        except InputError as error:
            self.problem(str(error))
        try:
            self.calibration = Calibration.load(models)
            name = RunLayout(models).calibration.name
            damaged = sums.get(name, "") not in ("", storage.sha256_of(models / name))
            if damaged:
                raise InputError(f"{name}: its SHA-256 is not that of the bundle's list")
        except InputError as error:
            self.problem(f"without the calibration: {error}")
            self.calibration = Calibration.raw(self.constants)
        self.constants = np.array(self.calibration.constants)
        if self.calibration.synthetic:
            say(
                "NOTE: these models learnt from a replica: they are for trying the kit, not for the competition"
            )
        if not self.answers.path.is_file():
            self.write()
        task = Task(str(models), {}, sums, workers=ExecutionSettings().workers, until=until)
        devices = Devices(task, self.problem)
        try:
            usable = devices.probe()
            self.describe(devices.found)
            if not usable:
                raise InputError(f"{models}: no network can be used; {'; '.join(self.report.problems)}")
            folders = self.folders()
            if not scored:
                self.rehearse(REHEARSED - len(folders))
            self.answer(devices, folders | self.extra, scored)
        finally:
            devices.stop()
        if folders and not self.answers.fold_logits:
            raise InputError(
                f"{self.competition}: none of {len(folders)} studies could be predicted; see the reasons"
            )

    def describe(self, found: dict[str, Any]) -> None:
        """Note what the process that tried the networks said.

        Parameters
        ----------
        found : dict
            Its words.
        """
        if not found:
            return
        self.report.device = {key: found[key] for key in ("ready", "name", "precision", "gpus", "versions")}
        self.report.folds = found["folds"]
        self.report.models = f"{len(found['folds'])} folds"
        for name, why in found["dropped"].items():
            self.problem(f"left out {name}: {why}")
        say(
            "where time runs short, the mirrored view is left out first, then fold after fold, the last one first"
        )

    def answer(self, devices: Devices, folders: dict[str, Path], scored: bool) -> None:
        """Ask about studies and, outside of the scoring run, say what that means for it.

        Parameters
        ----------
        devices : Devices
            The networks.
        folders : dict of str to Path
            Study -> folder.
        scored : bool
            Whether this is the scoring run.
        """
        began = time.monotonic()
        known = self.answers.known()
        for words in known:
            self.answers.note(words)
        done = {words["study"] for words in known}
        places = {study: str(folder) for study, folder in folders.items() if study not in done}
        for words in cli.progress(devices.answer(places), unit="study", total=len(places), what="predict"):
            self.take(words)
        if scored:
            return
        if not folders:
            say("NOTHING WAS REHEARSED: neither test_images nor train_images hold a study")
            return
        failed = [study for study in folders if study in self.report.fell_back]
        each = (time.monotonic() - began) / max(len(places), 1)
        self.report.rehearsal = {
            "studies": len(folders),
            "of_them_from_train_images": len(self.extra),
            "on_constants": len(failed),
            "seconds_a_study": round(each, 2),
            "hours_for_1093_studies": round(each * HIDDEN_STUDIES / 3600, 2),
        }
        if len(failed) > TOO_MUCH * len(folders):
            self.problem(f"{len(failed)} of {len(folders)} rehearsed studies would be on constants")
        if each * HIDDEN_STUDIES > TIME_LIMIT_S:
            self.problem(f"{HIDDEN_STUDIES} studies would take {each * HIDDEN_STUDIES / 3600:.1f} h")

    def finish(self, started: float) -> None:
        """Write the final files and say which studies fell back to constants.

        Parameters
        ----------
        started : float
            time.monotonic() when the kernel began.
        """
        self.reserve.unlink(missing_ok=True)
        self.answers.path.unlink(missing_ok=True)
        self.write()
        report = self.report
        for study in self.studies:
            if study not in self.answers.fold_logits:
                report.fell_back.setdefault(study, report.problem or "the run ended before its turn")
                say(f"constants for study {study}: {report.fell_back[study]}")
        report.predicted = len(self.answers.fold_logits)
        report.seconds = round(time.monotonic() - started, 1)
        report.seconds_by_part = {part: round(took, 2) for part, took in report.seconds_by_part.items()}
        reasons = pd.DataFrame(list(report.fell_back.items()), columns=[UID_COLUMN, "reason"])
        self.save(FALLBACKS, lambda: storage.write_csv(self.working / FALLBACKS, reasons))
        table = self.working / FOLD_LOGITS
        self.save(FOLD_LOGITS, lambda: storage.write_csv(table, self.answers.table()))
        self.save(INFERENCE_REPORT, lambda: storage.write_json(self.working / INFERENCE_REPORT, vars(report)))
        for line in report.lines():
            say(line)


def sample_row_ids(path: Path) -> list[str]:
    """Read a sample's row ids as they stand there, whatever they are called.

    Parameters
    ----------
    path : Path
        sample_submission.csv.

    Returns
    -------
    list of str
        In its order.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [row["row_id"] for row in csv.DictReader(file) if row.get("row_id")]


def say(words: str) -> None:
    """Print, where there is anybody to print to.

    Parameters
    ----------
    words : str
        A line.
    """
    try:
        print(words, flush=True)
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def main(competition: Path, models: Path, working: Path, started: float | None = None) -> int:
    """Predict every study of the sample submission.

    Parameters
    ----------
    competition : Path
        The folder with sample_submission.csv and test_images.
    models : Path
        A run's checkpoints and calibration, in a bundle or not.
    working : Path
        Where submission.csv, fallbacks.csv and inference.json are written.
    started : float, optional
        time.monotonic() from which Kaggle's hours count; by default now.

    Returns
    -------
    int
        0, or 1 if something went wrong: a network or the calibration that was left out, a process that died, a
        rehearsal with too many constants.
    """
    started = time.monotonic() if started is None else started
    scored = bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))
    working.mkdir(parents=True, exist_ok=True)
    kernel = KernelRun(competition, working)
    if not kernel.answers.path.is_file():  # a process that follows another one keeps what that one wrote
        kernel.write()
    kernel.check_code()
    kernel.save("the reserve", lambda: kernel.reserve.write_bytes(bytes(RESERVE_BYTES)))
    try:
        kernel.predict(models, started + TIME_LIMIT_S, scored)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the submission must survive; the problem is reported)
        kernel.report.problem = f"{error.__class__.__name__}: {error}"
        say(f"PROBLEM: {kernel.report.problem}")
    kernel.finish(started)
    return 1 if kernel.report.problem or kernel.report.problems else 0


def _stop(number: int, _: object) -> None:
    """End by the way of all problems."""
    raise SystemExit(f"stopped by signal {number}")


if __name__ == "__main__":
    end_with_parent(os.getppid())
    signal.signal(signal.SIGTERM, _stop)
    data, bundled, here, since = sys.argv[1:5]
    sys.exit(main(Path(data), Path(bundled), Path(here), float(since)))
