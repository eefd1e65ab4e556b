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
    """Samples an update, on all GPUs together: what is learnt does not depend on how many there are."""
    at_once: Annotated[int, Field(ge=1)] | None = None
    """Samples that a GPU holds at once, if fewer than its share of a batch; their gradients are added up."""
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

    def steps_of(self, processes: int) -> tuple[int, int]:
        """Split a batch into what one process computes at once.

        Parameters
        ----------
        processes : int
            How many train together.

        Returns
        -------
        samples : int
            Of one step of one process.
        steps : int
            Whose gradients are added up. With all processes it makes `batch_size` samples, or a few more where it is
            no multiple of their number.
        """
        share = -(-self.batch_size // processes)
        samples = next(n for n in range(min(self.at_once or share, share), 0, -1) if share % n == 0)
        return samples, share // samples


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


@dataclass(frozen=True, config=STRICT)
class VolumeAugmentSettings:
    """How the locator's windows are varied."""

    turn_deg: Annotated[float, Field(ge=0)] = 22.0
    """Largest turn about each axis."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.2
    stretch: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest change of scale along a single axis, beside the zoom."""
    bend_mm: Annotated[float, Field(ge=0)] = 3.0
    """SD of the displacements that bend a window."""
    cut: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the windows in which the scan ends."""
    field: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the windows that a small field of view limits."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.5
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.3
    blur: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the windows that are blurred; half as many are sharpened, half as many have thick slices."""
    noise_hu: Annotated[float, Field(ge=0)] = 120.0
    """Largest SD of the noise."""
    metal: Annotated[float, Field(ge=0, le=1)] = 0.12
