"""What a replica costs: seconds and memory of one large study, and seconds of the tables of a whole competition."""

import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from pydicom.uid import JPEGLosslessSV1

from cspine.competition.labels import PUBLISHED
from replica.annotators.boxes import draw_boxes
from replica.annotators.masks import write_fractures, write_mask
from replica.cohort.studies import make_cohort
from replica.settings import ReplicaSettings
from replica.study import Purpose, draw_protocol, make_study, study_rng
from replica.writer.folder import write_series

GOAL_S, GOAL_GB, GOAL_TABLES_S, GOAL_SMALL_S = 25.0, 2.0, 10.0, 0.9
SLICES, SMALL = 320, 0.3125
SCRIPT = Path(__file__).resolve().parents[1] / "src" / "replicate.py"


@dataclass(frozen=True)
class Wanted:
    """What is timed, and how often."""

    work: Path
    seed: int
    rounds: int = 3
    size: float = 1.0
    studies: int = sum(counts.studies for counts in PUBLISHED.values())
    """Of the tables."""


@dataclass(frozen=True)
class Spent:
    """What one round took."""

    cpu_s: float
    clock_s: float
    peak_gb: float = 0.0
    slices: int = 0


def cost(wanted: Wanted) -> list[str]:
    """The section of the report, line by line: medians of all rounds."""
    rounds = range(wanted.rounds)
    large = [measure_study(wanted, wanted.size, wanted.work / f"large{i}") for i in rounds]
    small = [measure_study(wanted, min(SMALL, wanted.size), wanted.work / f"small{i}") for i in rounds]
    tables = [measure_tables(wanted, wanted.work / f"tables{i}") for i in rounds]
    side = ReplicaSettings(out=wanted.work, size=wanted.size).matrix
    what = f"study of {large[0].slices} slices {side} x {side}, JPEG Lossless"
    peak_gb = max(spent.peak_gb for spent in large)
    return [
        f"Median of {wanted.rounds} rounds, each in a process of its own on one core; a study is painted, scanned, "
        "encoded and written with its boxes and masks. Memory is the process's peak. On a busy machine the clock shows "
        "more than the processor spent.",
        "",
        "| what | measured | by the clock | goal | met |",
        "|---|---|---|---|---|",
        _row(what, large, GOAL_S),
        _row(f"the same at size {SMALL:g}", small, GOAL_SMALL_S),
        _row(f"`--labels-only`, {wanted.studies:,} patients", tables, GOAL_TABLES_S),
        f"| memory of the first | {peak_gb:.2f} GB |  | {GOAL_GB:g} GB | {_met(peak_gb, GOAL_GB)} |",
    ]


def _row(what: str, spent: list[Spent], goal_s: float) -> str:
    cpu_s = statistics.median(one.cpu_s for one in spent)
    clock_s = statistics.median(one.clock_s for one in spent)
    return f"| {what} | {cpu_s:.2f} s | {clock_s:.2f} s | {goal_s:g} s | {_met(cpu_s, goal_s)} |"


def _met(measured: float, goal: float) -> str:
    return "yes" if measured <= goal else "**no**"


def measure_study(wanted: Wanted, size: float, folder: Path) -> Spent:
    """Write one study in a new process on one core."""
    folder.mkdir(parents=True)
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(write_study, (folder, wanted.seed, size))


def write_study(folder: Path, seed: int, size: float) -> Spent:
    """Write the patient whose series is nearest to `SLICES`."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = ReplicaSettings(out=folder, seed=seed, size=size)
    cohort = make_cohort(settings).head(200)
    patients = [row for _, row in cohort.iterrows() if row["patient_overall"] and not row["oddity"]]
    whole = replace(settings, size=1.0)
    row = min(patients, key=lambda row: abs(draw_protocol(row, whole)[1].grid.shape[0] - SLICES))
    uid, index = row["StudyInstanceUID"], int(row["index"])
    started, cpu = time.perf_counter(), time.process_time()
    study = make_study(row, settings)
    study = replace(study, protocol=replace(study.protocol, syntax=str(JPEGLosslessSV1)))
    slices = write_series(folder, study, uid, settings, index)
    annotator = study_rng(settings, index, Purpose.ANNOTATORS)
    draw_boxes(study, uid, annotator)
    write_mask(folder / f"{uid}.nii", study, annotator)
    write_fractures(folder / f"{uid}.nii.gz", study)
    return Spent(time.process_time() - cpu, time.perf_counter() - started, peak_gb(), slices)


def peak_gb() -> float:
    """The largest resident memory of this process; unlike getrusage's, a parent's counts for nothing."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024 / 1e9


def measure_tables(wanted: Wanted, folder: Path) -> Spent:
    """Run the command that writes all tables and no image, its start included."""
    train = max(1, wanted.studies - PUBLISHED["public"].studies - PUBLISHED["private"].studies)
    flags = ["--labels-only", "--seed", str(wanted.seed), "--out", str(folder), "--train", str(train)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(SCRIPT), *flags], check=True, capture_output=True)
    clock_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock_s)
