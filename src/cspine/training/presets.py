"""Presets by name: every setting that shapes a model, in one place. No torch here."""

from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from cspine.errors import InputError
from cspine.networks.settings import ClassifierSettings, LocatorSettings
from cspine.scans.column import ColumnSettings
from cspine.scans.stacks import StackSettings

STRICT = ConfigDict(extra="forbid")


@checked(frozen=True, config=STRICT)
class FitSettings:
    """How long and how fast a network learns."""

    epochs: int = Field(20, ge=1)
    batch: int = Field(4, ge=1)
    """Studies a step on one GPU."""
    accumulate: int = Field(1, ge=1)
    """Steps whose gradients are added before the optimiser moves."""
    repeats: int = Field(1, ge=1)
    """How often a study is shown in one epoch (each time augmented anew)."""
    learning_rate: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    evaluate_every: int = Field(1, ge=1)
    """Epochs between two evaluations on the held-out fold."""
    workers: int = Field(0, ge=0)
    """Processes that make batches, for each GPU."""
    checkpoint_every_s: float = Field(600.0, gt=0)
    """Seconds between two resumable states within an epoch."""


@checked(frozen=True, config=STRICT)
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


@checked(frozen=True, config=STRICT)
class Preset:
    """Everything that shapes a run."""

    seed: int = Field(0, ge=0)
    column: ColumnSettings = Field(default_factory=ColumnSettings)
    stacks: StackSettings = Field(default_factory=StackSettings)
    locator: LocatorSettings = Field(default_factory=LocatorSettings)
    classifier: ClassifierSettings = Field(default_factory=ClassifierSettings)
    locator_fit: FitSettings = Field(default_factory=FitSettings)
    encoder_fit: FitSettings | None = None
    """How the encoder learns on single annotated slices first; None: it does not."""
    classifier_fit: FitSettings = Field(default_factory=FitSettings)
    augment: AugmentSettings = Field(default_factory=AugmentSettings)
    slice_loss: float = Field(0.3, ge=0)
    """Weight of the slice supervision beside the competition's loss."""


PRESETS: dict[str, Preset] = {
    # Every stage within a minute on a dozen small studies: is everything in its place? The classifier learns nothing.
    "smoke": Preset(
        column=ColumnSettings(spacing_mm=(2.0, 2.0, 2.0)),
        stacks=StackSettings(slices=3, neighbours=1, neighbour_mm=2.0, crop_mm=64.0, image_px=32),
        locator=LocatorSettings(spacing_mm=5.0, channels=(8, 16, 32), stem_stride=2, crop_vox=(32, 24, 24)),
        classifier=ClassifierSettings(encoder="test_resnet", pretrained=False, hidden=8, context_layers=1),
        locator_fit=FitSettings(
            epochs=6, batch=1, repeats=10, learning_rate=1e-2, ema_decay=0.95, evaluate_every=6
        ),
        encoder_fit=FitSettings(epochs=2, batch=4, learning_rate=2e-3, ema_decay=0.5),
        classifier_fit=FitSettings(epochs=2, batch=2, learning_rate=1e-3, ema_decay=0.5),
    ),
    # Minutes on two CPU cores with a small replica: everything runs, nothing is tuned for the leaderboard.
    "demo": Preset(
        column=ColumnSettings(spacing_mm=(1.0, 1.0, 1.0)),
        stacks=StackSettings(slices=8, neighbours=1, neighbour_mm=1.5, crop_mm=80.0, image_px=64),
        locator=LocatorSettings(
            spacing_mm=4.0, channels=(16, 32, 64, 64), stem_stride=2, crop_vox=(48, 32, 32)
        ),
        classifier=ClassifierSettings(
            encoder="test_resnet",
            encoder_options={"global_pool": "max"},
            pretrained=False,
            hidden=48,
            context_layers=1,
            dropout=0.1,
        ),
        locator_fit=FitSettings(
            epochs=10, batch=1, repeats=5, learning_rate=5e-3, ema_decay=0.98, evaluate_every=10
        ),
        encoder_fit=FitSettings(epochs=50, batch=16, learning_rate=2e-3, ema_decay=0.98, evaluate_every=50),
        classifier_fit=FitSettings(epochs=2, batch=4, learning_rate=7e-4, ema_decay=0.98, evaluate_every=2),
        augment=AugmentSettings(
            shift_mm=4.0,
            stretch=0.05,
            rotate_deg=5.0,
            zoom=0.05,
            brightness=0.05,
            blur=0.0,
            noise=0.0,
            erase=0.0,
            volume_turn_deg=4.0,
            volume_zoom=0.06,
        ),
        slice_loss=1.0,
    ),
    # Kaggle's two T4 (15 GB each).
    "t4": Preset(
        locator_fit=FitSettings(
            epochs=60, batch=2, repeats=4, learning_rate=2e-3, evaluate_every=10, workers=2
        ),
        encoder_fit=FitSettings(
            epochs=12, batch=8, learning_rate=2e-4, evaluate_every=4, workers=2, ema_decay=0.998
        ),
        classifier_fit=FitSettings(
            epochs=20, batch=1, accumulate=8, learning_rate=2e-4, evaluate_every=2, workers=2, ema_decay=0.998
        ),
    ),
    # One GPU with 80 GB or more.
    "h200": Preset(
        stacks=StackSettings(slices=15, neighbours=2, neighbour_mm=1.0, crop_mm=96.0, image_px=384),
        locator=LocatorSettings(spacing_mm=2.0, channels=(32, 64, 128, 256)),
        locator_fit=FitSettings(
            epochs=100, batch=4, repeats=4, learning_rate=2e-3, evaluate_every=10, workers=6
        ),
        encoder_fit=FitSettings(
            epochs=12, batch=16, learning_rate=2e-4, evaluate_every=4, workers=12, ema_decay=0.998
        ),
        classifier_fit=FitSettings(
            epochs=24,
            batch=4,
            accumulate=2,
            learning_rate=2e-4,
            evaluate_every=2,
            workers=12,
            ema_decay=0.998,
        ),
    ),
}


MACHINE = {"workers", "checkpoint_every_s"}
"""Settings of the machine: they change nothing in what is learnt."""


def what_matters(settings: Any) -> Any:
    """Settings as JSON-able dictionaries, without those of the machine: what results depend on."""
    if is_dataclass(settings):
        settings = asdict(settings)
    if isinstance(settings, dict):
        return {key: what_matters(value) for key, value in settings.items() if key not in MACHINE}
    return settings


def preset_named(name: str) -> Preset:
    """The preset of that name. Raises InputError for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r}: unknown; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
