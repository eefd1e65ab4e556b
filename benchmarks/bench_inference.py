"""What does a study cost at inference, by part, beside the networks' forward passes that it can't do without?

Studies are whole series of 512 x 512 slices in JPEG Lossless, as the competition's are, of a replica's patients. The
networks have a preset's architecture and random weights (the kit's own locator finds the necks); one fold stands for
all, since each costs the same. Measured is the whole way, from files to logits, as the kernel goes it: one process that
answers while workers decode ahead, and two such processes side by side. Beside it stands the bare forward pass: the
same networks on the same tensors, kept from a run before, with nothing else to do. On a GPU the forward pass takes 1 to
2.5 s a study and everything else has to hide behind it: the last line says how many CPUs that takes.
"""

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from bench_scans import cpu  # noqa: E402
from ct_series import draw_slices, write_competition  # noqa: E402
from markdown_table import markdown  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.inference.blends import load_models  # noqa: E402
from cspine.inference.decoded import decode_study, load_small, load_volume  # noqa: E402
from cspine.inference.device_task import Task  # noqa: E402
from cspine.inference.ensemble import Ensemble  # noqa: E402
from cspine.kaggle.devices import DeviceProcess  # noqa: E402
from cspine.networks.checkpoints import save_weights  # noqa: E402
from cspine.networks.classifier import Classifier  # noqa: E402
from cspine.networks.fold_models import describe_fold  # noqa: E402
from cspine.networks.precision import autocast  # noqa: E402
from cspine.networks.pretrained import start_locator  # noqa: E402
from cspine.settings.execution import available_cpus  # noqa: E402
from cspine.settings.layout import CLASSIFIER, LOCATOR, RunLayout  # noqa: E402
from cspine.settings.presets import PRESETS, PresetName  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
PARTS = ("decode", "locate", "cut", "classify")
T4_S = (1.0, 2.5)
"""Seconds a study of the forward passes on a T4, by judgement from their arithmetic."""


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_inference.py."""

    out: Path = ROOT / "benchmarks" / "results" / "inference.md"
    """The table is written here."""
    preset: PresetName = "t4"
    """Whose networks are asked."""
    studies: Annotated[int, Field(ge=2)] = 4
    """Studies in each arm; the first of each process is left out, since it waits for its decoding."""
    slices: Annotated[int, Field(ge=50)] = 320
    """Of each study."""
    size: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Scale of the 512 x 512 matrix."""


def untrained_run(run: Path, flags: Flags) -> Path:
    """Write a run of one fold: the kit's locator, and a classifier of random weights."""
    preset = PRESETS[flags.preset]
    preset = replace(preset, classifier=replace(preset.classifier, pretrained=False))
    torch.manual_seed(0)
    classifier = Classifier(preset.classifier, preset.stacks.channels)
    for kind, model in ((LOCATOR, start_locator(preset.locator)), (CLASSIFIER, classifier)):
        save_weights(
            RunLayout(run).model(kind, 0), model.state_dict(), describe_fold(kind, 0, preset, {"1.2.1": 0})
        )
    return run


def arm(run: Path, folders: dict[str, str], processes: int) -> dict[str, float]:
    """Answer the studies in one process or more; seconds a study by part, and by the clock."""
    names, workers = list(folders), max(available_cpus() // processes, 1)
    started = [
        DeviceProcess.start(
            Task(str(run), {name: folders[name] for name in names[n::processes]}, {}, "cpu", workers)
        )
        for n in range(processes)
    ]
    seconds = dict.fromkeys(PARTS, 0.0)
    counted, first = 0, 0.0
    waiting = {one.pipe: one for one in started}
    while waiting:
        for one in list(waiting.values()):
            os.set_blocking(one.pipe, False)
            try:
                lines = list(one.lines())
            except BlockingIOError:
                time.sleep(0.01)
                continue
            for words in lines:
                if "study" not in words:
                    continue
                if "reason" in words:
                    raise SystemExit(f"{words['study']}: {words['reason']}")
                if one.answers == 1:  # its first: from here on it never waits for its models
                    first = max(first, time.monotonic())
                    continue
                counted += 1
                for part in PARTS:
                    seconds[part] += words["seconds"][part]
            if one.process.returncode is not None:
                del waiting[one.pipe]
    ended = time.monotonic()
    for one in started:
        one.end()
    return {part: took / counted for part, took in seconds.items()} | {
        "by the clock": (ended - first) / counted
    }


def forward_s(run: Path, folder: str, work: Path) -> dict[str, float]:
    """Seconds of the bare forward passes of a study: on tensors that are kept from a run before."""
    models = load_models(run, torch.device("cpu"))
    assert isinstance(models, Ensemble)
    decode_study(folder, str(work), models.spacing_mm)
    kept: dict[str, list[Callable[[], Any]]] = {"locate": [], "classify": []}
    locator = models.locators[0]
    hook = locator.register_forward_pre_hook(lambda _, given: kept["locate"].append(lambda: locator(*given)))
    logits = models._logits

    def keep(*batch: torch.Tensor, precise: bool) -> torch.Tensor:
        kept["classify"].append(lambda: logits(*batch, precise=precise))
        return logits(*batch, precise=precise)

    object.__setattr__(models, "_logits", keep)
    small, affine = load_small(work)
    models.answer(load_volume(work), small, affine)
    hook.remove()
    seconds = {}
    for part, calls in kept.items():
        began = time.perf_counter()
        with torch.inference_mode(), autocast(models.device, volumes=part == "locate"):
            for call in calls:
                call()
        seconds[part] = time.perf_counter() - began
    shutil.rmtree(work)
    return seconds


def main(flags: Flags) -> None:
    """Measure, write and print."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        protocol, stored = draw_slices(flags.slices, flags.size)
        write_competition(work / "raw", protocol, stored, JPEG_LOSSLESS, flags.studies + 2)
        found = sorted((work / "raw" / "train_images").iterdir())
        folders = {path.name: str(path) for path in found}
        run = untrained_run(work / "run", flags)
        bare = forward_s(run, str(found[0]), work / "decoded")
        some = dict(list(folders.items())[: flags.studies + 1])
        one, two = arm(run, some, 1), arm(run, folders, 2)
    forward = sum(bare.values())
    rows = {
        "one process": one,
        "two processes, each": two,
        "bare forward pass": {**bare, "by the clock": forward},
    }
    table = pd.DataFrame(rows).T[[*PARTS, "by the clock"]]
    shown = table.map(lambda value: "" if pd.isna(value) else f"{value:.2f}")
    rest = one["by the clock"] / forward - 1
    beside = [max(one[part] - bare[part], 0) for part in ("locate", "classify")]
    aside = one["decode"] + one["cut"] + sum(beside)
    need = [f"{aside / seconds:.1f}" for seconds in T4_S]
    report = "\n".join(
        [
            "# What does a study cost at inference?",
            "",
            "```sh",
            shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
            "```",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {available_cpus()} CPUs; {flags.studies} studies of "
            f"{flags.slices} slices, preset {flags.preset}, one fold. Seconds a study; decoding runs beside the rest.",
            "",
            *(__doc__ or "").split("\n\n", 1)[1].strip().splitlines(),
            "",
            markdown(shown, "seconds a study"),
            "",
            f"In one process everything but the forward passes costs {rest:+.0%} by the clock. Two processes "
            f"together take {two['by the clock'] / one['by the clock']:.2f} of the time of one.",
            "",
            f"Beside the forward passes a study takes {aside:.1f} s of one CPU. To hide that behind a GPU that "
            f"needs {T4_S[0]:.0f} to {T4_S[1]} s a study (by judgement, a T4), {need[1]} to {need[0]} CPUs have to "
            "work ahead; Kaggle's machine with two T4 has four.",
            "",
        ]
    )
    storage.write_text(flags.out, report)
    print(report)


if __name__ == "__main__":
    cli.run(main, Flags)
