"""A run's answers about exams as hospitals export them: every CT series of a neck that is found in a place."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import cspine
from cspine import cli, storage
from cspine.dicom.exams import IMAGES, ExamSeries, Found, find_exams
from cspine.dicom.reader import WITHOUT_FAST_DECODER
from cspine.errors import InputError, printable
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.exam_answer import LEVELS_OF, ExamWriter, Laid
from cspine.evaluation.exam_report import (
    DONE,
    LEFT_OUT,
    LONGEST,
    NOT_A_DEVICE,
    PAGE,
    SYNTHETIC,
    TABLE,
    ExamRow,
    file_name,
    read_row,
    row_of,
    write_row,
    write_table,
)
from cspine.execution.sources import MADE_FROM, Sources, digest_of
from cspine.execution.worker import Job
from cspine.inference.blends import Models, in_words, load_models, members_of
from cspine.inference.decoded import decode_study, load_small, load_volume
from cspine.inference.ensemble import models_of
from cspine.inference.studies import Limits, Prediction, predict_studies
from cspine.networks.fold_models import preset_of
from cspine.settings.flags import PredictFlags
from cspine.settings.layout import CLASSIFIER, RunLayout
from cspine.settings.presets import for_trying

SERIES_S = 1800.0
"""A series that takes a worker of a cluster longer, loading the networks included, is given up."""


def predict_exams(flags: PredictFlags) -> int:
    """Predict every CT series of a neck in a place; what is there from an earlier run is kept.

    Parameters
    ----------
    flags : PredictFlags
        What is asked.

    Returns
    -------
    int
        How many series have a prediction.

    Raises
    ------
    InputError
        If there is no such place or nothing in it, or the run is not complete.
    """
    models, calibration = load_models(flags.run), Calibration.load(flags.run)
    run, disclaimer = in_words(flags.run), disclaimer_of(flags.run)
    key = (
        f"{cspine.__version__} {storage.sha256_of(RunLayout(flags.run).calibration)} {_models_key(flags.run)}"
    )
    print(disclaimer, flush=True)
    # Beside the results, where every machine sees it, what is unpacked for several of them.
    beside = flags.out if flags.scheduler else None
    with (
        storage.locked(flags.out, "predict"),
        tempfile.TemporaryDirectory(prefix=".cspine-", dir=beside) as work,
    ):
        found = find_exams(flags.input.absolute(), Path(work) / "unpacked")
        rows, waiting = _rows_of(found, flags, key, run, disclaimer)
        asked = _Waiting(flags, rows, waiting)
        on_cluster = flags.scheduler and waiting
        finished = (
            asked.predicted_on_cluster()
            if on_cluster
            else asked.predicted_here(models, calibration, Path(work))
        )
        for row in finished:
            rows[row.name] = row
            write_row(flags.out, row)
            write_table(flags.out, list(rows.values()))
        write_table(flags.out, list(rows.values()))
    done = sum(row.status == DONE for row in rows.values())
    for row in rows.values():
        _tell(row)
    others = ", ".join(f"{count} {printable(kind)}" for kind, count in sorted(found.others.items()))
    cli.log_stage(
        "predict",
        read=flags.input,
        wrote=f"{flags.out / TABLE} and {PAGE}",
        series=len(rows),
        predicted=done,
        models=run,
        **({"other_files": others} if others else {}),
    )
    return done


@dataclass(frozen=True)
class _Waiting:
    """The series that are to be predicted, and their rows."""

    flags: PredictFlags
    rows: dict[str, ExamRow]
    series: dict[str, ExamSeries | Path]

    def predicted_here(self, models: Models, calibration: Calibration, work: Path) -> Iterator[ExamRow]:
        """The rows as they are finished: decoding in processes, the networks in this one."""
        laid = {
            name: Laid.lay(found, work / "series" / f"{number:05d}")
            for number, (name, found) in enumerate(self.series.items())
        }
        writer = ExamWriter(self.flags.out, self.flags.labels, models, calibration)
        limits = Limits(workers=min(max(len(laid), 1), self.flags.workers))
        places = {name: one.place for name, one in laid.items()}
        answers = predict_studies(places, models, work / "decoded", limits)
        for answer in cli.progress(answers, unit="series", total=len(laid), what="predict"):
            writer.finish(self.rows[answer.study], answer, laid[answer.study])
            yield self.rows[answer.study]

    def predicted_on_cluster(self) -> Iterator[ExamRow]:
        """The same by a Dask scheduler's workers, each with networks of its own."""
        from cspine.execution.cluster import run_on_cluster  # not everybody has Dask

        seen = (self.flags.run.absolute(), self.flags.out.absolute())
        there = partial(predict_there, str(seen[0]), str(seen[1]), self.flags.labels)
        job = Job(there, SERIES_S, partial(there, fallback=True), WITHOUT_FAST_DECODER)
        items = [(name, (self.rows[name], found)) for name, found in self.series.items()]
        outcomes = run_on_cluster(job, items, self.flags.scheduler, self.flags.workers, seen)
        for outcome in cli.progress(outcomes, unit="series", total=len(items), what="predict"):
            row = self.rows[outcome.key] if outcome.value is None else outcome.value
            if outcome.error is not None:
                row.reason, row.seconds = printable(outcome.error, LONGEST), round(outcome.seconds, 2)
            yield row


@cache
def _loaded(run: str) -> tuple[Models, Calibration]:
    """A run's models, loaded once a process."""
    return load_models(Path(run)), Calibration.load(Path(run))


def predict_there(
    run: str, out: str, labels: bool, row: ExamRow, found: ExamSeries | Path, fallback: bool = False
) -> ExamRow:
    """Predict one series in a process of a cluster's worker, and write its picture and label map.

    Parameters
    ----------
    run, out : str
        Folders that this machine sees, too.
    labels : bool
        Whether the label map is written.
    row : ExamRow
        The series' row as it is so far.
    found : ExamSeries or Path
        The series, or a NIfTI file.
    fallback : bool
        Read without the fast decoder, which crashed.

    Returns
    -------
    ExamRow
        The row, filled in.

    Raises
    ------
    InputError
        If the series can't be read or shows no neck.
    """
    models, calibration = _loaded(run)
    with tempfile.TemporaryDirectory(prefix="cspine-") as work:
        laid, began = Laid.lay(found, Path(work) / "series"), time.monotonic()
        try:
            decode_study(str(laid.place), f"{work}/decoded", models.spacing_mm, fallback)
            seconds = {"decode": time.monotonic() - began}
            scan = load_volume(Path(work) / "decoded")
            answer = models.answer(scan, *load_small(Path(work) / "decoded"))
        except InputError as error:
            raise InputError(laid.original(str(error))) from error
        prediction = Prediction(row.name, answer, "", seconds | answer.seconds, scan)
        ExamWriter(Path(out), labels, models, calibration).finish(row, prediction, laid)
    return row


def _models_key(run: Path) -> str:
    """What stands for a run's networks."""
    files = [file for member in members_of(run) for kind in models_of(member) for file in kind]
    return digest_of({MADE_FROM: Sources(files).describe()})


def disclaimer_of(run: Path) -> str:
    """Say what a run's answers are worth.

    Parameters
    ----------
    run : Path
        A run or a blend.

    Returns
    -------
    str
        One sentence or two.
    """
    presets = [preset_of(models_of(member)[1][0], CLASSIFIER) for member in members_of(run)]
    if any(for_trying(preset) for preset in presets) or Calibration.load(run).synthetic:
        return f"{SYNTHETIC} {NOT_A_DEVICE}"
    return NOT_A_DEVICE


def _rows_of(
    found: Found, flags: PredictFlags, key: str, run: str, disclaimer: str
) -> tuple[dict[str, ExamRow], dict[str, ExamSeries | Path]]:
    """A row for each series by its name, and the series that have to be predicted."""
    rows: dict[str, ExamRow] = {}
    waiting: dict[str, ExamSeries | Path] = {}
    sources: dict[str, Sources] = {}
    for series in found.series:
        row = row_of(series, found.root, flags.names)
        if row.name in rows:  # the same UID for another patient's series
            row.name = file_name("", f"{series.patient} {series.study} {series.series} {row.path}")
        sources[row.name] = Sources(series.files, values=key)
        rows[row.name] = row
        if series.modality not in IMAGES:
            row.status, row.reason = (
                LEFT_OUT,
                f"Modality (0008,0060) is {printable(series.modality)}, expected CT",
            )
        else:
            waiting[row.name] = series
    for path in found.niftis:
        shown = str(path.relative_to(found.root))
        row = ExamRow(file_name("", shown), printable(shown))
        rows[row.name], sources[row.name] = row, Sources([path], values=key)
        waiting[row.name] = path
    if not waiting:
        kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in sorted(found.others.items()))
        reasons = "; ".join(sorted({row.reason for row in rows.values()}))
        raise InputError(
            f"{flags.input}: found no CT series ({reasons or kinds or 'no file at all'}); expected DICOM files of a CT "
            "of the neck, a folder with some, a zip, or NIfTI in Hounsfield units"
        )
    for name in list(waiting):
        row = rows[name]
        row.run, row.version, row.disclaimer = run, cspine.__version__, disclaimer
        old = read_row(flags.out, name)
        wanted = [f"{name}.png", *([LEVELS_OF.format(name)] if flags.labels else [])]
        whole = all((flags.out / file).is_file() for file in wanted)
        if whole and old is not None and not sources[name].differ_from(old.made_from or None):
            old.patient_name = row.patient_name
            rows[name] = old
            del waiting[name]
        else:
            row.made_from = sources[name].describe()
    return rows, waiting


def _tell(row: ExamRow) -> None:
    """Print a series' outcome."""
    print(f"{row.path or row.name}: {row.status}" + (f": {row.reason}" if row.reason else ""))
    if row.status != DONE:
        return
    for kind, share in row.probability.items():
        bar = "not in view" if share is None else f"{share:.3f}  {'#' * round(40 * share)}"
        where = row.deciding.get(kind, {}).get("instance_number", "")
        print(f"  {kind:<16}{bar}" + (f"  slice {where}" if where != "" and share is not None else ""))
    for note in row.notes:
        print(f"  note: {note}")
