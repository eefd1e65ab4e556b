import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.hand_made import column

from cspine.errors import InputError
from cspine.inference import ensemble as module
from cspine.inference.ensemble import Answer, DeviceLost, Ensemble, folds_in_words
from cspine.networks.checkpoints import read_description, save_weights
from cspine.networks.classifier import study_and_slice_logits
from cspine.preprocessing.stacks import slice_positions, study_stacks
from cspine.preprocessing.verdict import Kind
from cspine.settings.layout import CLASSIFIER, LOCATOR, RunLayout

CPU = torch.device("cpu")


def test_all_folds_are_loaded_and_asked(run, make):
    ensemble = Ensemble.load(run, CPU)
    assert (len(ensemble.locators), len(ensemble.classifiers)) == (2, 2)
    assert ensemble.preset.stacks == make.preset.stacks
    neck = column()
    both = ensemble.predict(neck)
    alone = [replace(ensemble, classifiers=[one]).predict(neck) for one in ensemble.classifiers]
    assert (alone[0] != alone[1]).any(), "folds differ"
    np.testing.assert_array_equal(both, np.concatenate(alone))
    assert both.shape == (2, 8) and both.dtype == np.float64


def test_mirrored_views_are_averaged_where_the_preset_says_so(run):
    ensemble = Ensemble.load(run, CPU)
    neck = column((2,))
    shown = ensemble.predict(neck)
    both = replace(ensemble, preset=replace(ensemble.preset, mirrored_too=True)).predict(neck)
    assert (both != shown).any() and both.shape == shown.shape
    images, masks = study_stacks(neck, ensemble.preset.stacks)
    flipped = [
        torch.from_numpy(np.ascontiguousarray(part))[None]
        for part in (images[:, :, :, ::-1], masks[..., ::-1])
    ]
    other = [study_and_slice_logits(one, *flipped, CPU)[0] for one in ensemble.classifiers]
    np.testing.assert_allclose(both, (shown + torch.cat(other).numpy()) / 2, atol=1e-5)


def test_a_full_memory_is_shown_half_as_many_images_until_they_fit(run, monkeypatch):
    ensemble, neck = Ensemble.load(run, CPU), column((2,))
    expected, asked = ensemble.predict(neck), []

    def full(classifier, *words):
        asked.append(classifier.images_at_once)
        if not 0 < classifier.images_at_once <= fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return study_and_slice_logits(classifier, *words)

    monkeypatch.setattr(module, "study_and_slice_logits", full)
    fits = 12
    np.testing.assert_allclose(ensemble.predict(neck), expected, atol=1e-5)
    assert asked[0] == 0 and 0 < asked[-1] <= 12
    fits = 1
    with pytest.raises(DeviceLost, match="out of memory"):
        ensemble.predict(neck)


def test_what_is_not_finite_is_computed_again_in_float32_or_refused(run, monkeypatch):
    ensemble, neck, asked = Ensemble.load(run, CPU), column((2,)), []

    def overflows(classifier, *words):
        asked.append(words[-1])
        study, slices = study_and_slice_logits(classifier, *words)
        return (study if words[-1] and mends else study + torch.inf), slices

    monkeypatch.setattr(module, "study_and_slice_logits", overflows)
    mends = True
    assert np.isfinite(ensemble.predict(neck)).all()
    assert asked == [False, False, True, True]
    mends = False
    with pytest.raises(InputError, match="classifier number 0, 1 is not finite"):
        ensemble.predict(neck)


def test_less_work_is_first_a_view_then_folds(run):
    ensemble = Ensemble.load(run, CPU)
    ensemble = replace(ensemble, preset=replace(ensemble.preset, mirrored_too=True))
    words = []
    while (lighter := ensemble.lighter()) is not None:
        ensemble = lighter[0]
        words.append(lighter[1])
    assert words == ["without the mirrored view", "with the first 1 folds"]
    assert len(ensemble.classifiers) == 1 and not ensemble.preset.mirrored_too


def test_every_fold_has_a_say_in_where_the_levels_are(run):
    """Folds of equal weights find what one of them finds; a verdict comes with it."""
    hu = np.full((80, 60, 60), -1000, np.int16)
    ensemble = Ensemble.load(run, CPU)
    found = ensemble.locate(hu)
    assert found.labels.shape == hu.shape and not found.labels.any()
    assert found.verdict.kind is Kind.NOT_A_NECK


@pytest.mark.parametrize(
    ("kind", "fold", "part"),
    [
        (CLASSIFIER, 1, {"seed": 9}),
        (CLASSIFIER, 1, {"stacks": {"slices": 4}}),
        (LOCATOR, 0, {"locator": {"spacing_mm": 5.0, "pretrained": False}}),
    ],
    ids=["another seed", "other stacks", "another spacing"],
)
def test_a_network_of_other_settings_is_refused(own_run, make, tmp_path, kind, fold, part):
    changes = {
        name: replace(getattr(make.preset, name), **value) if isinstance(value, dict) else value
        for name, value in part.items()
    }
    other = make.write_run(tmp_path / "other", preset=replace(make.preset, **changes))
    name = RunLayout(own_run).model(kind, fold)
    shutil.copy(RunLayout(other).model(kind, fold), name)
    with pytest.raises(InputError, match="other settings") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


@pytest.mark.parametrize(
    ("kind", "words"), [(CLASSIFIER, "1 of 2 folds"), (LOCATOR, "2 folds, 1 of 2 folds of the locator")]
)
@pytest.mark.parametrize("fold", [0, 1])
def test_the_folds_that_are_there_answer(own_run, kind, words, fold):
    whole = Ensemble.load(own_run, CPU)
    RunLayout(own_run).model(kind, fold).unlink()
    part = Ensemble.load(own_run, CPU)
    assert folds_in_words(own_run) == words
    neck = column()
    kept = whole.predict(neck)[[1 - fold] if kind == CLASSIFIER else [0, 1]]
    np.testing.assert_array_equal(part.predict(neck), kept)
    assert len(part.locators) == (1 if kind == LOCATOR else 2)


@pytest.mark.parametrize(("kind", "target"), [(CLASSIFIER, "make train"), (LOCATOR, "make locate")])
def test_a_run_without_any_fold_of_a_network_is_refused(own_run, kind, target):
    for fold in (0, 1):
        RunLayout(own_run).model(kind, fold).unlink()
    with pytest.raises(InputError, match=f"no finished {kind}.*`{target}`"):
        Ensemble.load(own_run, CPU)


@pytest.mark.parametrize("kind", [LOCATOR, CLASSIFIER])
def test_a_fold_of_another_split_is_refused(own_run, make, tmp_path, kind):
    other = make.write_run(tmp_path / "other", folds={"1.2.1": 1, "1.2.2": 0})
    name = RunLayout(own_run).model(kind, 1)
    shutil.copy(RunLayout(other).model(kind, 1), name)
    with pytest.raises(InputError, match="another split") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


@pytest.mark.parametrize("kind", [LOCATOR, CLASSIFIER])
def test_a_fold_under_another_ones_name_is_refused(own_run, kind):
    name = RunLayout(own_run).model(kind, 1)
    shutil.copy(RunLayout(own_run).model(kind, 0), name)
    with pytest.raises(InputError, match="this is fold 0") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


def test_a_run_without_any_model_says_what_makes_them(tmp_path):
    with pytest.raises(InputError, match="make locate"):
        Ensemble.load(tmp_path, CPU)


def test_a_file_that_is_no_checkpoint_is_refused(own_run):
    name = RunLayout(own_run).model(LOCATOR, 1)
    name.write_bytes(name.read_bytes()[:100])
    with pytest.raises(InputError) as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


def test_a_classifier_under_a_locators_name_is_refused(own_run):
    name = RunLayout(own_run).model(LOCATOR, 1)
    shutil.copy(RunLayout(own_run).model(CLASSIFIER, 1), name)
    with pytest.raises(InputError, match="a classifier, expected a locator"):
        Ensemble.load(own_run, CPU)


def test_weights_of_another_shape_are_refused(own_run, make):
    name = RunLayout(own_run).model(LOCATOR, 0)
    save_weights(name, {"a": torch.zeros(3)}, read_description(name, "make locate"))
    with pytest.raises(InputError, match="do not fit") as error:
        Ensemble.load(own_run, CPU)
    assert str(name) in str(error.value)


class Bright(torch.nn.Module):
    """Finds fractured what is bright in the middle slice."""

    num_features = 1

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        middle = (pixels.shape[1] - 1) // 2
        return torch.nn.functional.avg_pool2d(pixels[:, middle : middle + 1], 4)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))


def test_the_ring_lies_where_the_spot_is(run):
    """Bright spots at known places of a dark column are found again, to the size of a cell of the map."""
    ensemble = Ensemble.load(run, CPU)
    stacks, neck = ensemble.preset.stacks, column()
    head = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(head.weight)
    image = np.zeros_like(neck.image)
    wanted, heights = [], []
    for level, extent in enumerate(neck.extents):
        mm = slice_positions(extent, stacks)[level % stacks.slices]
        y, x = extent.centre_y_mm + 6.0 - 2 * level, extent.centre_x_mm - 7.0 + 2 * level
        z, row, col = (round(at / step) for at, step in zip((mm, y, x), neck.spacing_mm, strict=True))
        image[max(z - 1, 0) : z + 2, row - 1 : row + 2, col - 1 : col + 2] = 255
        wanted.append((y, x))
        heights.append(mm)
    found = replace(ensemble, classifiers=[SimpleNamespace(encoder=Bright(), slice_alone=head)]).where_mm(
        Answer(np.zeros((1, 8)), replace(neck, image=image), {}, np.array(heights))
    )
    cell_mm = stacks.crop_mm / (stacks.image_px // 4)
    np.testing.assert_allclose(found, wanted, atol=0.75 * cell_mm)


def test_the_ring_is_that_of_the_networks(run):
    coarse = Ensemble.load(run, CPU)
    answer = coarse.answer_about(column((2,)))
    assert np.isnan(coarse.where_mm(answer)).all(), "one cell for the whole picture tells nothing"
    fine = replace(coarse.preset.stacks, image_px=160)
    ensemble = replace(coarse, preset=replace(coarse.preset, stacks=fine))
    where = ensemble.where_mm(answer)
    assert where.shape == (7, 2) and np.isfinite(where).all()
    half = ensemble.preset.stacks.crop_mm / 2
    for place, extent in zip(where, answer.column.extents, strict=True):
        assert (np.abs(place - (extent.centre_y_mm, extent.centre_x_mm)) < half).all()
