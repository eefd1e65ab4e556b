"""Settings of how the networks learn, and how their samples are varied."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class TrainSettings:
    """How long and how fast a network learns."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 4
    """Samples a step on one GPU."""
    grad_accumulation: Annotated[int, Field(ge=1)] = 1
    """Steps whose gradients are added before the optimiser moves."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often a study is shown in one epoch (each time augmented anew)."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps in which the learning rate rises."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between two evaluations on the held-out fold."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that make batches, for each GPU."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds between two resumable states within an epoch."""


@dataclass(frozen=True, config=STRICT)
class AugmentSettings:
    """How training samples are varied."""

    shift_mm: Annotated[float, Field(ge=0)] = 6.0
    stretch: Annotated[float, Field(ge=0, lt=1)] = 0.15
    rotate_deg: Annotated[float, Field(ge=0)] = 15.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.12
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    blur: Annotated[float, Field(ge=0, le=1)] = 0.1
    noise: Annotated[float, Field(ge=0, le=1)] = 0.2
    erase: Annotated[float, Field(ge=0, le=1)] = 0.1
    volume_turn_deg: Annotated[float, Field(ge=0)] = 12.0
    """How far the locator's volumes are tilted and turned."""
    volume_zoom: Annotated[float, Field(ge=0, lt=1)] = 0.15
