"""A run's answers about exams as hospitals export them: every CT series of a neck that is found in a place."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cspine
from cspine import cli, storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.submission import probability_of
from cspine.dicom.exams import IMAGES, ExamSeries, Found, Instance, find_exams, lay_out
from cspine.dicom.volume import Volume
from cspine.errors import InputError, printable
from cspine.evaluation.calibration import Calibration
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
    stamp_of,
    write_row,
    write_table,
)
from cspine.evaluation.figures import png
from cspine.evaluation.study_picture import study_picture
from cspine.inference.blends import Models, in_words, load_models, members_of
from cspine.inference.ensemble import Answer, models_of
from cspine.inference.studies import Limits, Prediction, predict_studies
from cspine.networks.fold_models import preset_of
from cspine.preprocessing.nifti import write_label_map
from cspine.settings.execution import available_cpus
from cspine.settings.flags import PredictFlags
from cspine.settings.layout import CLASSIFIER, RunLayout
from cspine.settings.presets import for_trying

THICK_MM = 1.5
"""The competition's slices are at most 1.25 mm apart, with few exceptions."""
SAME_SLICE = 0.1
"""Share of a step within which a file's slice is the one of the scan."""
LEVELS_OF = "{}-levels.nii.gz"
"""The label map of a series."""
METAL_HU, METAL_SHARE = 2800, 2e-5
"""Bone ends below; a screw or a filling of a cubic centimetre in a scan of the neck is a larger share."""


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
    with storage.locked(flags.out, "predict"), tempfile.TemporaryDirectory(prefix="cspine-") as work:
        found = find_exams(flags.input, Path(work) / "unpacked")
        rows, waiting = _rows_of(found, flags, key, run, disclaimer)
        folders: dict[str, Path] = {}
        renamed: dict[str, dict[str, str]] = {}
        for number, (name, series) in enumerate(waiting.items()):
            if isinstance(series, Path):
                folders[name] = series
                continue
            folders[name] = Path(work) / "series" / f"{number:05d}"
            renamed[name] = lay_out(series, folders[name])
        exam = _Exams(flags, models, calibration, waiting, folders, renamed)
        limits = Limits(workers=min(max(len(folders), 1), available_cpus()))
        answers = predict_studies(folders, models, Path(work) / "decoded", limits)
        for answer in cli.progress(answers, unit="series", total=len(folders), what="predict"):
            exam.finish(rows[answer.study], answer)
            write_row(flags.out, rows[answer.study])
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


def _models_key(run: Path) -> str:
    """What stands for a run's networks: names, sizes and times of change."""
    files = [file for member in members_of(run) for kind in models_of(member) for file in kind]
    return stamp_of(files, "")


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
    if any(for_trying(preset) for preset in presets):
        return f"{SYNTHETIC} {NOT_A_DEVICE}"
    return NOT_A_DEVICE


def _rows_of(
    found: Found, flags: PredictFlags, key: str, run: str, disclaimer: str
) -> tuple[dict[str, ExamRow], dict[str, ExamSeries | Path]]:
    """A row for each series by its name, and the series that have to be predicted."""
    rows: dict[str, ExamRow] = {}
    waiting: dict[str, ExamSeries | Path] = {}
    for series in found.series:
        row = row_of(series, found.root, flags.names)
        if row.name in rows:  # the same UID for another patient's series
            row.name = file_name("", f"{series.patient} {series.study} {series.series} {row.path}")
        row.made_from = stamp_of(series.files, key)
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
        row = ExamRow(file_name("", shown), printable(shown), made_from=stamp_of([path], key))
        rows[row.name] = row
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
        if whole and old is not None and old.made_from == row.made_from:
            old.patient_name = row.patient_name
            rows[name] = old
            del waiting[name]
    return rows, waiting


@dataclass(frozen=True)
class _Exams:
    """What turns an answer into a row, a picture and a label map."""

    flags: PredictFlags
    models: Models
    calibration: Calibration
    series: dict[str, ExamSeries | Path]
    folders: dict[str, Path]
    renamed: dict[str, dict[str, str]]

    def finish(self, row: ExamRow, answer: Prediction) -> None:
        """Fill a row in, and draw."""
        row.seconds = round(sum(answer.seconds.values()), 2)
        if answer.answer is None or answer.scan is None:
            row.reason = self._original(row.name, answer.reason)
            return
        said, column = answer.answer, answer.answer.column
        row.verdict = column.verdict.as_json()
        row.notes = [self._original(row.name, note) for note in column.notes]
        values = self.calibration.apply(said.fold_logits.mean(axis=0), column.verdict.in_view)
        known = [*column.verdict.in_view.tolist(), True]
        shares = zip(PREDICTION_TYPES, probability_of(values).tolist(), known, strict=True)
        row.probability = {kind: round(share, 4) if shown else None for kind, share, shown in shares}
        found = self.series[row.name]
        series = found if isinstance(found, ExamSeries) else None
        row.deciding = deciding_slices(said, answer.scan, series)
        row.notes += unlike_training(answer.scan, series)
        row.status = DONE
        title = (
            f"{printable(row.description or row.path)}, window {self.models.window_name}\n{row.disclaimer}"
        )
        figure = study_picture(column, values, title=title, decided_mm=said.deciding_mm)
        storage.write_bytes(self.flags.out / f"{row.name}.png", png(figure))
        if self.flags.labels and said.labels is not None and said.affine is not None:
            write_label_map(self.flags.out / LEVELS_OF.format(row.name), said.labels, said.affine)

    def _original(self, name: str, words: str) -> str:
        """Put files' own names in the place of the links'."""
        for link, file in self.renamed.get(name, {}).items():
            words = words.replace(link, file)
        series = self.series[name]
        if isinstance(series, ExamSeries):
            words = words.replace(
                f"study {self.folders[name].name}", f"series {series.series or 'without a UID'}"
            )
        return printable(words, LONGEST)


def deciding_slices(answer: Answer, volume: Volume, series: ExamSeries | None) -> dict[str, dict[str, Any]]:
    """Name the slice of each level that was rated highest.

    Parameters
    ----------
    answer : Answer
        What the networks said.
    volume : Volume
        The scan.
    series : ExamSeries, optional
        For the slices' UIDs.

    Returns
    -------
    dict of str to dict
        Level in view -> slice from the head (0 is the first), patient z in mm and, where just one file lies there,
        InstanceNumber and SOPInstanceUID.
    """
    found = {}
    for level, name in enumerate(LEVELS):
        if not answer.column.verdict.in_view[level]:
            continue
        mm = answer.column.start_mm[0] + answer.deciding_mm[level]
        z = int(np.clip(round(mm / volume.spacing_mm[0]), 0, len(volume.hu) - 1))
        place: dict[str, Any] = {
            "slice": z,
            "patient_z_mm": round(float((volume.affine @ [z, 0, 0, 1])[0]), 2),
        }
        instance = None if series is None else _instance_at(volume, z, series)
        if instance is not None:
            place |= {"instance_number": instance.number, "sop_instance_uid": instance.uid}
        found[name] = place
    return found


def _instance_at(volume: Volume, z: int, series: ExamSeries) -> Instance | None:
    """The file whose slice lies at a height of the scan; none where it was interpolated or several lie there."""
    step = volume.affine[:3, 0]  # (z, y, x), along the slices' normal
    here = (volume.affine @ [z, 0, 0, 1])[:3]
    near = [
        one
        for one in series.instances
        if one.position_mm
        and abs((np.array(one.position_mm[::-1]) - here) @ step / (step @ step)) < SAME_SLICE
    ]
    if len(near) > 1:  # another acquisition at the same place
        near = [one for one in near if one.number == volume.file_numbers[z]]
    return near[0] if len(near) == 1 else None


def unlike_training(volume: Volume, series: ExamSeries | None) -> list[str]:
    """Name what sets a scan apart from the competition's.

    Parameters
    ----------
    volume : Volume
        The scan.
    series : ExamSeries, optional
        Its series, for what the header says.

    Returns
    -------
    list of str
        Notes.
    """
    notes = []
    if volume.spacing_mm[0] > THICK_MM:
        notes.append(
            f"slices {volume.spacing_mm[0]:.2g} mm apart, the training data has at most 1.25: thin lines are lost"
        )
    if series is not None and series.contrast:
        notes.append("contrast medium (0018,0010); the training data has none")
    if float((volume.hu[::2, ::4, ::4] > METAL_HU).mean()) > METAL_SHARE:
        notes.append(f"metal, or another thing denser than {METAL_HU} HU: streaks may look like fractures")
    return notes


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
