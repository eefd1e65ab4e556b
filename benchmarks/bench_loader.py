"""How long does a training sample take to make, beside the bare warp that it can't do without, and beside a GPU's step?

One core, one study: seven vertebra stacks cut out of a cached column, varied as in training, with their targets. The
bare warp is cv2.warpAffine alone, at the size that the stacks need, four planes at a time as the stacks do it; plane by
plane is beside it. A loader with as many processes as the
preset asks for has a step's time for each of its samples; the step's time follows from `make plan`'s arithmetic and its
stated throughput.
"""

import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from bench_scans import cpu  # noqa: E402
from markdown_table import markdown  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.competition.labels import LEVELS  # noqa: E402
from cspine.execution.store import StudyStore  # noqa: E402
from cspine.preprocessing.column import Column, Extent  # noqa: E402
from cspine.preprocessing.stacks import WARPED_TOGETHER  # noqa: E402
from cspine.settings.preprocessing import StackSettings  # noqa: E402
from cspine.settings.presets import MACHINES, PRESETS, Preset  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402
from cspine.training.cost import BACK_TOO, FOLDS, cost_of  # noqa: E402
from cspine.training.datasets import ColumnDataset, start_worker  # noqa: E402

HEIGHT_MM, WIDE_MM = 150.0, (110.0, 100.0)
"""A column's size: C1 to C7 with their margins."""


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_loader.py."""

    out: Path = ROOT / "benchmarks" / "results" / "loader.md"
    """The table is written here."""
    rounds: Annotated[int, Field(ge=3)] = 9
    """Samples of each kind; the median counts."""


def a_column(spacing_mm: tuple[float, ...]) -> Column:
    """A column of noise at a preset's spacing: what is in it plays no part."""
    random = np.random.default_rng(0)
    shape = [round(mm / step) for mm, step in zip((HEIGHT_MM, *WIDE_MM), spacing_mm, strict=True)]
    labels = np.zeros([round(n) for n in (HEIGHT_MM / 3, WIDE_MM[0] / 3, WIDE_MM[1] / 3)], np.uint8)
    extents = []
    for level in range(len(LEVELS)):
        top, bottom = 10 + 18.5 * level, 10 + 18.5 * level + 17
        labels[int(top / 3) : int(bottom / 3), 12:24, 12:22] = level + 1
        extents.append(Extent(top, bottom, WIDE_MM[0] / 2, WIDE_MM[1] / 2))
    return Column(
        study="1.2.3",
        image=random.integers(0, 256, shape, dtype=np.uint8),
        labels=labels,
        spacing_mm=tuple(spacing_mm),
        label_origin_mm=(0.0, 0.0, 0.0),
        label_spacing_mm=(3.0, 3.0, 3.0),
        extents=tuple(extents),
        boxes=np.zeros((0, 6)),
    )


def median_s(work: Callable[[int], object], rounds: int) -> float:
    """Median seconds of a call."""
    times = []
    for number in range(rounds):
        started = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def bare_warp(column: Column, stacks: StackSettings, together: int) -> Callable[[object], None]:
    """Every plane of a study warped, some together as channels of one picture, and nothing else."""
    plane, size = np.ascontiguousarray(column.image[10]), (stacks.image_px, stacks.image_px)
    matrix, flags = np.array([[0.6, 0.05, 3.0], [-0.05, 0.6, 3.0]]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shown = stacks.channels - 1
    pictures = [cv2.merge([plane] * min(together, shown - first)) for first in range(0, shown, together)]

    def warp(_: object) -> None:
        for _ in range(len(LEVELS) * stacks.slices):
            for picture in pictures:
                cv2.warpAffine(picture, matrix, size, flags=flags)

    return warp


def row(name: str, preset: Preset, rounds: int) -> dict[str, object]:
    """The figures of a preset."""
    stacks = preset.stacks
    with tempfile.TemporaryDirectory() as folder:
        store, column = StudyStore(Path(folder), {}), a_column(preset.column.spacing_mm)
        store.write(column.study, column.arrays(), column.meta())
        data = ColumnDataset(store, {column.study: np.zeros(8)}, preset)
        data[-1, 0, 0]
        plain = median_s(lambda _: data[-1, 0, 0], rounds)
        varied = median_s(lambda number: data[number, 0, 0], rounds)
    bare, one_by_one = (
        median_s(bare_warp(column, stacks, together), rounds) for together in (WARPED_TOGETHER, 1)
    )
    machine, cost = MACHINES[name], cost_of(preset)
    step = BACK_TOO * cost.study_tflop / FOLDS / (2 if preset.mirrored_too else 1) / machine.tflops
    workers = preset.classifier_training.workers
    share = max(varied / workers - step, 0) / step
    return {
        "preset": name,
        "pictures": f"{len(LEVELS) * stacks.slices} x {stacks.channels - 1} of {stacks.image_px} px",
        "plane by plane, s": f"{one_by_one:.3f}",
        "bare warp, s": f"{bare:.3f}",
        "stacks alone, s": f"{plain:.3f}",
        "training sample, s": f"{varied:.3f}",
        "of the bare warp": f"{varied / bare:.1f} x",
        "processes": workers,
        "GPU step a study, s (stated)": f"{step:.2f}",
        "loader's share of the step": f"{varied / workers / step:.0%}",
        "waiting added": f"{share:.1%}",
    }


def main(flags: Flags) -> None:
    """Measure, write and print."""
    start_worker(0)
    torch.set_num_threads(1)
    rows = [row(name, PRESETS[name], flags.rounds) for name in MACHINES]
    report = "\n".join(
        [
            "# How long does a training sample take?",
            "",
            "```sh",
            shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
            "```",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, one core of {os.cpu_count()}; median of {flags.rounds}.",
            "",
            *(__doc__ or "").split("\n\n", 1)[1].strip().splitlines(),
            "",
            markdown(pd.DataFrame(rows).set_index("preset"), "preset"),
            "",
            "The loader works ahead, beside the GPU: as long as its share is below 100 % the GPU does not wait.",
            "",
        ]
    )
    storage.write_text(flags.out, report)
    print(report)


if __name__ == "__main__":
    cli.run(main, Flags)
