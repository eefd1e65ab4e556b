"""Where files lie agrees with the page that people read, and caches are told apart by what shapes them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from cspine.errors import InputError
from cspine.settings.layout import (
    CALIBRATION,
    CLASSIFIER,
    DEFAULT_CACHE,
    DEFAULT_OUT,
    DEFAULT_RAW,
    DEFAULT_RUN,
    FALLBACKS,
    INFERENCE_REPORT,
    LOCATOR,
    LOGITS,
    MADE_BY,
    METRICS,
    MODEL,
    SUBMISSION,
    CacheLayout,
    NetworkKind,
    RunLayout,
    column_settings,
    label_settings,
    volume_settings,
)
from cspine.settings.presets import DEFAULT_PRESET, PRESETS

PAGE = Path(__file__).parents[2] / "data" / "README.md"
CACHE, RUN = CacheLayout(Path("cache/<name>")), RunLayout(Path("runs/<name>"))
PRESET = PRESETS["demo"]


def tree() -> dict[str, str]:
    """The entries of the page's tree as paths, without a slash at the end, with what it says of them."""
    (block,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found, above = {}, []
    for row in block.splitlines():
        indent = len(row) - len(row.lstrip())
        if indent > 8:  # a description goes on
            continue
        name, _, words = row.strip().partition(" ")
        above = [*above[: indent // 2], name.rstrip("/")]
        found["/".join(above)] = words.strip()
    return found


def below(folder: Path) -> set[str]:
    """The tree's entries directly in a folder, a fold's folder counting as one."""
    rest = [path.removeprefix(f"{folder}/") for path in tree() if path.startswith(f"{folder}/")]
    return {path for path in rest if "/" not in path or path.endswith("/fold<k>")}


def properties_of(layout: CacheLayout | RunLayout) -> set[str]:
    """The paths that a layout has as properties, in its folder."""
    names = [name for name, value in vars(type(layout)).items() if isinstance(value, property)]
    return {str(getattr(layout, name).relative_to(layout.root)) for name in names}


def test_a_cache_holds_what_the_page_says():
    assert properties_of(CACHE) == below(CACHE.root)
    assert len(below(CACHE.root)) == 8


def test_a_run_holds_what_the_page_says():
    folds = {str(RUN.fold(kind, "<k>").relative_to(RUN.root)) for kind in get_args(NetworkKind)}
    assert properties_of(RUN) | folds == below(RUN.root)
    assert len(folds) == 3


def test_a_folds_files_are_those_on_the_page():
    words = tree()
    assert MODEL in words[str(RUN.fold(LOCATOR, "<k>"))] and METRICS in words[str(RUN.fold(LOCATOR, "<k>"))]
    assert LOGITS in words[str(RUN.fold(CLASSIFIER, "<k>"))]
    assert RUN.model(CLASSIFIER, 3) == RUN.root / "classifier" / "fold3" / MODEL
    assert RUN.logits(3) == RUN.root / "classifier" / "fold3" / LOGITS
    assert RUN.calibration.name == CALIBRATION


def test_the_targets_on_the_page_are_those_of_the_messages():
    words = tree()
    for kind in get_args(NetworkKind):
        assert words[str(RUN.fold(kind, "<k>"))].endswith(MADE_BY[kind])


def test_the_default_folders_are_on_the_page():
    words = tree()
    assert DEFAULT_RAW.relative_to("data").as_posix() in words
    for folder in (DEFAULT_CACHE, DEFAULT_RUN, DEFAULT_OUT):
        assert folder.name == DEFAULT_PRESET
        assert folder.relative_to("data").with_name("<name>").as_posix() in words
    submission = DEFAULT_OUT.relative_to("data").with_name("<name>")
    assert {f"{submission}/{name}" for name in (SUBMISSION, INFERENCE_REPORT, FALLBACKS)} <= words.keys()


def finish(run: Path, kind: NetworkKind, fold: int) -> Path:
    """Put the file of a finished fold there."""
    path = RunLayout(run).model(kind, fold)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("kind", get_args(NetworkKind))
def test_models_come_by_the_number_of_their_fold(tmp_path, kind):
    paths = {fold: finish(tmp_path, kind, fold) for fold in (10, 2, 0, 1)}
    assert RunLayout(tmp_path).models(kind) == [paths[fold] for fold in (0, 1, 2, 10)]


def test_only_finished_folds_of_the_kind_are_models(tmp_path):
    path = finish(tmp_path, CLASSIFIER, 1)
    finish(tmp_path, LOCATOR, 0)
    (tmp_path / CLASSIFIER / "fold2").mkdir()
    (tmp_path / CLASSIFIER / "fold2" / "best.safetensors").write_bytes(b"")
    assert RunLayout(tmp_path).models(CLASSIFIER) == [path]


@pytest.mark.parametrize("kind", get_args(NetworkKind))
def test_without_models_the_target_is_named(tmp_path, kind):
    with pytest.raises(InputError, match=f"no finished {kind} .*`{MADE_BY[kind]}` makes them") as error:
        RunLayout(tmp_path / "run").models(kind)
    assert str(tmp_path / "run") in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"locator": replace(PRESET.locator, spacing_mm=4.0)},
        {"locator": replace(PRESET.locator, channels=(8, 16))},
        {"locator": replace(PRESET.locator, window_level_hu=300.0)},
        {"locator_training": replace(PRESET.locator_training, epochs=3)},
        {"locator_training": replace(PRESET.locator_training, learning_rate=1e-4)},
        {"locator_augment": replace(PRESET.locator_augment, cut=0.9)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_label_maps_depend_on_tells_their_settings_apart(changes):
    other = replace(PRESET, **changes)
    assert label_settings(other) != label_settings(PRESET)
    assert column_settings(other) != column_settings(PRESET), "columns are cut by the label maps"


def test_the_machine_makes_no_difference_to_a_cache():
    training = replace(PRESET.locator_training, workers=9, checkpoint_every_s=1.0)
    other = replace(PRESET, locator_training=training)
    assert other != PRESET
    for settings in (volume_settings, label_settings, column_settings):
        assert settings(other) == settings(PRESET)


def test_the_classifier_makes_no_difference_to_a_cache():
    """Else every try of another classifier would cut all columns anew."""
    other = replace(
        PRESET,
        stacks=replace(PRESET.stacks, slices=5),
        classifier=replace(PRESET.classifier, hidden=16),
        classifier_training=replace(PRESET.classifier_training, epochs=9),
        encoder_training=None,
        slice_loss=0.1,
    )
    for settings in (volume_settings, label_settings, column_settings):
        assert settings(other) == settings(PRESET)


def test_each_stage_depends_on_its_own_settings():
    finer = replace(PRESET, column=replace(PRESET.column, spacing_mm=(0.25, 0.25, 0.25)))
    assert column_settings(finer) != column_settings(PRESET)
    assert label_settings(finer) == label_settings(PRESET)
    longer = replace(PRESET, locator_training=replace(PRESET.locator_training, epochs=99))
    assert volume_settings(longer) == volume_settings(PRESET)
    coarser = replace(PRESET, locator=replace(PRESET.locator, spacing_mm=6.0))
    assert volume_settings(coarser) != volume_settings(PRESET)


@pytest.mark.parametrize("name", PRESETS)
def test_settings_of_a_cache_are_json(name):
    for settings in (volume_settings, label_settings, column_settings):
        found = settings(PRESETS[name])
        assert json.loads(json.dumps(found)).keys() == found.keys()
