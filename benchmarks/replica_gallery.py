"""A page of pictures to judge the replica by eye: patients, every kind of fracture and of mimic.

All of it is seen through the scanner, noise and all, at the resolution of the files. Fractures and mimics
are shown twice, plain and outlined, in a thin stack of slices around their level. What a picture shows is
written above it, and more of it below.
"""

import html
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import replica_views as views  # noqa: E402, I001

from cspine import cli, storage  # noqa: E402
from cspine.settings.execution import available_cpus  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402
from replica.cohort.published import LEVELS, SITES  # noqa: E402
from replica.cohort.studies import make_cohort  # noqa: E402
from replica.injuries.bones import Wound  # noqa: E402
from replica.injuries.fractures import EVERY_KIND, Injury, draw_injury, kinds_at  # noqa: E402
from replica.injuries.mimics import EVERY_MIMIC, LEVELS_OF, Mimic  # noqa: E402
from replica.scanner.protocol import Protocol  # noqa: E402
from replica.settings import ReplicaSettings  # noqa: E402
from replica.study import Purpose, Study, draw_protocol, make_study, paint, study_rng  # noqa: E402

SEVERITIES = (0.25, 0.6, 0.95)
EXAMPLES = 2  # of each mimic of a fracture
ON_THE_PICTURE, PICTURE_PX, PICTURE_BYTES = 4, (1000, 1600), 1_500_000
PICTURE_PLANES, AXIAL_MM = ("sagittal", "C5", "coronal"), 180.0  # shown across
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; background: #181818; color: #ddd; margin: 1.5rem; }
figure { margin: 1rem 0; } img { max-width: 100%; } figcaption { color: #aaa; font-size: .9rem; }
"""
INTRODUCTION = (
    "Synthetic patients: study N of seed S is row N of the full cohort that a replica of that seed draws. Axial and "
    "coronal planes have the patient's left on the right, sagittal planes the front on the left. A patient's planes "
    "run through the named levels, wherever the fractures lie. A single fracture, or mimic of one, is given to its "
    "patient for that picture alone. A mimic of a fracture looks like one and is none."
)


class Picture(NamedTuple):
    """One picture of the page: its file beside the page, and what it shows."""

    name: str
    caption: str


class Shown(NamedTuple):
    """What one job has drawn: pictures, and a patient's tiles for the contact sheet."""

    pictures: list[Picture]
    tiles: Sequence[np.ndarray] = ()


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Flags of replica_gallery.py."""

    out: Path = ROOT / "data" / "replica-gallery"
    """A folder for the page, index.html, and its pictures."""
    picture: Path | None = None
    """Write four of the patients as one picture, a PNG, to this file as well."""
    patients: Annotated[int, Field(ge=1, le=100)] = 12
    """Patients that are shown whole."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the replica: other seed, other patients."""
    size: Annotated[float, Field(ge=0.125, le=1)] = 1.0
    """Scale of the 512 x 512 matrix."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes."""
    quick: bool = False
    """A patient and a few findings at a low resolution: to see that it runs."""


def main(settings: Settings) -> None:
    """Draw everything, write the page and the picture."""
    if settings.quick:
        settings = replace(settings, patients=1, size=0.125)
    settings.out.mkdir(parents=True, exist_ok=True)
    replica = ReplicaSettings(out=settings.out, seed=settings.seed, size=settings.size)
    patients = choose_patients(make_cohort(replica), max(settings.patients, len(SITES)))
    jobs = {"Patients": [(show_patient, settings.out, replica, row) for row in patients[: settings.patients]]}
    jobs |= findings(settings, replica, patients)
    done = run(jobs, settings.workers)
    write_page(settings.out / "index.html", done)
    if settings.picture:
        write_picture(settings.picture, [shown.tiles for shown in done["Patients"]])
    count = sum(len(shown.pictures) for results in done.values() for shown in results)
    cli.log_stage("gallery", read=f"seed {settings.seed}", wrote=settings.out, pictures=count)


def choose_patients(cohort: pd.DataFrame, count: int) -> list[pd.Series]:
    """Patients from one site after the other; men and women, broken and whole, of all ages."""
    cohort = cohort[cohort["oddity"] == ""]
    ages = np.random.default_rng(0).permutation(np.linspace(20, 90, count))
    chosen: list[pd.Series] = []
    for i, age in enumerate(ages):
        rows = cohort[
            (cohort["site"] == i % len(SITES) + 1) & ~cohort["index"].isin([r["index"] for r in chosen])
        ]
        likeness = (rows["age"] - age).abs()
        likeness += 20 * (rows["sex"] != "MF"[i % 2]) + 20 * (rows["patient_overall"] != (i // 2 + 1) % 2)
        chosen.append(rows.loc[likeness.idxmin()])
    return chosen


def findings(
    settings: Settings, replica: ReplicaSettings, patients: list[pd.Series]
) -> dict[str, list[tuple]]:
    """What is to be drawn of fractures and of their mimics: heading -> jobs, each in another patient."""
    severities, examples = (SEVERITIES[1:2], 1) if settings.quick else (SEVERITIES, EXAMPLES)
    jobs: dict[str, list[tuple]] = {}
    number = 0
    for kind in EVERY_KIND:
        levels = [level for level in LEVELS if kind in kinds_at(level)]
        for i, severity in enumerate(severities):
            what = (levels[i % len(levels)], kind, severity)
            job = (show_fracture, settings.out, replica, patients[number % len(patients)], what)
            jobs.setdefault(f"Fracture: {kind}", []).append(job)
            number += 1
    for kind in EVERY_MIMIC:
        for i in range(examples):
            what = (LEVELS_OF[kind][(2 * i) % len(LEVELS_OF[kind])], kind)
            job = (show_mimic, settings.out, replica, patients[number % len(patients)], what)
            jobs.setdefault(f"Mimic of a fracture: {kind}", []).append(job)
            number += 1
    return jobs


def run(jobs: dict[str, list[tuple[Callable, ...]]], workers: int) -> dict[str, list]:
    """Do all jobs in processes; heading -> results in the jobs' order."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = {heading: [pool.submit(*job) for job in these] for heading, these in jobs.items()}
        everything = [future for these in futures.values() for future in these]
        for future in cli.progress(as_completed(everything), unit="picture", total=len(everything)):
            future.result()  # the first error ends the run
        return {heading: [future.result() for future in these] for heading, these in futures.items()}


def show_patient(out: Path, replica: ReplicaSettings, row: pd.Series) -> Shown:
    """Scan a patient and write the planes in both windows."""
    study = make_study(row, replica)
    hu = views.scanned(study, study_rng(replica, int(row["index"]), Purpose.SCAN))
    broken = "; ".join(fracture_name(wound.injury) for wound in study.wounds)
    mimics = "; ".join(f"{found.level} {found.kind}" for found in study.mimics)
    levels = ", ".join(views.AXIAL_LEVELS)
    pictures = []
    for window, name in ((views.BONE, "bone"), (views.SOFT, "soft")):
        sheet = views.sheet(study, hu, window, round(420 * min(1.0, 2 * replica.size)))
        title = f"{views.WINDOW_NAMES[window]}, {study_name(row, replica)}"
        caption = (
            f"Window {views.WINDOW_NAMES[window]}; sagittal and coronal through {views.MIDDLE}, axial at {levels}. "
            f"{describe(row, replica, study.protocol)}. Fractures: {broken or 'none'}. "
            f"Mimics of fractures: {mimics or 'none'}."
        )
        pictures.append(Picture(f"patient-{row['index']}-{name}.png", caption))
        save(out / pictures[-1].name, views.headed(sheet, title))
    return Shown(pictures, tiles_of(study, hu, study_name(row, replica)))


def tiles_of(study: Study, hu: np.ndarray, name: str) -> list[np.ndarray]:
    """One row of the contact sheet: three planes, each in both windows; the study's name above the first."""
    rows = PICTURE_PX[0] // ON_THE_PICTURE - 2 * views.HEAD_PX
    columns = PICTURE_PX[1] // (2 * len(PICTURE_PLANES))
    whole_mm = hu.shape[0] * study.protocol.grid.spacing_mm[0] / rows
    tiles = []
    for shown in PICTURE_PLANES:
        plane, spacing = views.planes(study, hu)[shown]
        pixel_mm = AXIAL_MM / columns if shown in views.AXIAL_LEVELS else whole_mm
        for window in (views.BONE, views.SOFT):
            image = views.centred(views.grey(plane, window), plane)
            tile = views.framed(views.square(image, spacing, pixel_mm), rows, columns)
            tile = views.headed(tile, f"{views.plane_name(shown)}, {views.WINDOW_NAMES[window]}")
            tiles.append(views.headed(tile, "" if tiles else name))
    return tiles


def show_fracture(out: Path, replica: ReplicaSettings, row: pd.Series, what: tuple[str, str, float]) -> Shown:
    """Break one level of a patient, and write where the fracture lies."""
    level, kind, severity = what
    anatomy, protocol = draw_protocol(row, replica)
    rng = study_rng(replica, int(row["index"]), Purpose.PICTURE)
    injury = draw_injury(level, severity, rng, kind)
    study = paint(anatomy, views.around_level(protocol, anatomy, level), {level: injury}, mimics={})
    hu, wound = views.scanned(study, rng), study.wounds[0]
    title = f"Fracture: {fracture_name(wound.injury)}"
    return show_finding(out, replica, row, (study, hu, wound), (f"fracture-{kind}-{severity:g}", title))


def show_mimic(out: Path, replica: ReplicaSettings, row: pd.Series, what: tuple[str, str]) -> Shown:
    """Give a patient one mimic of a fracture and no fracture, and write where the mimic lies."""
    level, kind = what
    anatomy, protocol = draw_protocol(row, replica)
    study = paint(anatomy, views.around_level(protocol, anatomy, level), {}, mimics={level: (kind,)})
    (found,) = (record for record in study.mimics if record.kind == kind)
    hu = views.scanned(study, study_rng(replica, int(row["index"]), Purpose.PICTURE))
    title = f"Mimic of a fracture: {found.level} {found.kind}"
    return show_finding(out, replica, row, (study, hu, found), (f"mimic-{kind}-{level}", title))


def show_finding(
    out: Path,
    replica: ReplicaSettings,
    row: pd.Series,
    scan: tuple[Study, np.ndarray, Wound | Mimic],
    names: tuple[str, str],
) -> Shown:
    """Write a finding of a scanned study; names: of the file, and what it is."""
    stem, title = names
    window, (study, _, _) = views.WINDOW_NAMES[views.BONE], scan
    caption = (
        f"{title}. Window {window}; axial and sagittal, each plain and outlined, {views.CROP_MM:g} mm across. "
        f"{describe(row, replica, study.protocol)}."
    )
    # a kind may be shown twice at one level, in two patients
    picture = Picture(f"{stem}-{row['index']}.png", caption)
    heading = f"{title}, {window}, {study_name(row, replica)}"
    save(out / picture.name, views.headed(views.finding(*scan), heading))
    return Shown([picture])


def fracture_name(injury: Injury) -> str:
    """The level that is broken, the kind and how severe it is."""
    return f"{injury.level} {injury.kind}, severity {injury.severity:.2f}"


def study_name(row: pd.Series, replica: ReplicaSettings) -> str:
    """Which study it is, so that it can be drawn again."""
    return f"study {row['index']} of seed {replica.seed}"


def describe(row: pd.Series, replica: ReplicaSettings, protocol: Protocol) -> str:
    """Which study, who was scanned, and how finely."""
    step_mm, _, pixel_mm = protocol.grid.spacing_mm
    who = {"M": "man", "F": "woman"}[row["sex"]]
    study = study_name(row, replica).capitalize()
    return (
        f"{study}: site {row['site']}, {who} of {row['age']}, step {step_mm:.3g} mm, pixel {pixel_mm:.2g} mm"
    )


def save(path: Path, image: np.ndarray) -> None:
    """Write a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert good, path
    storage.write_bytes(path, data.tobytes())


def write_page(path: Path, done: dict[str, list[Shown]]) -> None:
    """Write the page; its pictures lie beside it, each with its caption."""
    parts = [f"<h1>Replica</h1><p>{html.escape(INTRODUCTION)}</p>"]
    for heading, results in done.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        for picture in (picture for shown in results for picture in shown.pictures):
            image = f"<img src='{picture.name}' alt='' loading='lazy'>"
            parts.append(f"<figure>{image}<figcaption>{html.escape(picture.caption)}</figcaption></figure>")
    head = f"<meta charset='utf-8'><title>Replica</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    page = f"<!doctype html>\n<html lang='en'><head>{head}</head><body>{body}</body></html>\n"
    storage.write_text(path, page)


def write_picture(path: Path, tiles: Iterable[Sequence[np.ndarray]]) -> None:
    """Write the contact sheet: patients below each other, every third of those drawn."""
    rows = list(tiles)
    rows = rows[:: max(1, len(rows) // ON_THE_PICTURE)][:ON_THE_PICTURE]
    image = views.framed(np.vstack([np.hstack(row) for row in rows]), *PICTURE_PX)
    save(path, image)
    size = path.stat().st_size
    assert size < PICTURE_BYTES, f"{path}: {size} bytes are too many for a page; coarsen its greys"


if __name__ == "__main__":
    cli.run(main, Settings)
