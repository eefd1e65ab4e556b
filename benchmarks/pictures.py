"""The README's two pictures: one study on its way through the pipeline, and four patients of the replica.

pipeline.png: a study of the demo's private test set, from its DICOM series to eight probabilities.
replica.png: patients in three planes and two windows, painted in memory and seen through the scanner.
"""

import dataclasses
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import replica_gallery as gallery  # noqa: E402
import replica_views as views  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.competition.labels import LEVELS  # noqa: E402
from cspine.competition.rows import split_row_ids, wide  # noqa: E402
from cspine.competition.submission import probability_of  # noqa: E402
from cspine.competition.tables import read_solution, read_submission  # noqa: E402
from cspine.dicom.reader import read_series  # noqa: E402
from cspine.dicom.volume import Volume  # noqa: E402
from cspine.errors import InputError  # noqa: E402
from cspine.evaluation.calibration import Calibration  # noqa: E402
from cspine.evaluation.figures import COLOURS, FRACTURED  # noqa: E402
from cspine.inference.ensemble import Ensemble  # noqa: E402
from cspine.preprocessing.column import Column, cut_column, locate_levels, without_specks  # noqa: E402
from cspine.preprocessing.resampling import resample, window  # noqa: E402
from cspine.preprocessing.stacks import study_stacks  # noqa: E402
from cspine.settings.layout import SUBMISSION  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402
from replica.cohort.studies import make_cohort  # noqa: E402
from replica.settings import ReplicaSettings  # noqa: E402
from replica.study import Purpose, Study, make_study, study_rng  # noqa: E402

PIPELINE_PX, PIPELINE_BYTES = (1600, 624), 600_000
PANELS = {  # title: what it shows, left edge and width in pixels
    "series": ("a sagittal slice", 12, 322),
    "label map": ("C1 to C7 at {:.0f} mm, their box", 380, 322),
    "column": ("the box, cut out", 748, 270),
    "stacks": ("deciding slices", 1064, 238),
    "eight values": ("probability of a fracture", 1348, 240),
}
TOP_PX, PANEL_PX = 88, 480
TITLE_PX, TEXT_PX, SMALL_PX = 32, 21, 20
TILE_PX, GAP_PX, TILES_A_ROW = 117, 4, 2
VIEW_MM, ROUND_BOX_MM = 230.0, 16.0  # height shown of a scan, but at least as much around the box
VIEW_AT = 0.54  # the box's middle in the view, 0 the front
FINER = 4  # so many steps a voxel, for outlines without corners
INK, GREY, BAR, LIGHT_RED = "#222222", "#555555", "#7f7f7f", "#ff6b61"
SAME = 1e-3  # two values of one study, from the submission and from the run, differ by less

REPLICA_STUDIES, REPLICA_CHOICE = 240, 12  # a cohort, and those of it among whom the shown ones are sought
SHOWN_WHOLE = 2  # and as many with a fracture
NAMED = 3  # fractures of a patient; a line has room for them
REPLICA_PX, REPLICA_BYTES = (1600, 1180), 2_000_000
HEAD_PX, CAPTION_PX, VIEW_PX = 76, 40, (228, 258)
AXIAL_MM = 180.0  # shown across
PLANES = ("sagittal", "axial", "coronal")
WINDOWS = {views.BONE: "bone, L{} W{}", views.SOFT: "soft tissue, L{} W{}"}


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of pictures.py."""

    raw: Path = ROOT / "data" / "raw" / "demo"
    """A replica: competition/ and solution.csv."""
    run: Path = ROOT / "data" / "runs" / "demo"
    """The run whose models are asked."""
    submission: Path = ROOT / "data" / "submissions" / "demo" / SUBMISSION
    """What this run said about the test set; the study is chosen by it."""
    out: Path = ROOT / "docs"
    """The folder for pipeline.png and replica.png."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the replica that is drawn."""
    workers: Annotated[int, Field(ge=1)] = len(os.sched_getaffinity(0))
    """Processes that paint patients."""


def main(flags: Flags) -> None:
    """Draw and write both pictures."""
    shown = _look_at_study(flags)
    write_picture(flags.out / "pipeline.png", draw_pipeline(shown), PIPELINE_BYTES)
    cli.log_stage("pictures", read=f"study {shown.study}", wrote=flags.out / "pipeline.png")
    patients = _look_at_patients(flags.seed, flags.workers)
    write_picture(flags.out / "replica.png", draw_replica(patients), REPLICA_BYTES)
    cli.log_stage("pictures", read=f"seed {flags.seed}", wrote=flags.out / "replica.png")


def write_picture(path: Path, figure: Figure, most_bytes: int) -> None:
    """Write a figure as a PNG, pixel by pixel as it was laid out, grey if it has no colour.

    Parameters
    ----------
    path : Path
        The file; whole or absent.
    figure : Figure
        What is drawn.
    most_bytes : int
        A page that loads quickly has no room for more.

    Raises
    ------
    InputError
        If the file would be larger.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    if not np.ptp(pixels, axis=2).any():
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", optimize=True)
    size = len(buffer.getvalue())
    if size > most_bytes:
        raise InputError(f"{path}: {size} bytes; expected at most {most_bytes}; choose another study or seed")
    storage.write_bytes(path, buffer.getvalue())


# One study on its way through the pipeline


@dataclasses.dataclass(frozen=True)
class ShownStudy:
    """What the pipeline's picture shows of a study; mm count from the centre of the scan's first voxel.

    series: uint8 (z, y), a sagittal plane through the bone window, of series_mm.
    labels: uint8 (z, y), the label map's plane there, of labels_mm from labels_start_mm.
    column: uint8 (z, y), the column's plane there, of column_mm; its first voxel is at column_start_mm.
    slices: uint8 (7, y, x), one of each stack. probability: (8,), C1 to C7 then the patient's.
    broken: the level that is truly broken, 0-6.
    """

    study: str
    series: np.ndarray
    series_mm: tuple[float, float]
    labels: np.ndarray
    labels_mm: tuple[float, float]
    labels_start_mm: tuple[float, float]
    column: np.ndarray
    column_mm: tuple[float, float]
    column_start_mm: tuple[float, float]
    slices: np.ndarray
    probability: np.ndarray
    broken: int


def choose_study(studies: list[str], probability: np.ndarray, truth: np.ndarray) -> tuple[str, int]:
    """Choose the study that shows best what the pipeline does.

    Exactly one of its levels is broken, the models rank that level first, and no other such study has a
    wider margin to its second level.

    Parameters
    ----------
    studies : list of str
        The studies to choose from.
    probability : ndarray of float, shape (n, 8)
        What the models say, C1 to C7 then the patient.
    truth : ndarray of float, shape (n, 8)
        1 where broken, else 0.

    Returns
    -------
    str
        The study.
    int
        Its broken level, 0-6.

    Raises
    ------
    InputError
        If there is no such study.
    """
    levels = np.asarray(probability)[:, : len(LEVELS)]
    order = np.argsort(-levels, axis=1, kind="stable")
    first, second = (np.take_along_axis(levels, order[:, [n]], axis=1)[:, 0] for n in (0, 1))
    one = np.asarray(truth)[:, : len(LEVELS)].sum(axis=1) == 1
    found = one & (np.asarray(truth)[np.arange(len(levels)), order[:, 0]] == 1) & (first > second)
    if not found.any():
        raise InputError(
            f"pipeline.png: of {len(studies)} test studies {one.sum()} have exactly one broken level, and the models "
            "rank it first in none; train a better run, or make a replica with more studies"
        )
    best = int(np.argmax(np.where(found, first - second, -np.inf)))
    return studies[best], int(order[best, 0])


def _look_at_study(flags: Flags) -> ShownStudy:
    """Choose a study of the private test set and take it through the pipeline, as `choose_study` and `_ask` say."""
    solution = read_solution(flags.raw / "solution.csv")
    studies, truth = wide(solution[solution["Usage"] == "Private"], what=flags.raw / "solution.csv")
    submission = read_submission(flags.submission, advice="`make submission` makes it")
    here = split_row_ids(submission["row_id"])["StudyInstanceUID"].isin(studies)
    said, values = wide(submission[here], what=flags.submission)
    truth = pd.DataFrame(truth, index=studies).loc[said].to_numpy()
    study, broken = choose_study(said, probability_of(values), truth)
    shown = _ask(read_series(flags.raw / "competition" / "test_images" / study), flags.run, broken)
    expected = probability_of(values[said.index(study)])
    if np.abs(shown.probability - expected).max() > SAME + 1 / 1000:  # a submission is clipped at 0.001
        raise InputError(
            f"{flags.submission}: its values for study {study} are not those of {flags.run}; `make submission` makes "
            "it anew"
        )
    return dataclasses.replace(shown, study=study)


def _ask(volume: Volume, run: Path, broken: int) -> ShownStudy:
    """Locate, cut, ask: what training and the kernel do with a study as well."""
    ensemble = Ensemble.load(run)
    small = resample(volume, ensemble.preset.locator.spacing_mm)
    labels = ensemble.segment(small.hu)
    column = cut_column(volume, labels, small.affine, ensemble.preset.column)
    images, masks = study_stacks(column, ensemble.preset.stacks)
    values = Calibration.load(run).apply(ensemble.predict(column))
    slices = deciding_slices(images, _slice_logits(ensemble, images, masks))
    return show(volume, labels, small.affine, column, slices, probability_of(values), broken)


def _slice_logits(ensemble: Ensemble, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The folds' mean logit of every slice: (7, slices)."""
    stacks = [torch.from_numpy(array)[None].to(ensemble.device) for array in (images, masks)]
    with torch.inference_mode():
        logits = [classifier(*stacks)[1][0].float() for classifier in ensemble.classifiers]
    return torch.stack(logits).mean(dim=0).cpu().numpy()


def deciding_slices(images: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Take of each stack the slice that looks most like a fracture to the models.

    Parameters
    ----------
    images : ndarray of uint8, shape (7, slices, y, x, neighbours)
        The stacks; the slice itself is the middle one of its neighbours.
    logits : ndarray of float, shape (7, slices)
        Each slice's logit.

    Returns
    -------
    ndarray of uint8, shape (7, y, x)
        One slice a level.
    """
    chosen = np.argmax(logits, axis=1)
    return images[np.arange(len(images)), chosen, :, :, images.shape[-1] // 2]


def show(
    volume: Volume,
    labels: np.ndarray,
    label_affine: np.ndarray,
    column: Column,
    slices: np.ndarray,
    probability: np.ndarray,
    broken: int,
) -> ShownStudy:
    """Cut the same sagittal plane, through the middle of the levels, out of a scan, its label map and its column.

    Parameters
    ----------
    volume : Volume
        The scan.
    labels : ndarray of uint8, shape (z, y, x)
        Its label map: 0 background, 1-7 = C1-C7.
    label_affine : ndarray of float64, shape (4, 4)
        From a (z, y, x) index of the label map to mm of the patient.
    column : Column
        What was cut out of the scan with this label map.
    slices : ndarray of uint8, shape (7, y, x)
        One slice of each stack.
    probability : ndarray of float, shape (8,)
        C1 to C7, then the patient.
    broken : int
        The level that is truly broken, 0-6.

    Returns
    -------
    ShownStudy
        What is drawn.
    """
    spacing = np.array(volume.spacing_mm)
    to_volume = np.linalg.inv(volume.affine) @ label_affine  # label index -> index in the scan
    step, start = np.diag(to_volume)[:3] * spacing, to_volume[:3, 3] * spacing
    labels = without_specks(labels, tuple(step))
    levels, _ = locate_levels(labels, tuple(step), volume.study)
    top = column.extents[0]  # the same level in the column's millimetres and in the label map's
    corner = start + levels[0, [0, 2, 3]] - [top.top_mm, top.centre_y_mm, top.centre_x_mm]
    middle = float(np.median([extent.centre_x_mm for extent in column.extents]))
    at = round((corner[2] + middle) / spacing[2])
    hu = volume.hu[:, :, np.clip(at, 0, volume.hu.shape[2] - 1)]
    label_at = np.clip(round((corner[2] + middle - start[2]) / step[2]), 0, labels.shape[2] - 1)
    column_at = np.clip(round(middle / column.spacing_mm[2]), 0, column.image.shape[2] - 1)
    return ShownStudy(
        study=volume.study,
        series=window(hu, *views.BONE),
        series_mm=(spacing[0], spacing[1]),
        labels=labels[:, :, label_at],
        labels_mm=(step[0], step[1]),
        labels_start_mm=(start[0], start[1]),
        column=column.image[:, :, column_at],
        column_mm=column.spacing_mm[:2],
        column_start_mm=(corner[0], corner[1]),
        slices=slices,
        probability=probability,
        broken=broken,
    )


def draw_pipeline(shown: ShownStudy) -> Figure:
    """Draw a study's way through the pipeline: five panels with arrows between them.

    Parameters
    ----------
    shown : ShownStudy
        What is drawn.

    Returns
    -------
    Figure
        Of PIPELINE_PX pixels.
    """
    figure = _blank(PIPELINE_PX)
    panels = {}
    for title, (words, left, width) in PANELS.items():
        _write(figure, left + width / 2, 32, title, TITLE_PX, ha="center", weight="bold")
        words = words.format(shown.labels_mm[0])  # the label map is coarser than the scan it lies on
        _write(figure, left + width / 2, 68, words, TEXT_PX, ha="center", color=GREY)
        panels[title] = (left, TOP_PX, width, PANEL_PX)
    edges = list(PANELS.values())
    for (_, left, width), (_, after, _) in zip(edges, edges[1:], strict=False):
        _write(figure, (left + width + after) / 2, TOP_PX + PANEL_PX / 2, "→", 48, ha="center", color=GREY)
    _draw_series(_axes(figure, panels["series"]), shown)
    labelled = _axes(figure, panels["label map"])
    _draw_series(labelled, shown)
    _draw_labels(labelled, shown)
    _draw_column(_axes(figure, panels["column"]), shown)
    _draw_slices(figure, panels["stacks"], shown)
    _draw_values(figure, panels["eight values"], shown)
    _write(figure, PIPELINE_PX[0] / 2, PIPELINE_PX[1] - 26, _footer(shown), SMALL_PX, ha="center", color=GREY)
    return figure


def _footer(shown: ShownStudy) -> str:
    name, (level, width) = shown.study.rpartition(".")[2], views.BONE
    return (
        f"Synthetic study …{name} of the private test set, chosen because its fracture was found; bone window "
        f"L{level} W{width}; red × = the level that is broken ({LEVELS[shown.broken]})"
    )


def _draw_series(axes: Axes, shown: ShownStudy) -> None:
    """The scan's sagittal plane, as much of it around the column as the panel holds."""
    height, depth = (n * mm for n, mm in zip(shown.series.shape, shown.series_mm, strict=True))
    dz, dy = shown.series_mm
    axes.imshow(
        shown.series, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", aspect="equal",
        extent=(-dy / 2, depth - dy / 2, height - dz / 2, -dz / 2),
    )  # fmt: skip
    box = [n * mm for n, mm in zip(shown.column.shape, shown.column_mm, strict=True)]
    middle_z, middle_y = (start + mm / 2 for start, mm in zip(shown.column_start_mm, box, strict=True))
    wide = PANELS["series"][2] / PANEL_PX
    seen = max(min(height, VIEW_MM), (box[1] + ROUND_BOX_MM) / wide)
    top = _within(middle_z - seen / 2, seen, height) - dz / 2
    left = _within(middle_y - VIEW_AT * seen * wide, seen * wide, depth) - dy / 2
    axes.set_xlim(left, left + seen * wide)
    axes.set_ylim(top + seen, top)


def _within(start: float, size: float, whole: float) -> float:
    """Where a view begins that stays within the whole, or has it in its middle if that is smaller."""
    return (whole - size) / 2 if size > whole else min(max(start, 0.0), whole - size)


def _draw_labels(axes: Axes, shown: ShownStudy) -> None:
    """The levels outlined and named, and the box that is cut out of the scan."""
    z, y = (
        start + np.arange(n) * mm
        for start, n, mm in zip(shown.labels_start_mm, shown.labels.shape, shown.labels_mm, strict=True)
    )
    finer = [np.linspace(axis[0], axis[-1], len(axis) * FINER) for axis in (y, z)]
    for level, name in enumerate(LEVELS):
        here = (shown.labels == level + 1).astype(float)
        if not here.any():
            continue
        smooth = ndimage.zoom(ndimage.gaussian_filter(here, 0.5), FINER, order=1)
        axes.contourf(*finer, smooth, [0.4, 2.0], colors=[COLOURS[level]], alpha=0.3)
        axes.contour(*finer, smooth, [0.4], colors=[_light(level)], linewidths=2.2)
        rows, columns = np.nonzero(here)
        place = (y[columns.min()] - 5, z[round(rows.mean())])
        _label(axes, place, name, _light(level), ha="right", va="center")
    top, left = shown.column_start_mm
    height, width = (n * mm for n, mm in zip(shown.column.shape, shown.column_mm, strict=True))
    box = Rectangle((left, top), width, height, fill=False, edgecolor="white", linestyle="--", linewidth=2)
    axes.add_patch(box)


def _draw_column(axes: Axes, shown: ShownStudy) -> None:
    """The column's sagittal plane, as large as the panel allows."""
    rows, columns = shown.column.shape
    dz, dy = shown.column_mm
    axes.set_facecolor("white")
    axes.imshow(
        shown.column, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", aspect="equal",
        extent=(0, columns * dy, rows * dz, 0),
    )  # fmt: skip


def _draw_slices(figure: Figure, panel: tuple[int, int, int, int], shown: ShownStudy) -> None:
    """One axial slice a level; the broken one framed, with a sign beside its name."""
    left, top = panel[:2]
    for level, name in enumerate(LEVELS):
        row, column = divmod(level, TILES_A_ROW)
        at = (left + column * (TILE_PX + GAP_PX), top + row * (TILE_PX + GAP_PX), TILE_PX, TILE_PX)
        axes = _axes(figure, at)
        axes.imshow(shown.slices[level], cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        broken = level == shown.broken
        words, colour = (f"{name} ×", LIGHT_RED) if broken else (name, _light(level))
        _label(axes, (0.05, 0.95), words, colour, transform=axes.transAxes, ha="left", va="top")
        if broken:
            frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=FRACTURED, lw=8)
            axes.add_patch(frame)


def _light(level: int) -> tuple[float, ...]:
    """A level's colour on a dark picture."""
    return tuple(0.6 * share + 0.4 for share in COLOURS[level][:3])


def _label(axes: Axes, place: tuple[float, float], text: str, colour: Any, **options: Any) -> None:
    """A bold name with a dark edge, which can be read on bone and on air."""
    drawn = axes.text(*place, text, color=colour, fontsize=TEXT_PX, weight="bold", **options)
    drawn.set_path_effects([patheffects.withStroke(linewidth=3, foreground="black")])


def _draw_values(figure: Figure, panel: tuple[int, int, int, int], shown: ShownStudy) -> None:
    """Eight bars with their figures; the broken level in red, with a sign beside its name."""
    names = 84
    left, top, width, height = panel
    axes = _axes(figure, (left + names, top, width - names, height))
    axes.set_facecolor("white")
    places = [*range(len(LEVELS)), len(LEVELS) + 0.4]  # the patient stands apart
    colours = [FRACTURED if level == shown.broken else BAR for level in range(len(places))]
    axes.barh(places, shown.probability, 0.62, color=colours)
    axes.plot([0, 0], [-0.5, places[-1] + 0.5], color=INK, linewidth=1.5)
    words = [*LEVELS, "overall"]
    words[shown.broken] += " ×"
    for name, place, value, colour in zip(words, places, shown.probability, colours, strict=True):
        dark, weight = (FRACTURED, "bold") if colour == FRACTURED else (INK, "normal")
        axes.text(-0.05, place, name, ha="right", va="center", fontsize=TEXT_PX, color=dark, weight=weight)
        axes.text(
            value + 0.04, place, f"{value:.2f}", va="center", fontsize=TEXT_PX, color=dark, weight=weight
        )
    axes.set_xlim(0, 1.42)  # room for the figure beside the longest bar
    axes.set_ylim(places[-1] + 0.6, -0.6)


# Four patients of the replica


@dataclasses.dataclass(frozen=True)
class ShownPatient:
    """A row of the replica's picture: who it is, what is broken, where the axial plane lies, and six views uint8."""

    who: str
    what: str
    axial: str
    tiles: list[np.ndarray]


def _look_at_patients(seed: int, workers: int) -> list[ShownPatient]:
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
    figure = _blank((REPLICA_PX[0], HEAD_PX + row_px * len(patients)))
    lefts = [8 + n * (columns + 4) + n // 2 * 8 for n in range(2 * len(PLANES))]
    for n, name in enumerate(PLANES):
        middle = (lefts[2 * n] + lefts[2 * n + 1] + columns) / 2
        _write(figure, middle, 22, name, 28, ha="center", weight="bold")
    for n, left in enumerate(lefts):
        limits = list(WINDOWS)[n % 2]
        _write(
            figure, left + columns / 2, 56, WINDOWS[limits].format(*limits), TEXT_PX, ha="center", color=GREY
        )
    for n, patient in enumerate(patients):
        top = HEAD_PX + n * row_px
        _write(figure, lefts[0], top + CAPTION_PX / 2, patient.who, 23, weight="bold")
        _write(figure, lefts[2], top + CAPTION_PX / 2, patient.what, TEXT_PX)
        for left, tile in zip(lefts, patient.tiles, strict=True):
            axes = _axes(figure, (left, top + CAPTION_PX, columns, rows))
            axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        _write(figure, lefts[2] + 8, top + CAPTION_PX + rows - 16, patient.axial, SMALL_PX, color="white")
    return figure


# Figures that are laid out in pixels, from the top left


def _blank(size_px: tuple[int, int]) -> Figure:
    """A white figure of so many pixels (width, height); one point is one pixel."""
    return Figure(figsize=(size_px[0] / 72, size_px[1] / 72), dpi=72, facecolor="white")


def _axes(figure: Figure, panel: tuple[int, int, int, int]) -> Axes:
    """Black axes without ticks at (left, top, width, height)."""
    width, height = figure.bbox.width, figure.bbox.height
    left, top, across, down = panel
    place = (left / width, 1 - (top + down) / height, across / width, down / height)
    axes = figure.add_axes(place, facecolor="black")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def _write(figure: Figure, left: float, top: float, text: str, size_px: float, **options: Any) -> None:
    """Text whose middle line is `top` pixels below the upper edge."""
    options = {"ha": "left", "va": "center", "color": INK, **options}
    figure.text(left / figure.bbox.width, 1 - top / figure.bbox.height, text, fontsize=size_px, **options)


if __name__ == "__main__":
    cli.run(main, Flags)
