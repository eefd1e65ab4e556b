"""A page of pictures to judge the replica by eye: patients, every kind of fracture, every mimic.

All of it is seen through the scanner, noise and all, at the resolution of the files. Fractures and mimics
are shown twice, plain and outlined, in a thin stack of slices around their level.
"""

import html
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import replica_views as views  # noqa: E402, I001

from cspine import cli, storage  # noqa: E402
from replica.cohort.published import LEVELS, SITES  # noqa: E402
from replica.cohort.studies import make_cohort  # noqa: E402
from replica.injuries.fractures import EVERY_KIND, draw_injury, kinds_at  # noqa: E402
from replica.injuries.mimics import EVERY_MIMIC, LEVELS_OF  # noqa: E402
from replica.scanner.protocol import Protocol  # noqa: E402
from replica.settings import ReplicaSettings  # noqa: E402
from replica.study import Purpose, Study, draw_protocol, make_study, paint, study_rng  # noqa: E402

SEVERITIES = (0.25, 0.6, 0.95)
EXAMPLES = 2  # of each mimic
ON_THE_PICTURE, PICTURE_PX, PICTURE_BYTES = 4, (1000, 1600), 1_500_000
PICTURE_PLANES, AXIAL_MM = ("sagittal", "C5", "coronal"), 180.0  # shown across
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; background: #181818; color: #ddd; margin: 1.5rem; }
figure { margin: 1rem 0; } img { max-width: 100%; } figcaption { color: #aaa; font-size: .9rem; }
"""
INTRODUCTION = (
    "Synthetic patients. Bone window L400 W2000, soft-tissue window L50 W400. Fractures and mimics: axial, "
    "the same outlined, sagittal, the same outlined."
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
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
    workers: Annotated[int, Field(ge=1)] = len(os.sched_getaffinity(0))
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
        write_picture(settings.picture, [tiles for _, _, tiles in done["Patients"]])
    cli.log_stage(
        "gallery", read=f"seed {settings.seed}", wrote=settings.out, pictures=sum(map(len, done.values()))
    )


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
    """What is to be drawn of fractures and mimics: heading -> jobs, each in another patient."""
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
            jobs.setdefault(f"No fracture: {kind}", []).append(job)
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


def show_patient(
    out: Path, replica: ReplicaSettings, row: pd.Series
) -> tuple[str, list[str], list[np.ndarray]]:
    """Scan a patient and write the planes; returns caption, file names, and tiles for the contact sheet."""
    study = make_study(row, replica)
    hu = views.scanned(study, study_rng(replica, int(row["index"]), Purpose.SCAN))
    names = []
    for window, name in ((views.BONE, "bone"), (views.SOFT, "soft")):
        names.append(f"patient-{row['index']}-{name}.png")
        save(out / names[-1], views.sheet(study, hu, window, round(420 * min(1.0, 2 * replica.size))))
    broken = ", ".join(
        f"{wound.injury.level} {wound.injury.kind} {wound.injury.severity:.2f}" for wound in study.wounds
    )
    alike = ", ".join(f"{found.level} {found.kind}" for found in study.mimics)
    caption = f"{describe(row, study.protocol)}. Fractures: {broken or 'none'}. Mimics: {alike or 'none'}."
    return caption, names, tiles_of(study, hu)


def tiles_of(study: Study, hu: np.ndarray) -> list[np.ndarray]:
    """One row of the contact sheet: three planes, each in both windows."""
    rows, columns = PICTURE_PX[0] // ON_THE_PICTURE, PICTURE_PX[1] // (2 * len(PICTURE_PLANES))
    whole_mm = hu.shape[0] * study.protocol.grid.spacing_mm[0] / rows
    tiles = []
    for name in PICTURE_PLANES:
        plane, spacing = views.planes(study, hu)[name]
        pixel_mm = AXIAL_MM / columns if name in views.AXIAL_LEVELS else whole_mm
        for window in (views.BONE, views.SOFT):
            image = views.centred(views.grey(plane, window), plane)
            tiles.append(views.framed(views.square(image, spacing, pixel_mm), rows, columns))
    return tiles


def show_fracture(
    out: Path, replica: ReplicaSettings, row: pd.Series, what: tuple
) -> tuple[str, list[str], None]:
    """Break one level of a patient, and write where it lies; returns caption and file names."""
    level, kind, severity = what
    anatomy, protocol = draw_protocol(row, replica)
    rng = study_rng(replica, int(row["index"]), Purpose.PICTURE)
    injury = draw_injury(level, severity, rng, kind)
    study = paint(anatomy, views.around_level(protocol, anatomy, level), {level: injury})
    name = f"fracture-{kind}-{severity:g}.png"
    save(out / name, views.finding(study, views.scanned(study, rng), study.wounds[0]))
    return f"{level} {kind}, severity {severity:g}. {describe(row, protocol)}", [name], None


def show_mimic(
    out: Path, replica: ReplicaSettings, row: pd.Series, what: tuple
) -> tuple[str, list[str], None]:
    """Give a patient one mimic, and write where it lies; returns caption and file names."""
    level, kind = what
    anatomy, protocol = draw_protocol(row, replica)
    study = paint(anatomy, views.around_level(protocol, anatomy, level), {}, mimics={level: (kind,)})
    (found,) = (record for record in study.mimics if record.kind == kind)
    name = f"mimic-{kind}-{level}.png"
    hu = views.scanned(study, study_rng(replica, int(row["index"]), Purpose.PICTURE))
    save(out / name, views.finding(study, hu, found))
    return f"{level} {kind}. {describe(row, protocol)}", [name], None


def describe(row: pd.Series, protocol: Protocol) -> str:
    """Who was scanned, and how finely."""
    step_mm, _, pixel_mm = protocol.grid.spacing_mm
    who = {"M": "man", "F": "woman"}[row["sex"]]
    return f"Site {row['site']}, {who} of {row['age']}, step {step_mm:.3g} mm, pixel {pixel_mm:.2g} mm"


def save(path: Path, image: np.ndarray) -> None:
    """Write a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert good, path
    storage.write_bytes(path, data.tobytes())


def write_page(path: Path, done: dict[str, list[tuple]]) -> None:
    """Write the page; its pictures lie beside it."""
    parts = [f"<h1>Replica</h1><p>{INTRODUCTION}</p>"]
    for heading, results in done.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        for caption, names, _ in results:
            pictures = "".join(f"<img src='{name}' alt='' loading='lazy'>" for name in names)
            parts.append(f"<figure>{pictures}<figcaption>{html.escape(caption)}</figcaption></figure>")
    head = f"<meta charset='utf-8'><title>Replica</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    page = f"<!doctype html>\n<html lang='en'><head>{head}</head><body>{body}</body></html>\n"
    storage.write_text(path, page)


def write_picture(path: Path, tiles: Iterable[list[np.ndarray]]) -> None:
    """Write the contact sheet: patients below each other, every third of those drawn."""
    rows = list(tiles)
    rows = rows[:: max(1, len(rows) // ON_THE_PICTURE)][:ON_THE_PICTURE]
    image = views.framed(np.vstack([np.hstack(row) for row in rows]), *PICTURE_PX)
    save(path, image)
    size = path.stat().st_size
    assert size < PICTURE_BYTES, f"{path}: {size} bytes are too many for a page; coarsen its greys"


if __name__ == "__main__":
    cli.run(main, Settings)
