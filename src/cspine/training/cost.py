"""What a preset costs before anything is trained: parameters, memory, arithmetic, hours.

Arithmetic and memory are counted on small pictures and scaled with their area; the hours follow from throughputs that
are stated, not measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cspine.competition.labels import LEVELS, PUBLISHED
from cspine.networks.classifier import Classifier, SliceNet
from cspine.networks.locator import Locator
from cspine.settings.networks import ClassifierSettings
from cspine.settings.presets import MACHINES, Machine, Preset

SMALL_PX = 64
"""Pictures on which it is counted."""
FOR_A_PARAMETER = 22
"""Bytes: weight, gradient, AdamW's two figures and the average in float32, and the half precision copy."""
BACK_TOO = 3
"""Forward and back cost this many times what forward alone does."""
FOLDS = 5
MASKED = 87
"""Studies of the competition that have a mask."""
STUDIES = {name: PUBLISHED[name].studies for name in ("train", "public", "private")}
KERNEL_S = 9 * 3600
"""Kaggle stops a kernel after nine hours."""
LOCATOR_WINDOWS = 10
"""That are looked at in an average scan, by judgement."""
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """What a preset needs on the competition's data, five folds."""

    parameters: int
    """Of one classifier."""
    gib: float
    """Memory of the larger of the two steps, encoder's and classifier's."""
    batches: tuple[int, int]
    """Samples an update of the encoder and of the classifier."""
    images_an_epoch: tuple[int, int]
    """Pictures an epoch of the encoder's and the classifier's training, one fold."""
    training_pflop: float
    study_tflop: float
    """To predict one study with all folds."""


def saved_bytes(compute: Callable[[], Tensor]) -> int:
    """Count what a computation keeps for its way back.

    Parameters
    ----------
    compute : callable
        Gives a tensor that requires a gradient.

    Returns
    -------
    int
        Bytes of the storages that are kept, each counted once.
    """
    storages: dict[int, int] = {}
    kept, nothing = [], torch.empty(0)

    def keep(tensor: Tensor) -> Tensor:
        # So that no other storage gets its address. Detached: a node that held its own output would never be freed.
        kept.append(tensor.detach())
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return nothing

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(storages.values())


def step_gib(preset: Preset, samples: int, images: int) -> float:
    """Count the memory of one training step of one GPU in mixed precision.

    Parameters
    ----------
    preset : Preset
        The settings.
    samples : int
        Studies or vertebrae of the step.
    images : int
        Pictures of each.

    Returns
    -------
    float
        GiB: what is kept for the way back, and all that the weights need.
    """
    settings, channels = replace(preset.classifier, pretrained=False), preset.stacks.channels
    each, _ = _an_image(settings, channels)
    model = Classifier(settings, channels)
    with torch.autocast("cpu", torch.bfloat16):
        features = torch.zeros(
            len(LEVELS) * samples, preset.stacks.slices, model.slice_alone.in_features, requires_grad=True
        )
        heads = saved_bytes(lambda: model.answer(features, samples)[0].sum())
    weights = FOR_A_PARAMETER * sum(one.numel() for one in model.parameters())
    scale = (preset.stacks.image_px / SMALL_PX) ** 2
    return (samples * images * each * scale + heads + weights) / GIB


def cost_of(preset: Preset) -> Cost:
    """Count what a preset costs.

    Parameters
    ----------
    preset : Preset
        The settings.

    Returns
    -------
    Cost
        On the competition's published numbers of studies and fractures.
    """
    settings, stacks = replace(preset.classifier, pretrained=False), preset.stacks
    _, flop = _an_image(settings, stacks.channels)
    picture = flop * (stacks.image_px / SMALL_PX) ** 2
    study = len(LEVELS) * stacks.slices * picture
    window = _flop(Locator(preset.locator), torch.zeros(1, 1, *preset.locator.window_vox))
    learnt = 1 - 1 / FOLDS
    fractured = round(sum(PUBLISHED["train"].positives[: len(LEVELS)]) * learnt)
    of_encoder = 0
    encoder, classifier, locator = (
        preset.encoder_training,
        preset.classifier_training,
        preset.locator_training,
    )
    if encoder is not None:
        of_encoder = fractured * (1 + preset.whole_each) * stacks.slices
    of_classifier = round(STUDIES["train"] * learnt) * len(LEVELS) * stacks.slices
    training = FOLDS * BACK_TOO * picture * of_classifier * classifier.epochs
    training += FOLDS * BACK_TOO * picture * of_encoder * (encoder.epochs if encoder else 0)
    training += FOLDS * BACK_TOO * window * round(MASKED * learnt) * locator.repeats * locator.epochs
    views = 2 if preset.mirrored_too else 1
    steps = [(classifier.steps_of(1)[0], len(LEVELS) * stacks.slices)]
    steps += [] if encoder is None else [(encoder.steps_of(1)[0], stacks.slices)]
    return Cost(
        parameters=sum(one.numel() for one in Classifier(settings, stacks.channels).parameters()),
        gib=max(step_gib(preset, *step) for step in steps),
        batches=(encoder.batch_size if encoder else 0, classifier.batch_size),
        images_an_epoch=(of_encoder, of_classifier),
        training_pflop=training / 1e15,
        study_tflop=FOLDS * (views * study + LOCATOR_WINDOWS * window) / 1e12,
    )


def describe_cost(name: str, preset: Preset) -> str:
    """Put a preset's cost into words.

    Parameters
    ----------
    name : str
        The preset's name.
    preset : Preset
        Its settings.

    Returns
    -------
    str
        A line a figure.
    """
    cost, machine = cost_of(preset), {str(key): found for key, found in MACHINES.items()}.get(name)
    encoder, classifier = cost.images_an_epoch
    lines = [
        f"preset {name}: {preset.classifier.encoder}, {cost.parameters / 1e6:.1f} million parameters, "
        f"{preset.stacks.image_px} px",
        f"memory of the largest step: {cost.gib:.1f} GiB counted"
        + (f", of {machine.gib:g} GiB" if machine else ""),
        f"batch: {cost.batches[0]} vertebrae (encoder), {cost.batches[1]} studies (classifier), on one GPU or several",
        f"pictures an epoch and fold: {encoder:,} (encoder), {classifier:,} (classifier)",
        f"training of {FOLDS} folds: {cost.training_pflop:,.0f} PFLOP; a study with all of them: "
        f"{cost.study_tflop:.1f} TFLOP",
    ]
    if machine is not None:
        speed = machine.gpus * machine.tflops
        studies = STUDIES["public"] + STUDIES["private"]
        lines.append(
            f"on {machine.name} at {machine.tflops:g} TFLOP/s each (stated, not measured): "
            f"{cost.training_pflop * 1000 / speed / 3600:.0f} h of training, {cost.study_tflop / speed:.1f} s a study; "
            f"Kaggle's kernel has {KERNEL_S / studies:.1f} s a study, reading and cutting included"
        )
        lines += _describe_blend(preset, cost, machine)
    return "\n".join(lines)


def _describe_blend(preset: Preset, own: Cost, machine: Machine) -> list[str]:
    """What runs with other encoders take beside the preset's own, and all of them together."""
    if not machine.others:
        return []
    speed = machine.gpus * machine.tflops
    costs = {preset.classifier.encoder: own}
    costs |= {name: cost_of(preset.with_encoder(name)) for name in machine.others}
    lines = [
        f"  {name}: {one.parameters / 1e6:.1f} million parameters, {one.gib:.1f} GiB, "
        f"{one.training_pflop * 1000 / speed / 3600:.1f} h"
        for name, one in costs.items()
    ]
    hours = sum(one.training_pflop for one in costs.values()) * 1000 / speed / 3600
    seconds = sum(one.study_tflop for one in costs.values()) / speed
    return [
        f"a blend of {len(costs)} encoders: {hours:.0f} h of training of {machine.hours:g} h, {seconds:.1f} s a study",
        *lines,
    ]


def _an_image(settings: ClassifierSettings, channels: int) -> tuple[float, float]:
    """What the encoder keeps for one small picture in half precision, in bytes, and its arithmetic, in FLOP."""
    model = SliceNet(settings, channels).train()

    def pictures(count: int) -> Tensor:
        return torch.zeros(1, count, SMALL_PX, SMALL_PX, channels - 1, dtype=torch.uint8)

    def kept(count: int) -> int:
        shown = pictures(count)
        with torch.autocast("cpu", torch.bfloat16):
            return saved_bytes(lambda: model(shown, shown[..., 0]).sum())

    shown = pictures(2)
    return (kept(4) - kept(2)) / 2, _flop(model, shown, shown[..., 0]) / 2


def _flop(model: torch.nn.Module, *inputs: Tensor) -> int:
    """Floating point operations of one call, two for each multiplication with its addition."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    return counter.get_total_flops()
