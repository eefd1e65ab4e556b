"""Presets: complete, checked, the same after a checkpoint, and without the machine where results are compared."""

import json
from dataclasses import asdict, replace
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from cspine.networks.fold_models import FoldDescription, describe_fold
from cspine.settings.execution import ExecutionSettings
from cspine.settings.flags import PresetFlag
from cspine.settings.layout import CLASSIFIER
from cspine.settings.networks import ClassifierSettings, LocatorSettings
from cspine.settings.preprocessing import ColumnSettings, StackSettings
from cspine.settings.presets import (
    DEFAULT_PRESET,
    MACHINE_SETTINGS,
    PRESETS,
    Preset,
    PresetName,
    reproducible_settings,
)
from cspine.settings.training import AugmentSettings, TrainSettings

MACHINE = {"workers": 7, "checkpoint_every_s": 5.0}
TRAININGS = ("locator_training", "encoder_training", "classifier_training")


def leaves(tree, path=()):
    """Every value of nested dictionaries by its path."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {key: value for name, part in tree.items() for key, value in leaves(part, (*path, name)).items()}


def on_another_machine(preset: Preset) -> Preset:
    """The same preset with every setting of the machine changed."""
    changed = {name: getattr(preset, name) for name in TRAININGS}
    return replace(preset, **{name: part and replace(part, **MACHINE) for name, part in changed.items()})


def test_every_name_is_a_preset_and_every_preset_has_a_name():
    assert set(PRESETS) == set(get_args(PresetName))
    assert DEFAULT_PRESET in PRESETS and PresetFlag().preset == DEFAULT_PRESET
    for name in PRESETS:
        assert PresetFlag(preset=name).preset == name
    with pytest.raises(ValidationError, match="preset"):
        PresetFlag(preset="t5")


def test_presets_are_different_settings():
    names = list(PRESETS)
    for number, name in enumerate(names):
        for other in names[number + 1 :]:
            assert reproducible_settings(PRESETS[name]) != reproducible_settings(PRESETS[other])


@pytest.mark.parametrize("name", PRESETS)
def test_exactly_the_machines_settings_are_left_out(name):
    everything, kept = leaves(asdict(PRESETS[name])), leaves(reproducible_settings(PRESETS[name]))
    left_out = everything.keys() - kept.keys()
    assert left_out == {path for path in everything if path[-1] in MACHINE_SETTINGS}
    assert {path[-1] for path in left_out} == MACHINE_SETTINGS == MACHINE.keys()
    assert kept == {path: value for path, value in everything.items() if path not in left_out}


@pytest.mark.parametrize("name", PRESETS)
def test_another_machine_has_the_same_reproducible_settings(name):
    other = on_another_machine(PRESETS[name])
    assert other != PRESETS[name]
    assert reproducible_settings(other) == reproducible_settings(PRESETS[name])
    assert reproducible_settings(replace(other, seed=1)) != reproducible_settings(PRESETS[name])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json_and_back(name):
    """What a checkpoint stores gives back every setting, tuples and the absent encoder training included."""
    without_encoder = replace(PRESETS[name], encoder_training=None)
    for preset in (PRESETS[name], without_encoder):
        stored = json.loads(json.dumps(describe_fold(CLASSIFIER, 1, preset, {"1.2.3": 0, "1.2.4": 1})))
        read = TypeAdapter(FoldDescription).validate_python(stored)
        assert (read.kind, read.fold, read.folds) == (CLASSIFIER, 1, 2)
        assert on_another_machine(read.preset) == on_another_machine(preset)
        assert isinstance(read.preset.column.spacing_mm, tuple)
    assert read.preset.encoder_training is None


@pytest.mark.parametrize(
    "kind",
    [
        Preset,
        ColumnSettings,
        StackSettings,
        LocatorSettings,
        ClassifierSettings,
        TrainSettings,
        AugmentSettings,
        ExecutionSettings,
    ],
)
def test_unknown_fields_are_refused_by_name(kind):
    with pytest.raises(ValidationError, match="epoch_count"):
        kind(epoch_count=3)
    with pytest.raises(ValidationError, match="epoch_count"):
        TypeAdapter(kind).validate_python({"epoch_count": 3})


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Preset, "seed", -1),
        (Preset, "seed", 2**31),
        (Preset, "slice_loss", -0.1),
        (Preset, "column", {"spacing": 1}),
        (ColumnSettings, "window_width_hu", 0),
        (ColumnSettings, "spacing_mm", (0.5, 0.5)),
        (ColumnSettings, "spacing_mm", (0.5, 0.0, 0.5)),
        (StackSettings, "slices", 0),
        (StackSettings, "neighbours", -1),
        (StackSettings, "neighbour_mm", 0),
        (StackSettings, "image_px", 8),
        (LocatorSettings, "spacing_mm", 0),
        (LocatorSettings, "stem_stride", 5),
        (LocatorSettings, "window_vox", (32, 32)),
        (ClassifierSettings, "hidden", 9),
        (ClassifierSettings, "hidden", 6),
        (ClassifierSettings, "context_layers", -1),
        (ClassifierSettings, "dropout", 1),
        (TrainSettings, "epochs", 0),
        (TrainSettings, "epochs", "many"),
        (TrainSettings, "epochs", 1.5),
        (TrainSettings, "batch_size", 0),
        (TrainSettings, "at_once", 0),
        (TrainSettings, "learning_rate", 0),
        (TrainSettings, "warmup_share", 1),
        (TrainSettings, "ema_decay", 1),
        (TrainSettings, "max_grad_norm", 0),
        (TrainSettings, "evaluate_every", 0),
        (TrainSettings, "workers", -1),
        (TrainSettings, "checkpoint_every_s", 0),
        (AugmentSettings, "shift_mm", -1),
        (AugmentSettings, "stretch", 1),
        (AugmentSettings, "zoom", 1),
        (AugmentSettings, "erase", 1.1),
        (ExecutionSettings, "workers", 0),
    ],
)
def test_values_out_of_range_are_refused_by_name(kind, field, value):
    with pytest.raises(ValidationError, match=field):
        kind(**{field: value})


def test_settings_can_not_be_changed_later():
    with pytest.raises(AttributeError):
        PRESETS["demo"].seed = 3


def test_every_fold_of_every_seed_has_a_seed_of_its_own():
    seeds = [Preset(seed=seed).fold_seed(fold) for seed in range(3) for fold in range(20)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("batch", "at_once", "processes", "expected"),
    [
        (16, None, 1, (16, 1)),
        (16, 1, 1, (1, 16)),
        (16, 1, 2, (1, 8)),
        (16, 8, 2, (8, 1)),
        (16, 32, 4, (4, 1)),
        (6, 4, 1, (3, 2)),
        (1, None, 2, (1, 1)),
        (16, 4, 3, (3, 2)),
    ],
)
def test_a_batch_is_as_large_on_many_gpus_as_on_one(batch, at_once, processes, expected):
    samples, steps = TrainSettings(batch_size=batch, at_once=at_once).steps_of(processes)
    assert (samples, steps) == expected
    assert batch <= samples * steps * processes < batch + processes
