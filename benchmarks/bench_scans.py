"""Prepare beside the loop that published kits use and beside the limit, in slices a second, from one run.

(a) ours: the stage `prepare` over whole studies, every check, resampled, written to the cache, all cores.
(b) published: pydicom with pylibjpeg over files sorted by number, stacked and saved with np.save, one process.
(c) limit: dicomsdl's bare decode of the same files, no order, no HU, no check, in as many processes as (a),
    and the bytes that (a) writes to the cache.
(d) ours with every header parsed by pydicom instead of the strict parser of `cspine.dicom.data_elements`: what that
    parser saves.
The slices are a replica's, so they compress as CT does. All files are read once before, so no disk counts.
"""

import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pydicom_headers import prepare_by_pydicom  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.dicom.reader import read_series  # noqa: E402
from cspine.execution.store import StudyStore  # noqa: E402
from cspine.preprocessing.prepare import prepare  # noqa: E402
from cspine.settings.execution import ExecutionSettings, available_cpus  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402

SYNTAXES = {"explicit LE": "1.2.840.10008.1.2.1", "JPEG Lossless SV1": "1.2.840.10008.1.2.4.70"}
OURS, PUBLISHED, LIMIT = "(a) ours", "(b) published loop", "(c) limit"
BY_PYDICOM = "(d) ours, headers by pydicom"
REAL_SLICES, REAL_STUDIES = 711_601, 2_019
GOALS = {PUBLISHED: 5.0, LIMIT: 0.85}
LIBRARIES = (
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "dicomsdl",
)


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Flags of bench_scans.py."""

    out: Path = ROOT / "benchmarks" / "results" / "scans.md"
    """The table is written here."""
    work: Path = ROOT / "data"
    """Files are made in a folder of its own in here, and removed afterwards."""
    studies: Annotated[int, Field(ge=1)] = 32
    """Studies of JPEG that (a) and (c) read; of explicit LE, which is quicker, three times as many."""
    slices: Annotated[int, Field(ge=3)] = 320
    """Slices a study."""
    size: Annotated[float, Field(ge=0.125, le=1)] = 1.0
    """Scale of the 512 x 512 matrix."""
    spacing_mm: Annotated[float, Field(gt=0)] = 2.0
    """Of the cached volumes; 2 mm is that of the presets for real data."""
    rounds: Annotated[int, Field(ge=1)] = 5
    """Every measurement is repeated this often, in turns."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes of (a) and (c)."""
    quick: bool = False
    """Tiny files, one round: to see that it runs. Its figures mean nothing."""

    def count(self, syntax: str) -> int:
        """Studies of a syntax."""
        return self.studies * (3 if syntax == "explicit LE" else 1)


def main(settings: Settings) -> None:
    """Make the files, measure in turns, write and print the table."""
    if settings.quick:
        settings = replace(settings, studies=2, slices=12, size=0.125, rounds=1)
    settings.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.work, prefix="bench-scans-") as work:
        series = make_series(Path(work), settings)
        seconds: dict[tuple[str, str], list[float]] = {}
        startup = [start_up(Path(work), settings) for _ in range(settings.rounds)]
        for _ in range(settings.rounds):
            for syntax, raw in series.items():
                for name, taken in measure(raw, settings, settings.count(syntax)).items():
                    seconds.setdefault((syntax, name), []).append(taken)
        check(series)
    report = table(settings, seconds, statistics.median(startup))
    storage.write_text(settings.out, report)
    print(report)


def make_series(work: Path, settings: Settings) -> dict[str, Path]:
    """Write the studies of each syntax and read every file once; syntax -> competition folder."""
    from ct_series import draw_slices, write_competition  # here, since the workers of (a) need no replica

    protocol, stored = draw_slices(settings.slices, settings.size)
    series = {syntax: work / syntax.replace(" ", "_") for syntax in SYNTAXES}
    for syntax, raw in series.items():
        write_competition(raw, protocol, stored, SYNTAXES[syntax], settings.count(syntax))
        for path in raw.glob("train_images/*/*.dcm"):
            path.read_bytes()
    return series


def start_up(work: Path, settings: Settings) -> float:
    """Seconds that `prepare` takes before any work: one study of three slices for each worker."""
    from ct_series import draw_slices, write_competition

    raw = work / "start_up"
    if not raw.exists():
        write_competition(raw, *draw_slices(3, 0.125), SYNTAXES["explicit LE"], settings.workers)
    return ours(raw, settings)[0]


def measure(raw: Path, settings: Settings, studies: int) -> dict[str, float]:
    """One round over one syntax; seconds a study."""
    total_s, written = ours(raw, settings)
    folders = sorted((raw / "train_images").iterdir())
    loop = folders[: max(1, min(2, studies // 4))]
    with processes(1) as pool, tempfile.TemporaryDirectory(dir=raw) as out:
        started = time.perf_counter()
        pool.starmap(published_loop, [(folder, Path(out) / f"{folder.name}.npy") for folder in loop])
        loop_s = time.perf_counter() - started
    with processes(settings.workers) as pool, tempfile.TemporaryDirectory(dir=raw) as out:
        started = time.perf_counter()
        tasks = [(folder, Path(out) / folder.name, written // studies) for folder in folders]
        pool.starmap(bare_decode, tasks, chunksize=1)
        limit_s = time.perf_counter() - started
    by_pydicom_s, _ = ours(raw, settings, by_pydicom=True)
    return {
        OURS: total_s / studies,
        PUBLISHED: loop_s / len(loop),
        LIMIT: limit_s / studies,
        BY_PYDICOM: by_pydicom_s / studies,
    }


def ours(raw: Path, settings: Settings, by_pydicom: bool = False) -> tuple[float, int]:
    """Run the stage into a new cache; seconds from its call to its end, and bytes that it wrote."""
    execution = ExecutionSettings(workers=settings.workers)
    with tempfile.TemporaryDirectory(dir=raw) as cache:
        store = StudyStore(cache, {"spacing_mm": settings.spacing_mm})
        started = time.perf_counter()
        if by_pydicom:
            batch = prepare_by_pydicom(raw, store, settings.spacing_mm, execution)
        else:
            batch = prepare(raw, store, settings.spacing_mm, execution)
        seconds = time.perf_counter() - started
        assert not batch.failed and not batch.noted, batch.rows
        return seconds, sum(path.stat().st_size for path in Path(cache).glob("*/*"))


def published_loop(folder: Path, out: Path) -> None:
    """What published kits do for a study: by file number, pydicom with pylibjpeg, stack, save."""
    import pydicom

    stack = []
    for path in sorted(folder.glob("*.dcm"), key=lambda path: int(path.stem)):
        data = pydicom.dcmread(path)
        if data.file_meta.TransferSyntaxUID.is_compressed:
            data.pixel_array_options(decoding_plugin="pylibjpeg")
        stack.append(data.pixel_array)
    np.save(out, np.stack(stack))


def bare_decode(folder: Path, out: Path, written: int) -> None:
    """Decode every file of a study into one buffer with dicomsdl, then write so many bytes."""
    import dicomsdl

    pixels = None
    for path in folder.iterdir():
        data = dicomsdl.open_file(str(path))
        if pixels is None:
            info = data.getPixelDataInfo()
            pixels = np.empty((info["Rows"], info["Cols"]), info["dtype"])
        data.copyFrameData(0, pixels)
    out.write_bytes(bytes(written))


@contextmanager
def processes(count: int) -> Iterator[Pool]:
    """Processes that have started and loaded their libraries before the clock runs."""
    context = get_context("spawn")
    ready = context.Barrier(count + 1)
    with context.Pool(count, initializer=load, initargs=[ready]) as pool:
        ready.wait()
        yield pool


def load(ready: Barrier) -> None:
    """Import what (b) and (c) use, then wait for the others."""
    import dicomsdl  # noqa: F401
    from pydicom.pixels.decoders import JPEGLosslessSV1Decoder

    assert "pylibjpeg" in JPEGLosslessSV1Decoder.available_plugins
    ready.wait()


def check(series: dict[str, Path]) -> None:
    """What (a) reads equals what (b) reads, in both syntaxes; else the comparison means nothing."""
    for raw in series.values():
        folder = next((raw / "train_images").iterdir())
        published_loop(folder, raw / "stack.npy")
        volume, stack = read_series(folder), np.load(raw / "stack.npy", allow_pickle=False)
        assert len(np.unique(volume.hu.astype(np.int32) - stack)) == 1, folder  # the rescale intercept


def table(settings: Settings, seconds: dict[tuple[str, str], list[float]], startup_s: float) -> str:
    """The report in Markdown."""
    lines = [
        "# Scans: how fast series become cached volumes",
        "",
        "```sh",
        shlex.join(["python", *(os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:])]),
        "```",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {settings.workers} processes of {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + ".",
        "",
        "| series | what | processes | slices/s | lowest-highest | studies/h | "
        f"hours for {REAL_SLICES:,} slices | ours / this |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for syntax in SYNTAXES:
        lines += rows(settings, syntax, seconds, startup_s)
    return "\n".join([*lines, "", *notes(settings, startup_s), ""])


def rows(
    settings: Settings, syntax: str, seconds: dict[tuple[str, str], list[float]], startup_s: float
) -> list[str]:
    """The lines of a syntax."""
    studies, lines = settings.count(syntax), []
    rates = {}
    for name in (OURS, PUBLISHED, LIMIT, BY_PYDICOM):
        once = startup_s / studies if name in (OURS, BY_PYDICOM) else 0.0
        # A start that takes most of so short a run can't be told from the work: take off half at most.
        rates[name] = [settings.slices / max(taken - once, taken / 2) for taken in seconds[syntax, name]]
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in middle.items():
        hours = REAL_SLICES / rate / 3600
        goal = f" (goal {GOALS[name]:g})" if name in GOALS else ""
        against = "" if name == OURS else f"{middle[OURS] / rate:.2f}{goal}"
        spread = f"{min(rates[name]):.0f}-{max(rates[name]):.0f}"
        lines.append(
            f"| {syntax} | {name} | {1 if name == PUBLISHED else settings.workers} | {rate:.0f} | {spread} | "
            f"{rate * 3600 * REAL_STUDIES / REAL_SLICES:.0f} | {hours:.2f} | {against} |"
        )
    return lines


def notes(settings: Settings, startup_s: float) -> list[str]:
    """What the figures are made of."""
    side = round(512 * settings.size / 8) * 8
    counts = ", ".join(f"{settings.count(syntax)} of {syntax}" for syntax in SYNTAXES)
    return [
        f"Median of {settings.rounds} rounds in turns; studies of {settings.slices} slices {side} x {side} from a "
        f"replica ({counts}, hard links of one), cached at {settings.spacing_mm:g} mm.",
        "All files were read once before the clock ran (warm page cache). (b) and (c) start their processes and "
        f"load their libraries before the clock; (a) and (d) need {startup_s:.1f} s for that once a run, which is "
        f"taken off here: over {REAL_STUDIES:,} studies it is nothing.",
        f"studies/h: of the real length, {REAL_SLICES / REAL_STUDIES:.0f} slices on average. "
        "In both syntaxes (a) reads the very pixels that (b) reads.",
    ]


def cpu() -> str:
    """The processor's name."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


if __name__ == "__main__":
    cli.run(main, Settings)
