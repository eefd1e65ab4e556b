"""Where are C1-C7? The kit's own locator on replicas that it never saw, and on real scans with landmarks.

replicas: wide coverage, by what is in view and by field of view; a wrong map that is called sure is what counts.
scans: NIfTI files in a folder of your own, with landmarks.json beside: name -> x_mm, levels -> [z_mm, y_mm], counted
from the centre of the voxel that is farthest to the right, front and head.
"""

import os
import shlex
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from bench_scans import cpu  # noqa: E402
from locator_ablation import Wanted, ablation  # noqa: E402
from locator_cases import replica_cases, scan_rows, table, write_replica  # noqa: E402
from markdown_table import markdown  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.errors import InputError  # noqa: E402
from cspine.networks.locator import Locator  # noqa: E402
from cspine.networks.precision import best_device  # noqa: E402
from cspine.networks.pretrained import WEIGHTS, load_pretrained  # noqa: E402
from cspine.settings.execution import available_cpus  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402

PARTS = ("replicas", "scans")
SOURCES = {
    "cthead": "head and neck to about C5, 1 x 1 x 2 mm, dental streaks; UNC CThead, Stanford volume archive, public "
    "domain, credit University of North Carolina",
    "headsq": "head and neck to about C6, 3.2 x 3.2 x 1.5 mm; VTK data, BSD",
}


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_locator.py."""

    out: Path = ROOT / "benchmarks" / "results" / "locator.md"
    """The tables are written here."""
    work: Path = ROOT / "data"
    """The replica is made in a folder of its own in here, and removed afterwards."""
    parts: tuple[Literal["replicas", "scans", "ablation"], ...] = PARTS
    """What to measure; the ablation takes hours."""
    arms: tuple[str, ...] = ()
    """Some of the ablation's arms by name; by default all."""
    studies: Annotated[int, Field(ge=2)] = 200
    """Of the replica."""
    seed: Annotated[int, Field(ge=0)] = 4242
    """Of the replica; never the one that the locator learnt on."""
    scans: Path | None = None
    """A folder with NIfTI files and landmarks.json."""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Of each arm of the ablation."""
    updates: Annotated[int, Field(ge=10)] = 4000
    """Of each training of the ablation; the kit's own locator takes some 12,300."""
    spacing_mm: Literal[2, 3, 4] = 3
    """Voxel size in the ablation; that of the kit is 3 mm, a training at 4 mm takes two fifths of the time."""
    judged: Annotated[int, Field(ge=2)] = 100
    """Studies that the ablation is judged on."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that write and read the replica."""


def command(flags: Flags) -> str:
    """The command line; where somebody keeps scans is nobody's business."""
    words = ["SCANS" if word == str(flags.scans) else word for word in sys.argv[1:]]
    return shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *words])


def of_replicas(flags: Flags, locators: list[Locator], device: torch.device) -> list[str]:
    """The kit's locator on a replica that it never saw, line by line."""
    flags.work.mkdir(parents=True, exist_ok=True)
    spacing_mm = locators[0].settings.spacing_mm
    with tempfile.TemporaryDirectory(dir=flags.work, prefix="bench-locator-") as work:
        replica, store = write_replica(Path(work), flags.studies, flags.seed, flags.workers, spacing_mm)
        started = time.perf_counter()
        cases = list(replica_cases(replica, store, locators, device))
        seconds = (time.perf_counter() - started) / len(cases)
    return [
        "## Unseen replicas of wide coverage",
        "",
        f"{len(cases)} studies, seed {flags.seed}, `--coverage wide --size 0.3125`; {seconds:.1f} s a study. A "
        "level counts as in view from half of it on. A map is wrong if a level in view has another name or none, "
        "or if a level is named that is not in view. In brackets 95 % intervals (Wilson).",
        "",
        markdown(table(cases), "scans"),
    ]


def of_scans(flags: Flags, locators: list[Locator], device: torch.device) -> list[str]:
    """The kit's locator on real scans, line by line."""
    lines = ["## Living people", ""]
    if flags.scans is None:
        return [*lines, "Not measured: no `--scans`."]
    if not (flags.scans / "landmarks.json").is_file():
        raise InputError(
            f"--scans {flags.scans}: found no landmarks.json; expected it beside the NIfTI files"
        )
    rows = scan_rows(flags.scans, locators, device)
    sources = [f"- {name}: {SOURCES[name]}" for name in rows.index if name in SOURCES]
    return [*lines, markdown(rows, "scan"), "", *sources]


def of_arms(flags: Flags) -> list[str]:
    """What the locator owes to its parts, line by line."""
    wanted = Wanted(
        work=flags.work / "bench-locator-ablation",
        seeds=flags.seeds,
        updates=flags.updates,
        spacing_mm=flags.spacing_mm,
        studies=flags.studies,
        judged=flags.judged,
        scans=flags.scans,
        workers=flags.workers,
        arms=flags.arms,
    )
    return [
        "## What each part is worth",
        "",
        f"{flags.seeds} seeds an arm, {flags.updates} updates of 2 windows on {flags.studies} replicas, judged on "
        f"{flags.judged} others. Every arm is what the kit does, at voxels of {flags.spacing_mm:g} mm, but "
        "for what its name says. Differences are means over the seeds, in brackets 95 % intervals over the "
        "studies, drawn again 1,000 times, paired; how much another seed changes is beside them. A "
        "training's minutes are its epochs times the median one. The kit's own locator learnt for some "
        "12,300 updates on 513 replicas: what counts is how the arms differ.",
        "",
        markdown(ablation(wanted), "arm"),
    ]


def main(flags: Flags) -> None:
    """Measure, write and print."""
    device = best_device()
    lines = [
        "# The locator: does it name the right vertebrae, and does it know when not?",
        "",
        "```sh",
        command(flags),
        "```",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores.",
    ]
    if set(flags.parts) & set(PARTS):
        locators = [load_pretrained(device)]
        weights = WEIGHTS.relative_to(ROOT)
        lines[-1] += f" Weights: `{weights}`, learnt on replicas of seed 11 alone."
    if "replicas" in flags.parts:
        lines += ["", *of_replicas(flags, locators, device)]
    if "scans" in flags.parts:
        lines += ["", *of_scans(flags, locators, device)]
    if "ablation" in flags.parts:
        lines += ["", *of_arms(flags)]
    report = "\n".join([*lines, ""])
    storage.write_text(flags.out, report)
    print(report)


if __name__ == "__main__":
    cli.run(main, Flags)
