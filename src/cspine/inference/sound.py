"""Which of a run's networks can be trusted: whole files that answer a probe with finite numbers."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from cspine import storage
from cspine.errors import InputError
from cspine.inference.blends import members_of, read_blend, write_blend
from cspine.networks.classifier import Classifier
from cspine.networks.fold_models import load_classifier, load_locator, preset_of
from cspine.settings.layout import CLASSIFIER, LOCATOR, NetworkKind, RunLayout

PROBE_PX, PROBE_VOX = 64, 32
"""Sides of the probe pictures and of the probe volume."""


def sound_models(
    run: Path, sums: Mapping[str, str], sound: Path, device: torch.device
) -> tuple[list[int], dict[str, str]]:
    """Make a folder that holds those networks of a run or blend, as links, that can be used.

    A fold of a blend is used if it can be in every member; a member without any such fold is left out and the
    weights of the others are scaled up.

    Parameters
    ----------
    run : Path
        The folder of a run or a blend.
    sums : mapping of str to str
        SHA-256 of the run's files by their path in it; a file that is not named is not compared.
    sound : Path
        The folder to make; what it held is removed.
    device : device
        Where the networks are probed.

    Returns
    -------
    folds : list of int
        The folds that are used.
    dropped : dict of str to str
        A network's file, relative to the run -> why it isn't used.

    Raises
    ------
    InputError
        If no fold is left, and as `read_blend`.
    """
    shutil.rmtree(sound, ignore_errors=True)
    blend, members = read_blend(run), members_of(run)
    dropped: dict[str, str] = {}
    good: dict[Path, dict[NetworkKind, list[int]]] = {}
    kinds: tuple[NetworkKind, ...] = (LOCATOR, CLASSIFIER)
    for member in members:
        good[member] = {
            kind: [
                fold
                for fold, path in _models(member, kind).items()
                if not _fault(path, kind, run, sums, device, dropped)
            ]
            for kind in kinds
        }
        _note_missing(member, run, sums, dropped)
    usable = [member for member in members if all(good[member].values())]
    folds = sorted(set.intersection(*({*good[member][CLASSIFIER]} for member in usable)) if usable else set())
    if not folds:
        words = "; ".join(f"{name}: {why}" for name, why in dropped.items()) or "no checkpoint in it"
        raise InputError(f"{run}: no fold can be used: {words}")
    for number, member in enumerate(usable):
        target = sound if blend is None else sound / f"member{number}"
        for kind, those in ((LOCATOR, good[member][LOCATOR]), (CLASSIFIER, folds)):
            for fold in those:
                link = RunLayout(target).model(kind, fold)
                link.parent.mkdir(parents=True)
                link.symlink_to(RunLayout(member).model(kind, fold).resolve())
    if blend is not None:
        kept = [members.index(member) for member in usable]
        level, overall = ([weights[one] for one in kept] for weights in (blend.level, blend.overall))
        write_blend(
            sound,
            replace(
                blend,
                runs=tuple(Path(f"member{number}") for number in range(len(kept))),
                level=tuple(_scaled(level)),
                overall=tuple(_scaled(overall)),
            ),
        )
    return folds, dropped


def _scaled(weights: list[float]) -> list[float]:
    """Weights whose sum is 1; equal ones where all that is left had none."""
    total = sum(weights)
    return [one / total for one in weights] if total else [1 / len(weights)] * len(weights)


def _models(member: Path, kind: NetworkKind) -> dict[int, Path]:
    """Fold -> checkpoint, of those that are there."""
    folders = sorted((member / kind).glob("fold*"))
    found = {int(one.name[4:]): one for one in folders if one.name[4:].isdecimal()}
    return {fold: path for fold in sorted(found) if (path := RunLayout(member).model(kind, fold)).is_file()}


def _note_missing(member: Path, run: Path, sums: Mapping[str, str], dropped: dict[str, str]) -> None:
    """Name the files that were there when the sums were made."""
    for name in sums:
        path = run / name
        if path.is_relative_to(member) and path.suffix == ".safetensors" and not path.is_file():
            dropped[name] = "the file is missing"


def _fault(
    path: Path,
    kind: NetworkKind,
    run: Path,
    sums: Mapping[str, str],
    device: torch.device,
    dropped: dict[str, str],
) -> str:
    """Why a checkpoint can't be used, which is also noted; empty if it can."""
    name = path.relative_to(run).as_posix() if path.is_relative_to(run) else str(path)
    why = ""
    if name in sums and storage.sha256_of(path) != sums[name]:
        why = "the file is damaged: its SHA-256 is not that of the bundle's list"
    else:
        try:
            why = _probed(path, kind, device)
        except (InputError, RuntimeError, ValueError, KeyError, TypeError) as error:
            why = str(error)
    if why:
        dropped[name] = why
    return why


@torch.inference_mode()
def _probed(path: Path, kind: NetworkKind, device: torch.device) -> str:
    """What a network says about a fixed input that disqualifies it."""
    random = torch.Generator().manual_seed(0)
    if kind == LOCATOR:
        volume = torch.rand(1, 1, PROBE_VOX, PROBE_VOX, PROBE_VOX, generator=random)
        answer = load_locator(path, device)(volume.to(device))
    else:
        classifier: Classifier = load_classifier(path, device)
        channels = preset_of(path, CLASSIFIER).stacks.channels
        images = torch.randint(
            256, (1, 7, 2, PROBE_PX, PROBE_PX, channels - 1), generator=random, dtype=torch.uint8
        )
        masks = torch.randint(256, (1, 7, 2, PROBE_PX, PROBE_PX), generator=random, dtype=torch.uint8)
        answer = classifier(images.to(device), masks.to(device))[0]
    return "" if bool(answer.isfinite().all()) else "its answer to a probe is not finite"
