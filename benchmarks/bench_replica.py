"""Evidence that a replica is like the real data: its statistics, its difficulty, no shortcut, its cost.

distributions: tables, series, masks and boxes beside the published figures.
bone: the wall and the inside of the bodies, discs and noise beside what was measured on real scans.
difficulty: a small classifier, out of fold; wide fractures must be found before hairlines.
shortcut: headers and simple statistics of the pixels must not tell who has a fracture.
cost: seconds and memory of one study, seconds of the tables.
"""

import os
import platform
import shlex
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from bench_scans import cpu  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.settings.execution import available_cpus  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402

PARTS = ("distributions", "bone", "difficulty", "shortcut", "cost")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "pydicom", "python-gdcm")
DEMO_SEVERITY = (1.6, 2.0)


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Flags of bench_replica.py."""

    out: Path = ROOT / "benchmarks" / "results" / "replica.md"
    """The tables are written here."""
    work: Path = ROOT / "data"
    """Replicas are made in a folder of its own in here, and removed afterwards."""
    parts: tuple[Literal["distributions", "bone", "difficulty", "shortcut", "cost"], ...] = PARTS
    """What to measure."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of all replicas."""
    studies: Annotated[int, Field(ge=8)] = 720
    """Training studies of the part difficulty: a third of that leaves quarters too small to be told apart."""
    also_gaping: bool = False
    """Train once more, on fractures as wide as the demo's."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes; cost takes one."""
    quick: bool = False
    """A few small studies: to see that it runs. Its figures mean nothing."""


def main(settings: Settings) -> None:
    """Measure the parts one after the other, write and print the report."""
    settings.work.mkdir(parents=True, exist_ok=True)
    sections = {
        "distributions": distributions, "bone": bone, "difficulty": difficulty, "shortcut": shortcut, "cost": cost,
    }  # fmt: skip
    lines = head()
    with tempfile.TemporaryDirectory(dir=settings.work, prefix="bench-replica-") as work:
        for part in dict.fromkeys(settings.parts):
            lines += ["", f"## {part.capitalize()}", "", *sections[part](Path(work) / part, settings)]
    report = "\n".join([*lines, ""])
    storage.write_text(settings.out, report)
    print(report)


def head() -> list[str]:
    """The command and where it ran."""
    return [
        "# Replica: is it like the real data?",
        "",
        "```sh",
        shlex.join(["python", *(os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:])]),
        "```",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + ".",
    ]


def distributions(work: Path, settings: Settings) -> list[str]:
    """Statistics beside the published ones."""
    import replica_distributions as part

    wanted = part.Wanted(work, settings.seed, settings.workers)
    if settings.quick:
        wanted = replace(wanted, train=60, written=2, boxed=2, size=0.125)
    return part.distributions(wanted)


def bone(work: Path, settings: Settings) -> list[str]:
    """Bone and noise as the scanner shows them."""
    import replica_bone as part

    wanted = part.Wanted(work, settings.seed)
    return part.bone(replace(wanted, studies=12, size=0.3125) if settings.quick else wanted)


def difficulty(work: Path, settings: Settings) -> list[str]:
    """What a classifier learns, by severity."""
    import replica_difficulty as part

    wanted = part.Wanted(work / "plain", settings.seed, settings.workers, studies=settings.studies)
    if settings.quick:
        wanted = replace(wanted, studies=12, size=0.125, preset="smoke")
    lines = part.difficulty(wanted)
    if settings.also_gaping:
        lines += ["", *part.difficulty(replace(wanted, work=work / "gaping", severity=DEMO_SEVERITY))]
    return lines


def shortcut(work: Path, settings: Settings) -> list[str]:
    """What headers give away."""
    import replica_shortcut as part

    wanted = part.Wanted(work, settings.seed, settings.workers)
    return part.shortcut(replace(wanted, studies=24) if settings.quick else wanted)


def cost(work: Path, settings: Settings) -> list[str]:
    """Seconds and memory."""
    import replica_cost as part

    wanted = part.Wanted(work, settings.seed)
    return part.cost(replace(wanted, rounds=1, size=0.125, studies=1200) if settings.quick else wanted)


if __name__ == "__main__":
    cli.run(main, Settings)
