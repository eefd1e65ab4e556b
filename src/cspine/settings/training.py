"""Settings of how the networks learn, and how their samples are varied."""

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class TrainSettings:
    """How long and how fast a network learns."""

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(4, ge=1)
    """Samples a step on one GPU."""
    grad_accumulation: int = Field(1, ge=1)
    """Steps whose gradients are added before the optimiser moves."""
    repeats: int = Field(1, ge=1)
    """How often a study is shown in one epoch (each time augmented anew)."""
    learning_rate: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_share: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    evaluate_every: int = Field(1, ge=1)
    """Epochs between two evaluations on the held-out fold."""
    workers: int = Field(0, ge=0)
    """Processes that make batches, for each GPU."""
    checkpoint_every_s: float = Field(600.0, gt=0)
    """Seconds between two resumable states within an epoch."""


@dataclass(frozen=True, config=STRICT)
class AugmentSettings:
    """How training samples are varied."""

    shift_mm: float = Field(6.0, ge=0)
    stretch: float = Field(0.15, ge=0, lt=1)
    rotate_deg: float = Field(15.0, ge=0)
    zoom: float = Field(0.12, ge=0, lt=1)
    brightness: float = Field(0.1, ge=0, lt=1)
    blur: float = Field(0.1, ge=0, le=1)
    noise: float = Field(0.2, ge=0, le=1)
    erase: float = Field(0.1, ge=0, le=1)
    volume_turn_deg: float = Field(12.0, ge=0)
    """How far the locator's volumes are tilted and turned."""
    volume_zoom: float = Field(0.15, ge=0, lt=1)
