"""What the networks say about a series becomes its row, its picture and its label map."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.competition.submission import probability_of
from cspine.dicom.exams import ExamSeries, Instance, lay_out
from cspine.dicom.volume import Volume
from cspine.errors import printable
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.exam_report import DONE, LONGEST, ExamRow
from cspine.evaluation.figures import png
from cspine.evaluation.study_picture import study_picture
from cspine.inference.blends import Models
from cspine.inference.ensemble import Answer
from cspine.inference.studies import Prediction
from cspine.preprocessing.nifti import write_label_map

THICK_MM = 1.5
"""The competition's slices are at most 1.25 mm apart, with few exceptions."""
SAME_SLICE = 0.1
"""Share of a step within which a file's slice is the one of the scan."""
LEVELS_OF = "{}-levels.nii.gz"
"""The label map of a series."""
METAL_HU, METAL_SHARE = 2800, 2e-5
"""Bone ends below; a screw or a filling of a cubic centimetre in a scan of the neck is a larger share."""


@dataclass(frozen=True)
class Laid:
    """A series where the reader finds it."""

    found: ExamSeries | Path
    """A series, or a NIfTI file."""
    place: Path
    """A folder with links to its files alone, or the NIfTI file."""
    renamed: Mapping[str, str]
    """Name of a link -> the file's own."""

    @staticmethod
    def lay(found: ExamSeries | Path, folder: Path) -> "Laid":
        """Lay out a series.

        Parameters
        ----------
        found : ExamSeries or Path
            A series, or a NIfTI file, which lies where it lies.
        folder : Path
            A folder that gets the links.

        Returns
        -------
        Laid
            The series, ready to be read.
        """
        if isinstance(found, Path):
            return Laid(found, found, {})
        return Laid(found, folder, lay_out(found, folder))

    def original(self, words: str) -> str:
        """Put files' own names in the place of the links'.

        Parameters
        ----------
        words : str
            What the reader said.

        Returns
        -------
        str
            The same, harmless to print.
        """
        for link, file in self.renamed.items():
            words = words.replace(link, file)
        if isinstance(self.found, ExamSeries):
            words = words.replace(
                f"study {self.place.name}", f"series {self.found.series or 'without a UID'}"
            )
        return printable(words, LONGEST)


@dataclass(frozen=True)
class ExamWriter:
    """Where the files of a series go, and by which models' standards."""

    out: Path
    labels: bool
    """Whether label maps are written."""
    models: Models
    calibration: Calibration

    def finish(self, row: ExamRow, answer: Prediction, laid: Laid) -> None:
        """Fill a row in, draw the picture, write the label map.

        Parameters
        ----------
        row : ExamRow
            The series' row; it is filled in.
        answer : Prediction
            What the networks said.
        laid : Laid
            The series.
        """
        row.seconds = round(sum(answer.seconds.values()), 2)
        if answer.answer is None or answer.scan is None:
            row.reason = laid.original(answer.reason)
            return
        said, column = answer.answer, answer.answer.column
        row.verdict = column.verdict.as_json()
        row.notes = [laid.original(note) for note in column.notes]
        values = self.calibration.apply(said.fold_logits.mean(axis=0), column.verdict.in_view)
        known = [*column.verdict.in_view.tolist(), True]
        shares = zip(PREDICTION_TYPES, probability_of(values).tolist(), known, strict=True)
        row.probability = {kind: round(share, 4) if shown else None for kind, share, shown in shares}
        series = laid.found if isinstance(laid.found, ExamSeries) else None
        where = self.models.where_mm(said)
        row.deciding = deciding_slices(said, answer.scan, series, where)
        row.notes += unlike_training(answer.scan, series)
        row.status = DONE
        title = (
            f"{printable(row.description or row.path)}, window {self.models.window_name}\n{row.disclaimer}"
        )
        figure = study_picture(column, values, title=title, decided_mm=said.deciding_mm, where_mm=where)
        storage.write_bytes(self.out / f"{row.name}.png", png(figure))
        if self.labels and said.labels is not None and said.affine is not None:
            write_label_map(self.out / LEVELS_OF.format(row.name), said.labels, said.affine)


def deciding_slices(
    answer: Answer, volume: Volume, series: ExamSeries | None, where_mm: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Name the slice of each level that was rated highest.

    Parameters
    ----------
    answer : Answer
        What the networks said.
    volume : Volume
        The scan.
    series : ExamSeries, optional
        For the slices' UIDs.
    where_mm : ndarray of float64, shape (7, 2)
        Column millimetres (y, x) of what spoke for a fracture in that slice, or NaN.

    Returns
    -------
    dict of str to dict
        Level in view -> slice from the head (0 is the first), patient z in mm, where in it as patient (x, y, z) in mm
        and, where just one file lies there, InstanceNumber and SOPInstanceUID.
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
        if np.isfinite(where_mm[level]).all():
            y, x = (answer.column.start_mm[1:] + where_mm[level]) / volume.spacing_mm[1:]
            at = (volume.affine @ [z, y, x, 1])[2::-1]
            place["where_mm"] = [round(float(one), 1) for one in at]
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
