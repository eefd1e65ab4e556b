"""The arms of the recipe's experiment: what each of them changes, and what it is compared to."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from recipe_map import fracture_map_logits
from recipe_peers import Peer, cube_logits, head_alone_logits, kept_norm_logits, mask_target_logits

from cspine.settings.presets import PRESETS, Preset

BASE = "the recipe"
Change = Callable[[Preset], Preset]


def _without_shifts(preset: Preset) -> Preset:
    return replace(preset, augment=replace(preset.augment, shift_mm=0.0, stretch=0.0))


def _classifier(**fields: object) -> Change:
    return lambda preset: replace(preset, classifier=replace(preset.classifier, **fields))


def _one_at_once(preset: Preset) -> Preset:
    """Batches as large as before, but batch norm sees one patient."""
    return replace(preset, classifier_training=replace(preset.classifier_training, at_once=1))


Reading = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From held-out logits (n, 8) and their slices' (n, 7, slices) to the logits that are judged (n, 8)."""


def none_of(logits: np.ndarray) -> np.ndarray:
    """Logits of "at least one", 1 - prod(1 - p), over the last axis."""
    none = -np.logaddexp(0, logits).sum(axis=-1)
    return np.log(-np.expm1(none)) - none


def _patient_as_any(logits: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.column_stack([logits[:, :-1], none_of(logits[:, :-1])])


def _patient_as_largest(logits: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.column_stack([logits[:, :-1], logits[:, :-1].max(axis=1)])


def _slices_alone(_: np.ndarray, slices: np.ndarray) -> np.ndarray:
    levels = none_of(slices.astype(np.float64))
    return np.column_stack([levels, none_of(levels)])


@dataclass(frozen=True)
class Arm:
    """One row of the table."""

    change: Change = lambda preset: preset
    """What differs from the recipe in its training."""
    of: str = ""
    """An arm whose training it shares; by default it has its own."""
    encoder_of: str = ""
    """An arm whose encoder it starts from, since what differs comes later."""
    read: Reading = lambda logits, _: logits
    """How its logits are read."""
    with_arm: str = ""
    """An arm with whose logits its own are averaged."""
    share: float = 1.0
    """Of the samples that each of its trainings is shown."""
    moved_mm: float = 0.0
    """SD of the error of the levels' places in held-out studies, in each direction."""
    beside: str = BASE
    """The arm that it is compared to."""
    peer: Peer | None = None
    """Another way from columns to logits, instead of the kit's training."""


SHIFTLESS, MOVED, OTHER = "without shifts and stretches", "levels found 4 mm off", "another encoder"
SLICES, KEEPS = "without training the encoder first", "batch norm keeps the encoder's figures"
ONE = "one study at once, as on a GPU"
FRACTURE_MAP = "a map of where the fracture is, as a target beside the slices"
ARMS: dict[str, Arm] = {
    BASE: Arm(),
    "as before": Arm(
        lambda preset: replace(preset, dense_targets=False, whole_each=1, mixup=0.0, mirrored_too=False)
    ),
    "targets from boxes alone": Arm(lambda preset: replace(preset, dense_targets=False)),
    "half as many samples": Arm(share=0.5),
    "as many whole vertebrae as fractured": Arm(lambda preset: replace(preset, whole_each=1)),
    KEEPS: Arm(encoder_of=BASE, peer=kept_norm_logits),
    ONE: Arm(_one_at_once, encoder_of=BASE),
    f"{ONE}, {KEEPS}": Arm(_one_at_once, encoder_of=BASE, beside=ONE, peer=kept_norm_logits),
    "without mixup": Arm(lambda preset: replace(preset, mixup=0.0)),
    "with drop path 0.2": Arm(_classifier(drop_path=0.2)),
    "without the mirrored view": Arm(lambda preset: replace(preset, mirrored_too=False)),
    SLICES: Arm(lambda preset: replace(preset, encoder_training=None)),
    "without attention over the levels": Arm(_classifier(context_layers=0), encoder_of=BASE),
    "patient as 1 - prod(1 - p)": Arm(of=BASE, read=_patient_as_any),
    "patient as the largest": Arm(of=BASE, read=_patient_as_largest),
    "without a sequence, 1 - prod(1 - p) of the slices": Arm(of=BASE, read=_slices_alone),
    "crop of 96 mm": Arm(lambda preset: replace(preset, stacks=replace(preset.stacks, crop_mm=96.0))),
    SHIFTLESS: Arm(_without_shifts),
    MOVED: Arm(of=BASE, moved_mm=4.0),
    f"{SHIFTLESS}, {MOVED}": Arm(_without_shifts, of=SHIFTLESS, moved_mm=4.0, beside=MOVED),
    OTHER: Arm(_classifier(encoder="test_efficientnet", encoder_options={"global_pool": "max"})),
    "two encoders": Arm(of=BASE, with_arm=OTHER),
    "CNN and RNN for each vertebra, patient as the largest (8th)": Arm(
        _classifier(context_layers=0), of="without attention over the levels", read=_patient_as_largest
    ),
    "3D CNN on each vertebra, patient as the largest (4th)": Arm(peer=cube_logits),
    "head alone, on features of the frozen encoder": Arm(of=BASE, peer=head_alone_logits),
    "vertebra's mask as a target instead of an input": Arm(peer=mask_target_logits),
    FRACTURE_MAP: Arm(peer=fracture_map_logits),
}
"""What is tried."""


def recipe() -> Preset:
    """The recipe at the size of a demo."""
    small = PRESETS["demo"]
    return replace(small, dense_targets=True, whole_each=3, mixup=0.3, mirrored_too=True)
