"""The machine at hand and the data on it, held against what a preset needs: looked at before the first hour."""

import os
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from cspine.competition.inventory import describe
from cspine.competition.tables import read_train
from cspine.errors import InputError
from cspine.findings import Advice, Finding, find
from cspine.networks.encoder_weights import check_encoder_weights
from cspine.settings.execution import available_cpus
from cspine.settings.flags import DoctorFlags
from cspine.settings.presets import MACHINES, PRESETS, Preset
from cspine.training.datasets import SHARED_MEMORY

GB = 1e9
WORKER_GB, TRAINING_GB = 1.3, 4.0
"""Memory of a process that reads series (measured), and of one that trains on the CPU's side."""
STUDIES = 2019
"""Of the competition, where no train.csv tells."""
VOLUME_GB, COLUMN_GB, RUN_GB = 0.005, 0.01, 2.0
"""A study's volume at 2 mm and its column at 0.5 mm, and a run."""
REQUIREMENTS = Path(__file__).parents[3] / "requirements.txt"
COUNTED = (("train", "studies"), ("images", "slices"), ("masks", "masks"))
FOR_LEARNING = ("torch", "timm", "numpy", "pydicom")
"""Packages whose version changes what comes out."""


def examine(flags: DoctorFlags) -> list[Finding]:
    """Look at everything that the stages up to training depend on.

    Parameters
    ----------
    flags : DoctorFlags
        Folders and preset.

    Returns
    -------
    list of Finding
        In the order of the pipeline.
    """
    preset = PRESETS[flags.preset].for_machine()
    return [
        find("python", _python),
        find("packages", _packages),
        find("processors", lambda: _processors(preset)),
        find("memory", _memory),
        find("shm", lambda: _shared_memory(preset)),
        find("disk", lambda: _disk(flags, preset)),
        find("gpu", lambda: _gpu(flags)),
        find("weights", lambda: _weights(preset)),
        find("data", lambda: _data(flags.raw)),
    ]


def _python() -> str:
    found = sys.version.split()[0]
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        raise InputError(f"found {found}, expected 3.11 or 3.12; `make setup PYTHON=python3.12`")
    return found


def _packages() -> str:
    if not REQUIREMENTS.is_file():
        raise Advice("no requirements.txt beside the library; the versions that were tested stand there")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", REQUIREMENTS.read_text(), re.MULTILINE))
    other = []
    for name in FOR_LEARNING:
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            found = "none"
        if found != pinned.get(name):
            other.append(f"{name} {found} instead of {pinned.get(name)}")
    if other:
        raise Advice(f"{', '.join(other)}; `make setup` installs what was tested")
    return "as pinned"


def _processors(preset: Preset) -> str:
    cpus, workers = available_cpus(), preset.classifier_training.workers
    return f"{cpus} to be used: as many read series, {workers} make batches"


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    needed = max(WORKER_GB * available_cpus(), TRAINING_GB)
    if total < needed:
        fewer = max(int(total / WORKER_GB), 1)
        raise InputError(
            f'{total:.0f} GB, up to {needed:.0f} are needed; EXTRA="--workers {fewer}" for prepare and columns'
        )
    return f"{total:.0f} GB, up to {needed:.0f} are needed"


def _shared_memory(preset: Preset) -> str:
    if not SHARED_MEMORY.is_dir():
        return "none on this system"
    stacks, training = preset.stacks, preset.classifier_training
    picture = stacks.image_px**2 * (stacks.channels + 1)
    batch = training.steps_of(1)[0] * 7 * stacks.slices * picture / GB
    needed, free = 2 * training.workers * batch, shutil.disk_usage(SHARED_MEMORY).free / GB
    if free < needed:
        raise InputError(
            f"{free:.2f} GB free in {SHARED_MEMORY}, {needed:.2f} are needed; docker run --shm-size=8g, or "
            'EXTRA="--loader-workers 0" for locate and train (slower)'
        )
    return f"{free:.1f} GB free, {needed:.2f} are needed"


def _disk(flags: DoctorFlags, preset: Preset) -> str:
    try:
        studies = len(read_train(flags.raw))
    except InputError:
        studies = STUDIES
    volumes = VOLUME_GB * (2.0 / preset.locator.spacing_mm) ** 3
    columns = COLUMN_GB * 0.5**3 / float(np.prod(preset.column.spacing_mm))
    needed = {flags.cache: studies * (volumes + columns), flags.run: RUN_GB}
    words = []
    for folder, gigabytes in needed.items():
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not os.access(there, os.W_OK):
            raise InputError(f"{there} can't be written; name another CACHE or RUN")
        free = shutil.disk_usage(there).free / GB
        if free < gigabytes:
            raise InputError(
                f"{there}: {free:.0f} GB free, about {gigabytes:.0f} are needed for {folder}; make room or name another"
            )
        words.append(f"{free:.0f} GB free for {folder}, about {gigabytes:.1f} are needed")
    return "; ".join(words)


def _gpu(flags: DoctorFlags) -> str:
    machine = MACHINES.get(flags.preset)
    count = torch.cuda.device_count()
    if machine is None:
        return f"{count} here, preset {flags.preset} needs none"
    if not count:
        raise InputError(
            f"none that PyTorch can use; preset {flags.preset} is for {machine.name}: without a GPU train on Kaggle "
            "(docs/kaggle.md), or try everything with PRESET=smoke"
        )
    names = [torch.cuda.get_device_name(number) for number in range(count)]
    gib = min(torch.cuda.get_device_properties(number).total_memory for number in range(count)) / 2**30
    if gib < 0.95 * machine.gib:
        fitting = [name for name, one in MACHINES.items() if one.gib <= gib * 1.05]
        advice = f"PRESET={fitting[-1]}" if fitting else "no preset fits; train on Kaggle (docs/kaggle.md)"
        raise InputError(
            f"{', '.join(names)} with {gib:.1f} GiB; preset {flags.preset} is for {machine.gib:g}; {advice}"
        )
    return f"{', '.join(names)}, {gib:.1f} GiB; preset {flags.preset} is for {machine.gib:g}"


def _weights(preset: Preset) -> str:
    check_encoder_weights(preset.classifier)
    return (
        f"{preset.classifier.encoder}: {'to be had' if preset.classifier.pretrained else 'none are needed'}"
    )


def _data(raw: Path) -> str:
    found = describe(raw)
    studies, slices, masks = (found[part][part2] for part, part2 in COUNTED)
    counts = f"{studies} studies, {slices:,} slices, {masks} masks"
    if found["missing"]:
        raise Advice(f"{counts}; {'; '.join(found['missing'])}")
    return f"{counts}, complete"
