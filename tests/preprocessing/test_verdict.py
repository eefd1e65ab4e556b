"""What speaks against a label map is found, and said in words."""

import numpy as np
import pytest

from cspine.competition.labels import LEVELS
from cspine.preprocessing.verdict import (
    WHOLE,
    Kind,
    Verdict,
    judge,
    judge_or_count_anew,
    likeness_to_a_spine,
    shares_in_view,
)

MM = 3.0
SURE = np.full(8, 0.95)
EVERY = tuple(range(1, 9))


def neck(levels=EVERY, shape=(80, 44, 44), top=8) -> np.ndarray:
    """Blocks of a vertebra's size, one under the other."""
    labels = np.zeros(shape, np.uint8)
    for level in levels:
        start = top + (level - 1) * 6
        labels[start : start + 5, 18:28, 16:28] = level
    return labels


def reasons(labels, confidence=SURE, agreement=None) -> str:
    return "; ".join(judge(labels, MM, confidence, agreement).reasons)


def test_a_whole_neck_is_sure():
    verdict = judge(neck(), MM, SURE, SURE)
    assert verdict == Verdict(Kind.SURE, (), LEVELS)
    assert verdict.note == "" and verdict.in_view.all()


def test_a_neck_that_the_scan_cuts_is_told_from_what_it_shows():
    below = neck()[:38]  # within C6
    found = judge(below, MM, SURE)
    assert (found.kind, found.levels) == (Kind.DOUBTFUL, LEVELS[:5])
    reason = "the scan ends within C5: the levels near its end may be named one off"
    assert found.note == f"label map doubtful: C6, C7 not in view; {reason}"
    assert found.in_view.tolist() == [True] * 5 + [False] * 2
    within_c7 = neck()[:48]
    assert judge(within_c7, MM, SURE).reasons == (reason.replace("C5", "C7"),)
    assert judge(neck()[:54], MM, SURE).kind is Kind.SURE  # a thoracic vertebra follows
    above = judge(neck(top=2), MM, SURE)  # C1 begins within reach of the scan's edge
    assert (above.kind, above.levels) == (Kind.SURE, LEVELS)


def test_what_a_cut_leaves_of_a_level_has_to_be_a_piece_of_it():
    """A block of 5 planes is 1.4 times a C6: one plane of it counts as C6, a corner of that plane does not."""
    labels = neck()[:39]
    assert judge(labels, MM, SURE).levels == LEVELS[:6]
    labels[38, 18:28, 19:28] = 0
    assert judge(labels, MM, SURE).levels == LEVELS[:5]


@pytest.mark.parametrize("levels", [(), (8,), (3,), (1, 2), (6, 7, 8)])
def test_fewer_than_three_levels_are_no_neck(levels):
    verdict = judge(neck(levels), MM, SURE)
    assert verdict.kind is Kind.NOT_A_NECK
    assert "cervical vertebrae found, at least 3 expected" in verdict.reasons[0]


def test_a_gap_and_an_end_without_a_cut():
    assert "C4 missing in between" in reasons(neck((1, 2, 3, 5, 6, 7, 8)))
    assert "nothing found above C2, though the scan goes on" in reasons(neck(range(2, 9)))
    assert "nothing found below C5, though the scan goes on" in reasons(neck(range(1, 6)))


def test_nothing_to_count_from():
    for level, start in ((3, 20), (4, 26), (2, 16)):  # the scan begins with a whole C3, C4, and within C2
        found = judge(neck()[start:], MM, SURE)
        assert found.kind is Kind.DOUBTFUL and found.levels == LEVELS[level - 1 :]
        assert found.reasons == (
            "neither C1 nor the whole of C2 is in view, and counting from below is less certain",
        )


def test_order_and_distance():
    swapped = neck()
    swapped[neck() == 3], swapped[neck() == 4] = 4, 3
    assert "C4 does not lie below C3" in reasons(swapped)
    far = neck(range(1, 5), (110, 44, 44))
    far[70:75, 18:28, 16:28] = 5
    assert "C4 and C5 are" in reasons(far)
    upside_down = neck(range(1, 8), top=20)
    upside_down[2:7, 18:28, 16:28] = 8
    assert "thoracic vertebrae do not lie below C7" in reasons(upside_down)


def test_sizes_beside_the_others():
    large = neck()
    large[20:25, 4:40, 4:40] = 3
    assert "C3 is" in reasons(large) and "times as large as expected" in reasons(large)
    small = neck()
    small[small == 5] = 0
    small[32:37, 20:24, 18:23] = 5
    assert "C5 is" in reasons(small)


def test_confidence_and_agreement():
    doubt = SURE.copy()
    doubt[2] = 0.4
    assert "C3 is uncertain (0.40)" in reasons(neck(), doubt)
    assert "two opinions differ on C3 (Dice 0.40)" in reasons(neck(), SURE, doubt)
    assert judge(neck(), MM, doubt).kind is Kind.DOUBTFUL


def test_certain_of_nothing_is_no_neck():
    verdict = judge(neck(), MM, np.full(8, 0.6))
    assert verdict.kind is Kind.NOT_A_NECK and verdict.levels == ()
    assert verdict.reasons == ("C1, C2, C3, C4, C5, C6, C7 may be there, but nothing is certain (0.60)",)


def with_c1(z: slice, y: slice, x: slice) -> np.ndarray:
    """C1 to C5, at whose end the scan ends, named one too low, and a piece that is named C1."""
    labels = neck(range(2, 8))[:44]
    labels[z, y, x] = 1
    return labels


SMALL_AND_FAR = with_c1(slice(8, 12), slice(19, 23), slice(36, 41))


def counted(labels, confidence=SURE):
    return judge_or_count_anew(labels, MM, confidence, SURE)


def test_a_c1_that_is_too_small_and_too_far_is_left_out():
    confidence = np.array([0.1, *np.linspace(0.8, 0.95, 6), 0.2])  # C1 and thoracic have no say afterwards
    labels, verdict = counted(SMALL_AND_FAR, confidence)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.where(SMALL_AND_FAR > 1, SMALL_AND_FAR - 1, 0))
    assert (verdict.kind, verdict.levels) == (Kind.DOUBTFUL, LEVELS[:5])
    reason, other = verdict.reasons
    assert "the scan ends within C5" in other
    assert "0.1 times as large as expected and 54 mm from the next" in reason


with_a_chest = SMALL_AND_FAR.copy()
with_a_chest[40:44, 18:28, 16:28] = 8


@pytest.mark.parametrize(
    "labels",
    [
        with_c1(slice(8, 12), slice(19, 23), slice(20, 25)),
        with_c1(slice(6, 14), slice(14, 30), slice(32, 42)),
        with_c1(slice(0, 4), slice(19, 23), slice(36, 41)),
        with_a_chest,
        neck(),
        neck(range(2, 9)),
    ],
    ids=[
        "small and near",
        "large and far",
        "cut by the scan",
        "counted from below as well",
        "whole",
        "no C1",
    ],
)
def test_any_other_map_keeps_its_names(labels):
    same, verdict = counted(labels)
    assert same is labels and verdict == judge(labels, MM, SURE, SURE)


def test_what_is_no_neck_does_not_become_one():
    """Nothing is certain; without the uncertain C1 the median of the others would pass."""
    confidence = np.array([0.1, 0.6, 0.6, 0.68, 0.7, 0.7, 0.9, 0.9])
    assert judge(SMALL_AND_FAR, MM, confidence).kind is Kind.NOT_A_NECK
    assert judge(counted(SMALL_AND_FAR)[0], MM, np.roll(confidence, -1)).kind is Kind.DOUBTFUL
    labels, verdict = counted(SMALL_AND_FAR, confidence)
    assert labels is SMALL_AND_FAR and verdict.kind is Kind.NOT_A_NECK


def test_what_a_spine_has_and_other_bones_lack():
    """Levels count for a piece of a map; odd sizes, odd steps and ends within the scan count against it."""
    whole = neck()
    assert likeness_to_a_spine(whole, MM) == 7
    assert likeness_to_a_spine(whole[:38], MM) == 5  # cut within C6
    assert likeness_to_a_spine(neck((2, 3, 4, 5, 6, 7, 8)), MM) == 6 - 2  # the scan goes on above C2
    assert likeness_to_a_spine(neck((1, 2, 3, 5, 6, 7, 8)), MM) == 6 - 2
    large = whole.copy()
    large[26:31, 2:42, 2:42] = 4
    assert likeness_to_a_spine(large, MM) == 7 - 2
    upside_down = np.where((whole > 0) & (whole < 8), 8 - whole, 0).astype(np.uint8)
    assert likeness_to_a_spine(upside_down, MM) == 7 - 2 * 6
    assert likeness_to_a_spine(np.zeros_like(whole), MM) == likeness_to_a_spine(neck((8,)), MM) == 0


def test_it_comes_back_from_json():
    for verdict in (WHOLE, judge(neck(range(2, 9)), MM, SURE), judge(neck(()), MM, SURE)):
        assert Verdict.load(verdict.as_json()) == verdict


def test_how_much_of_a_level_is_in_view():
    shares = shares_in_view(neck(), (MM, MM, MM))
    assert shares.min() > 0.6 and shares.max() < 1.6
    cut = shares_in_view(neck()[: 8 + 5 * 6 + 1], (MM, MM, MM))  # one of the five planes of C6
    assert cut[5] == pytest.approx(shares[5] / 5, rel=0.2) and cut[6] == 0
    assert cut[:5] == pytest.approx(shares[:5], rel=0.2)
    assert not shares_in_view(neck(()), (MM, MM, MM)).any()
