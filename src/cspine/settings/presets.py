"""Presets by name: every setting that shapes a run, in one place."""

import os
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.execution import available_cpus
from cspine.settings.networks import ClassifierSettings, LocatorSettings
from cspine.settings.preprocessing import ColumnSettings, StackSettings
from cspine.settings.strict import STRICT
from cspine.settings.training import AugmentSettings, TrainSettings, VolumeAugmentSettings

PresetName = Literal["smoke", "demo", "gpu-12gb", "t4", "gpu-24gb", "gpu-80gb"]
DEFAULT_PRESET: PresetName = "t4"


@dataclass(frozen=True, config=STRICT)
class Preset:
    """Everything that shapes a run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    column: ColumnSettings = ColumnSettings()
    stacks: StackSettings = StackSettings()
    locator: LocatorSettings = LocatorSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    locator_training: TrainSettings = TrainSettings()
    encoder_training: TrainSettings | None = None
    """How the encoder learns on single vertebrae first; None: it does not."""
    whole_each: Annotated[int, Field(ge=1)] = 3
    """Whole vertebrae for each fractured one that the encoder is shown in an epoch."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Parameter of the beta distribution from which the share comes in which two vertebrae are mixed; 0: none are."""
    dense_targets: bool = True
    """A fractured level without boxes has targets too: how much of the vertebra each slice shows. Else none."""
    classifier_training: TrainSettings = TrainSettings()
    locator_augment: VolumeAugmentSettings = VolumeAugmentSettings()
    augment: AugmentSettings = AugmentSettings()
    slice_loss: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the slice supervision beside the competition's loss."""
    mirrored_too: bool = False
    """Show each stack also with left and right exchanged when a study is predicted: twice the time."""

    def fold_seed(self, fold: int) -> int:
        """Give the seed from which everything in one fold's training follows.

        Parameters
        ----------
        fold : int
            The fold's number, from 0.

        Returns
        -------
        int
            A seed of that fold's own.
        """
        return self.seed * 100 + fold

    def with_workers(self, workers: int) -> "Preset":
        """Give the same preset for a machine with more or fewer cores a GPU.

        Parameters
        ----------
        workers : int
            Processes that make batches, for each GPU and network.

        Returns
        -------
        Preset
            Nothing else is changed.
        """
        return self._with_workers(lambda _: workers)

    def for_machine(self, workers: int | None = None) -> "Preset":
        """Give the same preset with as many workers as this machine can use.

        Parameters
        ----------
        workers : int, optional
            Processes that make batches, for each GPU; else the preset's own, but no more than CPUs for each
            process that trains.

        Returns
        -------
        Preset
            Nothing else is changed.
        """
        most = max(available_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
        return self._with_workers(lambda own: min(own, most) if workers is None else workers)

    def _with_workers(self, change: Callable[[int], int]) -> "Preset":
        def of(training: TrainSettings) -> TrainSettings:
            return replace(training, workers=change(training.workers))

        return replace(
            self,
            locator_training=of(self.locator_training),
            encoder_training=None if self.encoder_training is None else of(self.encoder_training),
            classifier_training=of(self.classifier_training),
        )

    def with_encoder(self, encoder: str) -> "Preset":
        """Give the same preset with another encoder, for one more run on the same columns.

        Parameters
        ----------
        encoder : str
            timm's name of it.

        Returns
        -------
        Preset
            Nothing else is changed.
        """
        return replace(self, classifier=replace(self.classifier, encoder=encoder))


TUNED_ENCODER = TrainSettings(
    epochs=12, batch_size=16, at_once=8, learning_rate=2e-4, evaluate_every=4, workers=2, ema_decay=0.998
)
TUNED = Preset(
    stacks=StackSettings(slices=15, neighbours=2, neighbour_mm=1.0, crop_mm=80.0, image_px=256),
    classifier=ClassifierSettings(drop_path=0.2),
    locator_training=TrainSettings(
        epochs=40, batch_size=4, at_once=2, repeats=4, learning_rate=1e-3, evaluate_every=10, workers=2
    ),
    encoder_training=TUNED_ENCODER,
    classifier_training=TrainSettings(
        epochs=20, batch_size=16, at_once=1, learning_rate=2e-4, evaluate_every=2, workers=2, ema_decay=0.998
    ),
    augment=AugmentSettings(rotate_deg=22.0),
    mixup=0.3,
    mirrored_too=True,
)
"""What the presets for the real data have in common: this one is for Kaggle's two T4."""


PRESETS: dict[PresetName, Preset] = {
    # Every stage within a minute on a dozen small studies, to see that it runs; the classifier learns nothing.
    "smoke": Preset(
        column=ColumnSettings(spacing_mm=(2.0, 2.0, 2.0)),
        stacks=StackSettings(slices=3, neighbours=1, neighbour_mm=2.0, crop_mm=64.0, image_px=32),
        classifier=ClassifierSettings(encoder="test_resnet", pretrained=False, hidden=8, context_layers=1),
        locator_training=TrainSettings(
            epochs=1, batch_size=1, repeats=2, learning_rate=5e-4, ema_decay=0.9, evaluate_every=1
        ),
        encoder_training=TrainSettings(epochs=2, batch_size=4, learning_rate=2e-3, ema_decay=0.5),
        classifier_training=TrainSettings(epochs=2, batch_size=2, learning_rate=1e-3, ema_decay=0.5),
    ),
    # Minutes on two CPU cores with a small replica: everything runs, nothing is tuned for the leaderboard.
    "demo": Preset(
        column=ColumnSettings(spacing_mm=(1.0, 1.0, 1.0)),
        stacks=StackSettings(slices=8, neighbours=1, neighbour_mm=1.5, crop_mm=80.0, image_px=64),
        classifier=ClassifierSettings(
            encoder="test_resnet",
            encoder_options={"global_pool": "max"},
            pretrained=False,
            hidden=48,
            context_layers=1,
            dropout=0.1,
        ),
        locator_training=TrainSettings(
            epochs=2, batch_size=2, repeats=2, learning_rate=5e-4, ema_decay=0.95, evaluate_every=2
        ),
        encoder_training=TrainSettings(
            epochs=25, batch_size=16, learning_rate=2e-3, ema_decay=0.98, evaluate_every=25
        ),
        classifier_training=TrainSettings(
            epochs=2, batch_size=4, learning_rate=7e-4, ema_decay=0.98, evaluate_every=2
        ),
        augment=AugmentSettings(
            shift_mm=4.0,
            stretch=0.05,
            rotate_deg=5.0,
            zoom=0.05,
            brightness=0.05,
            blur=0.0,
            noise=0.0,
            erase=0.0,
        ),
        slice_loss=1.0,
    ),
    # One GPU of 12 to 16 GB.
    "gpu-12gb": replace(TUNED, stacks=replace(TUNED.stacks, image_px=224)),
    # Kaggle's two T4 of 15 GB each.
    "t4": TUNED,
    # One GPU of 24 GB.
    "gpu-24gb": replace(TUNED, stacks=replace(TUNED.stacks, image_px=320)).with_workers(6),
    # One GPU of 80 GB.
    "gpu-80gb": replace(
        TUNED,
        stacks=replace(TUNED.stacks, image_px=384),
        locator_training=replace(TUNED.locator_training, epochs=60, batch_size=4),
        encoder_training=replace(TUNED_ENCODER, at_once=16),
        classifier_training=replace(TUNED.classifier_training, epochs=24, at_once=2),
    ).with_workers(12),
}


def for_trying(preset: Preset) -> bool:
    """Whether a run of this preset is for trying the kit: it learns on synthetic scans, or nothing.

    Parameters
    ----------
    preset : Preset
        As stored in a checkpoint.

    Returns
    -------
    bool
        True for smoke and demo, by their stacks.
    """
    return preset.stacks in (PRESETS["smoke"].stacks, PRESETS["demo"].stacks)


@dataclass(frozen=True, config=STRICT)
class Machine:
    """What a preset is for, and how fast it is taken to be."""

    name: str
    gpus: int
    gib: float
    """Memory of each GPU, as PyTorch counts it."""
    tflops: float
    """Of each GPU in mixed precision on such networks: some 6 % of a T4's peak, by judgement."""
    hours: float = 24.0
    """That there are for a blend: a week's quota on Kaggle, a day elsewhere."""
    others: tuple[str, ...] = ()
    """Encoders for further runs on the same columns, to be blended with the preset's own within those hours."""


MACHINES: dict[PresetName, Machine] = {
    "gpu-12gb": Machine("one GPU of 12 to 16 GB (RTX 3060)", 1, 11.6, 5.0),
    "t4": Machine(
        "Kaggle's two T4", 2, 14.6, 3.8, 30.0, ("convnext_femto.d1_in1k", "tf_efficientnet_b2.ns_jft_in1k")
    ),
    "gpu-24gb": Machine("one GPU of 24 GB (RTX 4090)", 1, 23.5, 16.0),
    "gpu-80gb": Machine(
        "one GPU of 80 GB (H100)",
        1,
        79.1,
        40.0,
        24.0,
        ("convnext_nano.in12k_ft_in1k", "tf_efficientnet_b3.ns_jft_in1k"),
    ),
}
"""The machines of those presets that are for a GPU."""


PRETRAINING = Preset(
    locator=LocatorSettings(pretrained=False),
    locator_training=TrainSettings(
        epochs=48,
        batch_size=2,
        learning_rate=4e-3,
        evaluate_every=24,
        ema_decay=0.998,
        checkpoint_every_s=120.0,
    ),
)
"""How the locator learns that comes with the kit; the rest of a preset plays no part in it."""


MACHINE_SETTINGS = {"workers", "checkpoint_every_s"}
"""Settings of the machine: they change nothing in what is learnt."""


def reproducible_settings(settings: Any) -> Any:
    """Give settings without those of the machine: what results depend on.

    Parameters
    ----------
    settings : dataclass or dict
        Settings, nested or not. Anything else is given back as it is.

    Returns
    -------
    dict
        The settings as JSON-able dictionaries.
    """
    if is_dataclass(settings) and not isinstance(settings, type):
        settings = asdict(settings)
    if isinstance(settings, dict):
        return {
            key: reproducible_settings(value)
            for key, value in settings.items()
            if key not in MACHINE_SETTINGS
        }
    return settings
