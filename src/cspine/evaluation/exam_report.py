"""What is written about exams: a row and a JSON file a series, its picture, a page of all."""

import hashlib
import html
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.dicom.exams import ExamSeries
from cspine.errors import printable
from cspine.evaluation.page import STYLE

NOT_A_DEVICE = "Not a medical device. It must not be used to diagnose or treat anyone."
SYNTHETIC = "The run was trained on synthetic scans: what it says means nothing for a patient."
TABLE, PAGE = "predictions.csv", "index.html"
DONE, FAILED, LEFT_OUT = "done", "failed", "left out"
LONGEST = 300
"""Letters that are kept of a text from a file."""
UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")


@dataclass
class ExamRow:
    """One series, and what became of it."""

    name: str
    """Of its files: the SeriesInstanceUID, or the NIfTI's name with a part of a hash."""
    path: str
    """Where it lies, from IN."""
    patient_id: str = ""
    patient_name: str = ""
    study_uid: str = ""
    series_uid: str = ""
    description: str = ""
    slices: int = 0
    status: str = FAILED
    reason: str = ""
    probability: dict[str, float | None] = field(default_factory=dict)
    """By level and for the patient; None for a level that is not in view."""
    deciding: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Level -> slice that was rated highest: index from the head, InstanceNumber, SOPInstanceUID, patient mm."""
    verdict: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    run: str = ""
    version: str = ""
    made_from: dict[str, str] = field(default_factory=dict)
    """Its files, the run and the version as `Sources` describes them, by which a finished series is known."""
    disclaimer: str = NOT_A_DEVICE

    def flat(self) -> dict[str, Any]:
        """Give the row of the table.

        Returns
        -------
        dict
            Column -> value.
        """
        in_view = [level for level in LEVELS if self.probability.get(level) is not None]
        row: dict[str, Any] = {
            "path": self.path,
            "patient_id": self.patient_id,
            **({"patient_name": self.patient_name} if self.patient_name else {}),
            "study_uid": self.study_uid,
            "series_uid": self.series_uid,
            "description": self.description,
            "slices": self.slices,
            "status": self.status,
            "reason": self.reason,
        }
        row |= {kind: self.probability.get(kind) for kind in PREDICTION_TYPES}
        row["levels_in_view"] = " ".join(in_view)
        row["verdict"] = self.verdict.get("kind", "")
        for level in LEVELS:
            row[f"{level}_instance_number"] = self.deciding.get(level, {}).get("instance_number")
            row[f"{level}_sop_instance_uid"] = self.deciding.get(level, {}).get("sop_instance_uid")
            row[f"{level}_where_mm"] = " ".join(map(str, self.deciding.get(level, {}).get("where_mm", [])))
        row |= {
            "notes": "; ".join(self.notes),
            "seconds": self.seconds,
            "run": self.run,
            "version": self.version,
        }
        return row


def file_name(series_uid: str, path: str) -> str:
    """Name the files of a series so that no other one overwrites them and nothing leads out of the folder.

    Parameters
    ----------
    series_uid : str
        Its SeriesInstanceUID, which need not be one.
    path : str
        Where it lies.

    Returns
    -------
    str
        The UID, or harmless letters of the path's end with a part of a hash.
    """
    if UID.fullmatch(series_uid) and len(series_uid) <= 64:
        return series_uid
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).name.split(".nii")[0])[:40].strip("-")
    digest = hashlib.sha256(f"{series_uid} {path}".encode(errors="replace")).hexdigest()[:12]
    return f"{stem or 'series'}-{digest}"


def row_of(series: ExamSeries, root: Path, names: bool) -> ExamRow:
    """Begin the row of a series.

    Parameters
    ----------
    series : ExamSeries
        The series.
    root : Path
        The folder from which paths are told.
    names : bool
        Whether the patient's name is told.

    Returns
    -------
    ExamRow
        Without an outcome yet.
    """
    inside = series.folder.relative_to(root)
    path = str(inside) if inside.parts else root.name
    return ExamRow(
        name=file_name(series.series, f"{series.patient} {series.study} {path}"),
        path=printable(path, LONGEST),
        patient_id=printable(series.patient, LONGEST),
        patient_name=printable(series.name, LONGEST) if names else "",
        study_uid=printable(series.study, LONGEST),
        series_uid=printable(series.series, LONGEST),
        description=printable(series.description, LONGEST),
        slices=len(series.files),
    )


def write_row(out: Path, row: ExamRow) -> None:
    """Write a series' JSON file.

    Parameters
    ----------
    out : Path
        The folder.
    row : ExamRow
        Its outcome.
    """
    storage.write_json(out / f"{row.name}.json", asdict(row))


def read_row(out: Path, name: str) -> ExamRow | None:
    """Read what is known of a series from an earlier run.

    Parameters
    ----------
    out : Path
        The folder.
    name : str
        Of its files.

    Returns
    -------
    ExamRow or None
        None where there is nothing that can be read.
    """
    path = out / f"{name}.json"
    if not path.is_file():
        return None
    try:
        row = ExamRow(**storage.read_json(path))
    except (TypeError, storage.InputError):
        return None
    return row if isinstance(row.made_from, dict) else None


def write_table(out: Path, rows: list[ExamRow]) -> None:
    """Write predictions.csv and the page.

    Parameters
    ----------
    out : Path
        The folder.
    rows : list of ExamRow
        All series.
    """
    storage.write_csv(out / TABLE, pd.DataFrame([row.flat() for row in rows]))
    storage.write_text(out / PAGE, page(rows))


def page(rows: list[ExamRow]) -> str:
    """Draw up the page of all series.

    Parameters
    ----------
    rows : list of ExamRow
        All series.

    Returns
    -------
    str
        HTML that shows the pictures beside it.
    """
    words = sorted({row.disclaimer for row in rows} or {NOT_A_DEVICE})
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Predictions</title>",
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><style>{STYLE}</style>",
        "<h1>Predictions</h1>",
        *(f"<p class='headline'>{html.escape(one)}</p>" for one in words),
    ]
    for row in rows:
        title = " · ".join(part for part in (row.patient_id, row.description, row.path) if part)
        parts.append(f"<h2>{html.escape(title or row.name)}</h2>")
        if row.status != DONE:
            parts.append(f"<p>{html.escape(row.status)}: {html.escape(row.reason)}</p>")
            continue
        shares = ", ".join(
            f"{kind} {'not in view' if share is None else f'{share:.2f}'}"
            for kind, share in row.probability.items()
        )
        parts.append(f"<p>{html.escape(shares)}</p>")
        parts += [f"<p>note: {html.escape(note)}</p>" for note in row.notes]
        alt = html.escape(title, quote=True)
        parts.append(f"<div class='panels'><img src='{row.name}.png' loading='lazy' alt='{alt}'></div>")
    return "\n".join(parts) + "\n"
