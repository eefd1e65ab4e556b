"""Train the locator that comes with the kit: on replicas alone, randomised so strongly that a real scan is no news."""

from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file

from cspine import cli, storage
from cspine.competition.inventory import REPLICA
from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.networks.checkpoints import read_description, read_provenance, save_weights
from cspine.networks.locator import Locator
from cspine.networks.pretrained import MADE_BY, WEIGHTS
from cspine.preprocessing.stores import open_volumes
from cspine.settings.layout import METRICS, MODEL
from cspine.settings.presets import PRETRAINING, Preset, reproducible_settings
from cspine.training.datasets import LocatorDataset
from cspine.training.distributed import init_distributed
from cspine.training.locate import mean_dice, voxel_loss
from cspine.training.trainer import FoldTraining, train_network

KIND = "locator-replica"
HELD_OUT = 10
"""One in so many studies is held out."""
CARD = """\
# The kit's own locator

`{file}`: a 3D U-Net that names C1-C7 and the thoracic vertebrae on CT. It has never seen a patient: everything it
knows comes from the replica, the generator of synthetic scans in `src/replica`, and from randomising these.

| | |
|---|---|
| what it is for | the start of every locator fold, and `make locate-scan` on any CT of the neck |
| what it is not | a medical device: nothing here was approved or tested for the care of patients |
| data | {studies} synthetic studies, replica version {version}, seed {replica_seed}, coverage {coverage}, size {size} |
| held out | {held_out} of them: mean Dice of C1-C7 {dice:.3f} ({levels}) |
| training | seed {seed}, {epochs} epochs of {steps} updates of {batch} windows, learning rate {rate} |
| windows | {window} voxels of {spacing} mm |
| parameters | {parameters:,} |
| made by | `{made_by}`, code {git}, torch {torch} |

What was measured on replicas that it never saw and on two living people: `benchmarks/results/locator.md`.
All settings are in the file itself, as safetensors metadata.
"""


def pretrain(raw: Path, cache: Path, out: Path, preset: Preset = PRETRAINING) -> None:
    """Train the locator on a replica's masks, and write it with its card.

    Parameters
    ----------
    raw : Path
        The replica's folder, with its competition folder inside.
    cache : Path
        The cache with its prepared volumes.
    out : Path
        Gets locator-replica.safetensors and locator-replica.md, and the state while it trains.
    preset : Preset
        Seed, locator, training and augmentation.

    Raises
    ------
    InputError
        If the folder is no replica, or too few studies with a mask are prepared, and as in `train_network`.
    """
    replica = _replica_settings(raw)
    volumes = open_volumes(cache, preset)
    masked = [uid for uid in volumes.uids() if volumes.holds(uid, "labels")]
    held_out, others = masked[::HELD_OUT], [uid for n, uid in enumerate(masked) if n % HELD_OUT]
    if not others:
        raise InputError(
            f"{volumes.folder}: {len(masked)} prepared studies with a mask, expected at least 2; `{MADE_BY}` makes them"
        )
    description = {
        "kind": KIND,
        "seed": preset.seed,
        "locator": reproducible_settings(preset.locator),
        "locator_training": reproducible_settings(preset.locator_training),
        "locator_augment": reproducible_settings(preset.locator_augment),
        "replica": replica,
        "studies": len(masked),
        "held_out": len(held_out),
    }
    with init_distributed() as context, storage.locked(out, "pretrain", take=context.is_main):
        training = FoldTraining(
            name="locator",
            folder=out / "training",
            make_model=lambda: Locator(preset.locator),
            dataset=LocatorDataset(volumes, others, preset),
            loss=voxel_loss,
            evaluate=lambda model: mean_dice(model, volumes, held_out, context),
            description=description,
            made_by=MADE_BY,
            volumes=True,
        )
        train_network(training, preset.locator_training, preset.seed, context)
        if context.is_main:
            weights = out / WEIGHTS.name
            learnt = load_file(training.folder / MODEL)
            figures = pd.read_csv(training.folder / METRICS).iloc[-1].dropna().to_dict()
            save_weights(
                weights, learnt, description | {"steps": _steps(len(others), preset), "figures": figures}
            )
            storage.write_text(weights.with_suffix(".md"), model_card(weights))
            dice = round(figures["dice"], 3)
            cli.log_stage("pretrain", read=volumes.folder, wrote=weights, studies=len(masked), dice=dice)


def _replica_settings(raw: Path) -> dict[str, Any]:
    """What a replica was made from, as its own marker says."""
    path = raw / REPLICA
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a replica's folder; `{MADE_BY}` makes one")
    settings: dict[str, Any] = storage.read_json(path)["settings"]
    return settings


def _steps(studies: int, preset: Preset) -> int:
    """Updates an epoch."""
    training = preset.locator_training
    return -(-studies * training.repeats // training.batch_size)


def model_card(weights: Path) -> str:
    """Describe a pretrained locator in words, from nothing but what its file says of itself.

    Parameters
    ----------
    weights : Path
        The safetensors file.

    Returns
    -------
    str
        The card, Markdown.

    Raises
    ------
    InputError
        If the file is missing or broken.
    """
    told = read_description(weights, MADE_BY)
    origin = read_provenance(weights, MADE_BY)
    replica, training, locator, figures = (
        told[key] for key in ("replica", "locator_training", "locator", "figures")
    )
    return CARD.format(
        file=weights.name,
        studies=told["studies"],
        held_out=told["held_out"],
        version=replica["version"],
        replica_seed=replica["seed"],
        coverage=replica["coverage"],
        size=replica["size"],
        dice=figures["dice"],
        levels=", ".join(f"{level} {figures[f'dice_{level}']:.2f}" for level in LEVELS),
        seed=told["seed"],
        epochs=training["epochs"],
        steps=told["steps"],
        batch=training["batch_size"],
        rate=training["learning_rate"],
        window=" x ".join(str(n) for n in locator["window_vox"]),
        spacing=locator["spacing_mm"],
        parameters=sum(tensor.numel() for tensor in load_file(weights).values()),
        made_by=MADE_BY,
        git=origin["git"][:12],
        torch=origin["torch"],
    )
