import numpy as np
import pandas as pd
import pytest
from helpers.hand_made import column

from cspine.competition.labels import PREDICTION_TYPES
from cspine.errors import InputError
from cspine.evaluation.slices import rank_slices, read_slice_logits
from cspine.execution.store import StudyStore
from cspine.preprocessing.stacks import deciding_mm, slice_positions, slice_targets
from cspine.settings.layout import RunLayout
from cspine.settings.preprocessing import StackSettings

STACKS = StackSettings(slices=8, neighbours=1, neighbour_mm=2.0, crop_mm=64.0, image_px=32)


@pytest.fixture
def store(tmp_path) -> StudyStore:
    """Six columns, the first four with boxes in C2."""
    made = StudyStore(tmp_path / "columns", {})
    for number in range(6):
        neck = column((2,) if number < 4 else ())
        made.write(f"1.2.{number}", neck.arrays(), neck.meta())
    return made


def truth_of(number: int) -> np.ndarray:
    return np.array([0, 1, 0, 0, 0, 0, 0, 1]) if number != 5 else np.zeros(8)


def test_slices_inside_of_boxes_are_held_against_those_outside(store):
    neck = column((2,))
    inside = slice_targets(neck, 1, True, STACKS)
    assert 0 < inside.sum() < 8
    logits = {f"1.2.{number}": np.zeros((7, 8), np.float32) for number in range(6)}
    for number in range(4):
        logits[f"1.2.{number}"][1] = inside * 2 - 1
    truth = {f"1.2.{number}": truth_of(number) for number in range(6)}
    found = rank_slices(logits, truth, store, STACKS)
    assert (found.vertebrae, found.studies) == (4, 4)  # the fifth has no boxes, the sixth no fracture
    assert found.ranking.rows == 32 and found.ranking.positives == 4 * inside.sum()
    assert found.ranking.auc.value == 1
    logits["1.2.0"][1] *= -1
    worse = rank_slices(logits, truth, store, STACKS).ranking.auc
    assert worse.value < 1 and worse.low < worse.value  # whole studies are drawn, so the interval is wide
    assert rank_slices({"1.2.5": logits["1.2.5"]}, truth, store, STACKS) is None


def test_the_slice_that_decided_is_the_highest():
    neck = column((2,))
    logits = np.zeros((7, 8))
    logits[np.arange(7), [3, 0, 7, 2, 2, 5, 6]] = 1
    found = deciding_mm(neck, logits, STACKS)
    assert found[0] == slice_positions(neck.extents[0], STACKS)[3]
    assert found[2] == slice_positions(neck.extents[2], STACKS)[7]


def test_logits_belong_to_the_studies_of_their_fold(tmp_path):
    layout = RunLayout(tmp_path)
    for fold in range(2):
        folder = layout.slice_logits(fold).parent
        folder.mkdir(parents=True)
        frame = pd.DataFrame(0.0, index=[f"1.{fold}.1", f"1.{fold}.2"], columns=list(PREDICTION_TYPES))
        frame.rename_axis("StudyInstanceUID").to_csv(layout.logits(fold))
        np.save(layout.slice_logits(fold), np.full((2, 7, 8), fold, np.float32))
    found = read_slice_logits(tmp_path, 2)
    assert list(found) == ["1.0.1", "1.0.2", "1.1.1", "1.1.2"] and found["1.1.2"].shape == (7, 8)
    assert (found["1.1.1"] == 1).all()
    layout.slice_logits(0).unlink()
    assert list(read_slice_logits(tmp_path, 2)) == ["1.1.1", "1.1.2"]  # an older run
    np.save(layout.slice_logits(0), np.zeros((3, 7, 8), np.float32))
    with pytest.raises(InputError, match=r"shape \(3, 7, 8\); expected \(2, 7, slices\).*make train FOLD=0"):
        read_slice_logits(tmp_path, 2)
