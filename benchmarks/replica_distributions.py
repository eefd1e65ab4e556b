"""Statistics of a replica beside the published ones: tables, series, masks and boxes."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import replica_facts as real
from replica_compare import line, quantile_lines, share_line, table
from replica_headers import SYNTAX_NAMES, Series, as_drawn, as_written

from cspine import cli
from cspine.competition.labels import LEVELS, OVERALL, PUBLISHED
from cspine.preprocessing.components import remove_strays
from cspine.preprocessing.masks import HEIGHTS_MM
from replica.anatomy.texture import make_texture
from replica.annotators.boxes import draw_boxes
from replica.cohort.studies import make_cohort
from replica.injuries.bones import Canvas
from replica.injuries.fractures import draw_injuries
from replica.settings import ReplicaSettings
from replica.study import Purpose, Study, draw_protocol, paint_bones, study_rng
from replica.writer.folder import replicate

WRITTEN_SIZE = 0.3125


@dataclass(frozen=True)
class Wanted:
    """How many studies to look at, and where to put them."""

    work: Path
    seed: int
    workers: int
    train: int = real.TRAIN_STUDIES
    """Of which tables and protocols are drawn."""
    written: int = 24
    """Written to disk at `WRITTEN_SIZE`, all with masks."""
    boxed: int = real.BOXED
    """Studies whose boxes are drawn at full size; their bones alone are painted for that."""
    size: float = 1.0
    """Scale of the matrix of those."""


def distributions(wanted: Wanted) -> list[str]:
    """The section of the report, line by line."""
    tables = ReplicaSettings(
        out=wanted.work / "tables", train=wanted.train, seed=wanted.seed, labels_only=True, size=wanted.size
    )
    written = ReplicaSettings(
        out=wanted.work / "written", train=wanted.written, public=0, private=0, seed=wanted.seed,
        size=min(WRITTEN_SIZE, wanted.size), mask_share=1.0, box_share=1.0, workers=wanted.workers,
    )  # fmt: skip
    replicate(tables)
    replicate(written)
    drawn, boxes = draw(replace(tables, labels_only=False), wanted)
    return [
        f"Tables: {wanted.train:,} training studies as written with `--labels-only`, seed {wanted.seed}.",
        "",
        *table(cohort_lines(tables.out)),
        "",
        f"Series: the protocols of these studies, drawn without painting. {agreement(written)}",
        "",
        *table(series_lines(drawn)),
        "",
        f"Masks: {wanted.written} studies on disk at size {written.size:g}, read with nibabel, stray voxels removed. "
        f"Boxes: {len(boxes)} studies that have some, at size {wanted.size:g}.",
        "",
        *table(mask_lines(written.out) + box_lines(boxes)),
    ]


def draw(settings: ReplicaSettings, wanted: Wanted) -> tuple[list[Series], list[tuple[pd.DataFrame, float]]]:
    """The series of all training studies, unpainted, and the boxes of some."""
    cohort = make_cohort(settings)
    rows = [row for _, row in cohort[cohort["split"] == "train"].iterrows()]
    boxed = [row for row in rows if row["boxed"]][: wanted.boxed]
    with ProcessPoolExecutor(wanted.workers, get_context("spawn")) as pool:
        series = pool.map(draw_series, rows, repeat(settings), chunksize=50)
        series = list(cli.progress(series, unit="study", total=len(rows), what="protocols"))
        boxes = pool.map(draw_study_boxes, boxed, repeat(settings))
        return series, list(cli.progress(boxes, unit="study", total=len(boxed), what="boxes"))


def draw_series(row: pd.Series, settings: ReplicaSettings) -> Series:
    """What the files of one study would say, without painting it."""
    return as_drawn(draw_protocol(row, settings)[1])


def draw_study_boxes(row: pd.Series, settings: ReplicaSettings) -> tuple[pd.DataFrame, float]:
    """The boxes of one study as its annotators draw them, and the size of a pixel in mm."""
    index, (anatomy, protocol) = int(row["index"]), draw_protocol(row, settings)
    broken = [level for level in LEVELS if row[level]]
    injuries = draw_injuries(broken, settings.severity, study_rng(settings, index, Purpose.INJURIES))
    hu, labels = (np.zeros(protocol.grid.shape, kind) for kind in (np.float32, np.uint8))
    canvas = Canvas(hu, labels, protocol.grid, anatomy, make_texture(anatomy, protocol.grid))
    study = Study(protocol, anatomy, hu, labels, tuple(paint_bones(canvas, injuries)[0]))
    rng = study_rng(settings, index, Purpose.ANNOTATORS)
    rows = draw_boxes(study, row["StudyInstanceUID"], rng)
    return pd.DataFrame(rows), study.protocol.grid.spacing_mm[1]


def cohort_lines(out: Path) -> list[str]:
    """Patients and labels, from train.csv and truth/cohort.csv."""
    train = pd.read_csv(out / "competition" / "train.csv", dtype={"StudyInstanceUID": str})
    people = pd.read_csv(out / "truth" / "cohort.csv", dtype={"StudyInstanceUID": str})
    there = people[people["split"] == "train"]
    counts = dict(zip((*LEVELS, OVERALL), PUBLISHED["train"].positives, strict=True))
    total, broken = PUBLISHED["train"].studies, train[list(LEVELS)].sum(axis=1)
    lines = [
        share_line(f"{name} positive", count / total, train[name].mean()) for name, count in counts.items()
    ]
    lines += [
        share_line(
            f"{n} broken levels, of positives",
            count / sum(real.BROKEN_LEVELS),
            (broken == n).sum() / (broken > 0).sum(),
        )
        for n, count in enumerate(real.BROKEN_LEVELS, start=1)
    ]
    for split in ("public", "private"):
        ours = people.loc[people["split"] == split, OVERALL].mean()
        lines.append(share_line(f"{OVERALL} positive, {split} test", PUBLISHED[split].rates()[-1], ours))
    for (a, b), phi in real.PHI.items():
        ours = float(np.corrcoef(train[a], train[b])[0, 1])
        lines.append(f"| phi of {a} and {b} | {phi:.2f} | {ours:.2f} | {ours - phi:+.2f} |  |")
    age, overall = people["age"], people[OVERALL] == 1
    lines += [
        share_line("men", real.MEN / total, (there["sex"] == "M").mean()),
        line("age, mean", real.AGE_MEAN, there["age"].mean()),
        line("age, SD", real.AGE_SD, there["age"].std()),
        line("age of positives (all sets), mean", real.POSITIVE_AGE_MEAN, age[overall].mean()),
        line("age of negatives (all sets), mean", real.NEGATIVE_AGE_MEAN, age[~overall].mean()),
        share_line("studies with boxes", real.BOXED / total, there["boxed"].mean()),
        share_line("studies with a mask", real.MASKED / total, there["masked"].mean()),
        share_line(
            "studies with both", real.BOXED_AND_MASKED / total, (there["boxed"] & there["masked"]).mean()
        ),
    ]
    return lines


def series_lines(drawn: list[Series]) -> list[str]:
    """What the headers would say."""
    step = np.array([s.step_mm for s in drawn])
    thickness, pixel = np.array([s.thickness_mm for s in drawn]), np.array([s.pixel_mm for s in drawn])
    lines = quantile_lines("slices", real.SLICES, np.array([s.slices for s in drawn]))
    lines += quantile_lines("extent along z, mm", real.EXTENT_MM, np.array([s.extent_mm for s in drawn]))
    lines += quantile_lines("pixel spacing, mm", real.PIXEL_MM, pixel)
    low, high = real.TYPICAL_PIXEL_MM
    lines.append(
        f"| pixel spacing from {low} to {high} mm | typical | {((pixel >= low) & (pixel <= high)).mean():.1%} |  |  |"
    )
    lines += _shares("step", "mm", real.STEP_MM, step) + _shares(
        "SliceThickness", "mm", real.THICKNESS_MM, thickness
    )
    total = real.TRAIN_STUDIES
    for matrix, count in real.MATRICES.items():
        lines.append(
            share_line(
                "matrix {} x {}".format(*matrix), count / total, np.mean([s.matrix == matrix for s in drawn])
            )
        )
    lines += [
        share_line(
            "file numbers from the feet", real.FEET_FIRST / total, np.mean([s.feet_first for s in drawn])
        ),
        share_line(
            "first file is 2.dcm", real.NUMBERED_FROM_2 / total, np.mean([s.first_number == 2 for s in drawn])
        ),
        share_line(
            "first file is 59.dcm",
            real.NUMBERED_FROM_59 / total,
            np.mean([s.first_number == 59 for s in drawn]),
        ),
    ]
    for name in SYNTAX_NAMES.values():
        lines.append(share_line(f"syntax {name}", None, np.mean([s.syntax == name for s in drawn])))
    for stored in sorted({s.stored for s in drawn}):
        lines.append(share_line(f"stored as {stored}", None, np.mean([s.stored == stored for s in drawn])))
    return lines


def _shares(what: str, unit: str, published: dict[float, int], ours: np.ndarray) -> list[str]:
    """A row a published value, and one for all others."""
    lines, rest = [], 1.0
    for value, count in published.items():
        share = float(np.isclose(ours, value, atol=1e-3).mean())
        lines.append(share_line(f"{what} {value:g} {unit}", count / real.TRAIN_STUDIES, share))
        rest -= share
    return [
        *lines,
        share_line(f"{what} other", 1 - sum(published.values()) / real.TRAIN_STUDIES, max(rest, 0.0)),
    ]


def agreement(settings: ReplicaSettings) -> str:
    """How many series on disk say what their protocol says."""
    rows = [row for _, row in make_cohort(settings).iterrows()]
    other = []
    for row in rows:
        folder = settings.out / "competition" / "train_images" / row["StudyInstanceUID"]
        drawn, found = draw_series(row, settings), as_written(folder)
        other += [] if drawn.like(found) else [f"{row['StudyInstanceUID']} ({drawn.differences(found)})"]
    same = f"{len(rows) - len(other)} of {len(rows)}"
    text = f"On disk, {same} series at size {settings.size:g} have headers that say what was drawn"
    return f"{text}; others: {'; '.join(other)}." if other else f"{text}."


@dataclass(frozen=True)
class Spine:
    """One mask, measured: mm along z."""

    heights_mm: dict[str, float]
    overlaps_mm: dict[str, float]
    column_mm: float
    share: float


def measure_mask(path: Path) -> Spine | None:
    """Heights, overlaps and length of C1 to C7 in one mask; None where one of them is missing."""
    image = nibabel.as_closest_canonical(nibabel.load(path))  # to the right, front and head
    labels = np.asarray(image.dataobj).astype(np.uint8).transpose(2, 1, 0)[::-1]
    step_mm = float(image.header.get_zooms()[2])
    labels = remove_strays(np.minimum(labels, len(LEVELS) + 1))[0]
    spans = []
    for number in range(1, len(LEVELS) + 1):
        z = np.flatnonzero((labels == number).any(axis=(1, 2)))
        if not len(z):
            return None
        spans.append((z[0], z[-1] + 1))
    overlaps = {
        f"{LEVELS[i]}-{LEVELS[i + 1]}": (spans[i][1] - spans[i + 1][0]) * step_mm
        for i in range(len(LEVELS) - 1)
    }
    column = max(stop for _, stop in spans) - min(start for start, _ in spans)
    heights = {name: (stop - start) * step_mm for name, (start, stop) in zip(LEVELS, spans, strict=True)}
    return Spine(heights, overlaps, column * step_mm, column / len(labels))


def mask_lines(out: Path) -> list[str]:
    """Heights and lengths in the masks on disk."""
    paths = sorted((out / "competition" / "segmentations").glob("*.nii"))
    spines = [spine for spine in map(measure_mask, paths) if spine]
    lines = [
        line(
            f"{name}, height along z, mean, mm",
            HEIGHTS_MM[name],
            np.mean([s.heights_mm[name] for s in spines]),
            True,
            3,
        )
        for name in LEVELS
    ]
    low, high = real.OVERLAP_MM
    for pair in spines[0].overlaps_mm:
        ours = float(np.mean([s.overlaps_mm[pair] for s in spines]))
        verdict = "inside" if low <= ours <= high else "**outside**"
        lines.append(f"| {pair}, overlap along z, mean, mm | {low:g}-{high:g} | {ours:.3g} | {verdict} |  |")
    column = np.array([s.column_mm for s in spines])
    return [
        *lines,
        line("C1 to C7 along z, mean, mm", real.COLUMN_MM, column.mean(), True),
        line("the same, SD", real.COLUMN_SD_MM, column.std(ddof=1)),
        line("the same, min", real.COLUMN_RANGE_MM[0], column.min()),
        line("the same, max", real.COLUMN_RANGE_MM[1], column.max()),
        line("C1 to C7, share of the scan", real.COLUMN_SHARE, np.mean([s.share for s in spines]), True, 3),
        line("masks that lack a level", None, len(paths) - len(spines)),
    ]


def box_lines(boxes: list[tuple[pd.DataFrame, float]]) -> list[str]:
    """Boxes a study against the published counts, and how large they are."""
    found = [(rows, pixel_mm) for rows, pixel_mm in boxes if len(rows)]
    count = np.array([len(rows) for rows, _ in found])
    lines = [
        *quantile_lines("boxes a study", real.BOXES, count),
        line("boxes a study, mean", real.BOXES_MEAN, count.mean()),
    ]
    for side in ("width", "height"):
        mm = np.concatenate([rows[side].to_numpy() * pixel_mm for rows, pixel_mm in found])
        for q in (5, 50, 95):
            lines.append(
                line(
                    f"box {side}, {'median' if q == 50 else f'{q} %'}, mm",
                    None,
                    np.percentile(mm, q),
                    digits=3,
                )
            )
    return lines
