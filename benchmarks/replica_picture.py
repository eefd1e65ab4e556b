"""The README's picture of four patients of the replica, painted in memory and seen through the scanner."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import replica_gallery as gallery
import replica_views as views
from matplotlib.figure import Figure
from pixel_figures import GREY, SMALL_PX, TEXT_PX, axes_at, blank_figure, write_text

from replica.cohort.studies import make_cohort
from replica.settings import ReplicaSettings
from replica.study import Purpose, Study, make_study, study_rng

ROOT = Path(__file__).resolve().parents[1]
REPLICA_STUDIES, REPLICA_CHOICE = 240, 12  # a cohort, and those of it among whom the shown ones are sought
SHOWN_WHOLE = 2  # and as many with a fracture
NAMED = 3  # fractures of a patient; a line has room for them
REPLICA_PX, REPLICA_BYTES = (1600, 1180), 2_000_000
HEAD_PX, CAPTION_PX, VIEW_PX = 76, 40, (228, 258)
AXIAL_MM = 180.0  # shown across
PLANES = ("sagittal", "axial", "coronal")
WINDOWS = {views.BONE: "bone, L{} W{}", views.SOFT: "soft tissue, L{} W{}"}


@dataclasses.dataclass(frozen=True)
class ShownPatient:
    """A row of the replica's picture: who it is, what is broken, where the axial plane lies, and six views uint8."""

    who: str
    what: str
    axial: str
    tiles: list[np.ndarray]


def look_at_patients(seed: int, workers: int) -> list[ShownPatient]:
    """Paint and scan the patients that are shown: broken and whole ones in turn, each from another site."""
    settings = ReplicaSettings(out=ROOT, train=REPLICA_STUDIES, public=0, private=0, seed=seed)
    rows = gallery.choose_patients(make_cohort(settings), REPLICA_CHOICE)
    broken, whole = ([row for row in rows if row["patient_overall"] == there] for there in (1, 0))
    pairs = zip(broken[:SHOWN_WHOLE], whole[:SHOWN_WHOLE], strict=True)
    jobs = [(_look_at_patient, row, settings) for pair in pairs for row in pair]
    return gallery.run({"patients": jobs}, workers)["patients"]


def _look_at_patient(row: pd.Series, settings: ReplicaSettings) -> ShownPatient:
    """Paint and scan one patient of the cohort."""
    study = make_study(row, settings)
    hu = views.scanned(study, study_rng(settings, int(row["index"]), Purpose.SCAN))
    sex = {"M": "man", "F": "woman"}[row["sex"]]
    who = f"seed {settings.seed}, no. {row['index']}: {sex} of {row['age']}, site {row['site']}"
    level, _ = _place_of_axial(study)
    return ShownPatient(who, _injuries_of(study), f"through {level}", _tiles_of(study, hu))


def _injuries_of(study: Study) -> str:
    """Level, kind and severity of the worst fractures, from head to feet, or that there is none."""
    if not study.wounds:
        return "no fracture"
    worst = sorted(study.wounds, key=lambda wound: -wound.injury.severity)[:NAMED]
    named = [(w.injury.level, w.injury.kind.replace("_", " "), f"{w.injury.severity:.2f}") for w in worst]
    found = [f"{level} {kind} ({severity})" for level, kind, severity in sorted(named)]
    more = len(study.wounds) - len(worst)
    return f"broken (severity 0 to 1): {', '.join(found)}" + (f" and {more} more" if more else "")


def _place_of_axial(study: Study) -> tuple[str, int | None]:
    """Level and slice of the axial plane: where the worst fracture is largest, else None for the middle of C5."""
    if not study.wounds:
        return "C5", None
    worst = max(study.wounds, key=lambda wound: wound.injury.severity)
    return worst.injury.level, worst.part[0].start + int(np.argmax(worst.region.sum(axis=(1, 2))))


def _tiles_of(study: Study, hu: np.ndarray) -> list[np.ndarray]:
    """Sagittal, axial and coronal plane, each through both windows: uint8 of VIEW_PX."""
    spacing, (rows, columns) = study.protocol.grid.spacing_mm, VIEW_PX
    found = views.planes(study, hu)
    level, at = _place_of_axial(study)
    found["axial"] = found[level] if at is None else (hu[at], spacing[1:])
    tiles = []
    for name in PLANES:
        plane, plane_mm = found[name]
        pixel_mm = AXIAL_MM / columns if name == "axial" else hu.shape[0] * spacing[0] / rows
        for limits in WINDOWS:
            image = views.square(views.centred(views.grey(plane, limits), plane), plane_mm, pixel_mm)
            tiles.append(views.framed(image, rows, columns))
    return tiles


def draw_replica(patients: list[ShownPatient]) -> Figure:
    """Draw patients below each other: planes and windows named above, each patient over its row.

    Parameters
    ----------
    patients : list of ShownPatient
        The rows.

    Returns
    -------
    Figure
        REPLICA_PX wide, and as high for four patients.
    """
    (rows, columns), row_px = VIEW_PX, CAPTION_PX + VIEW_PX[0] + 8
    figure = blank_figure((REPLICA_PX[0], HEAD_PX + row_px * len(patients)))
    lefts = [8 + n * (columns + 4) + n // 2 * 8 for n in range(2 * len(PLANES))]
    for n, name in enumerate(PLANES):
        middle = (lefts[2 * n] + lefts[2 * n + 1] + columns) / 2
        write_text(figure, middle, 22, name, 28, ha="center", weight="bold")
    for n, left in enumerate(lefts):
        limits = list(WINDOWS)[n % 2]
        write_text(
            figure, left + columns / 2, 56, WINDOWS[limits].format(*limits), TEXT_PX, ha="center", color=GREY
        )
    for n, patient in enumerate(patients):
        top = HEAD_PX + n * row_px
        write_text(figure, lefts[0], top + CAPTION_PX / 2, patient.who, 23, weight="bold")
        write_text(figure, lefts[2], top + CAPTION_PX / 2, patient.what, TEXT_PX)
        for left, tile in zip(lefts, patient.tiles, strict=True):
            axes = axes_at(figure, (left, top + CAPTION_PX, columns, rows))
            axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        write_text(figure, lefts[2] + 8, top + CAPTION_PX + rows - 16, patient.axial, SMALL_PX, color="white")
    return figure
