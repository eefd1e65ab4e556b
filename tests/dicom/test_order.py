"""The order of slices, and which positions are believed, from headers made by hand."""

import numpy as np
import pytest
from helpers.headers import PLAIN, header, stack

from cspine.dicom.order import MAX_STRAYS, heights_of, in_line, normal_of, one_position_each, strays
from cspine.errors import InputError

EVEN_MM = 100.0 - 2.0 * np.arange(40)


def with_one(n: int, heights_mm=EVEN_MM, **position):
    """A stack whose slice `n` lies elsewhere."""
    headers = stack(heights_mm)
    headers[n] = header(n + 1, **{"z_mm": float(heights_mm[n]), **position})
    return headers


ANGLE = np.deg2rad(30)
DIRECTIONS = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "axial, seen from the other side": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "axial, turned by 90 degrees": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "tilted": (
        (1, 0, 0),
        (0, np.cos(ANGLE), np.sin(ANGLE)),
        (0, -np.sin(ANGLE), np.cos(ANGLE)),
    ),
    "tilted the other way": (
        (-1, 0, 0),
        (0, np.cos(ANGLE), -np.sin(ANGLE)),
        (0, np.sin(ANGLE), np.cos(ANGLE)),
    ),
    "sagittal, which has no head end": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "vectors that are a little too long": ((1.005, 0, 0), (0, 1.005, 0), (0, 0, 1)),
}


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_the_normal_is_a_unit_vector_towards_the_head(kind):
    across, down, expected = DIRECTIONS[kind]
    found = normal_of(header(1, 0.0, row_cosines=across, column_cosines=down))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_heights_lie_along_the_normal_and_rise_towards_the_head():
    np.testing.assert_array_equal(heights_of(stack([3.0, 1.0, -2.5])), [3.0, 1.0, -2.5])
    across, down, _ = DIRECTIONS["tilted"]
    tilted = {"row_cosines": across, "column_cosines": down}
    headers = [header(1, 10.0, 0.0, **tilted), header(2, 10.0, 4.0, 7.0, **tilted)]
    expected = [10 * np.cos(ANGLE), 10 * np.cos(ANGLE) - 4 * np.sin(ANGLE)]
    np.testing.assert_allclose(heights_of(headers), expected)


STRAYS = {
    "beyond the head": (3, {"z_mm": 800.0}, "lies 700 mm from the others"),
    "beyond the feet": (39, {"z_mm": -60.0}, "lies 84 mm from the others"),
    "beside the others": (20, {"x_mm": 5.0}, "lies 25 mm beside the others"),
    "in front of the others": (0, {"y_mm": -1030.0}, "lies 1000 mm beside the others"),
    "between two others": (7, {"z_mm": 51.0}, "lies out of turn between two others"),
}


@pytest.mark.parametrize("feet_first", [False, True])
@pytest.mark.parametrize("kind", STRAYS)
def test_a_stray_is_found_with_its_reason(kind, feet_first):
    n, position, reason = STRAYS[kind]
    headers = with_one(n, **position)
    if feet_first:
        headers, n = headers[::-1], 39 - n
    assert strays(headers) == {n: reason}


RIGHT = {
    "even": stack(EVEN_MM),
    "a missing slice": stack(np.delete(EVEN_MM, [7, 8, 9])),
    "one renumbered": [*stack(EVEN_MM[:20]), header(777, EVEN_MM[20]), *stack(EVEN_MM[21:], 22)],
    "half a step off, but in turn": with_one(7, z_mm=EVEN_MM[7] + 1.0),
    "19 mm to the side, as on a curved table": with_one(20, x_mm=-1.0),
    "two stacks of one body": stack([*EVEN_MM, *EVEN_MM]),
    "two halves far apart": stack([*EVEN_MM, *(EVEN_MM - 300)]),
    "all at one position": stack([5.0] * 40),
    "too few to judge": with_one(3, EVEN_MM[:7], z_mm=-9e4),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_positions_that_may_be_right_are_believed(kind):
    assert strays(RIGHT[kind]) == {}


def test_a_tenth_of_the_slices_may_be_strays_and_no_more():
    assert MAX_STRAYS == 0.1
    for wrong in (4, 5):
        headers = stack(EVEN_MM)
        for n in range(wrong):
            headers[8 * n] = header(8 * n + 1, EVEN_MM[8 * n], x_mm=300.0)
        assert set(strays(headers)) == ({8 * n for n in range(4)} if wrong == 4 else set())
    assert strays(with_one(3, EVEN_MM[:8], x_mm=300.0)) == {}, "one of eight is more than a tenth"
    assert set(strays(with_one(3, EVEN_MM[:10], x_mm=300.0))) == {3}


def test_a_height_may_rise_or_fall_with_the_numbers():
    for headers in (stack(EVEN_MM), stack(EVEN_MM[::-1])):
        assert in_line(headers).all()
    swapped = stack(EVEN_MM)
    swapped[10] = header(11, 21.0)
    for headers in (swapped, swapped[::-1]):
        found = in_line(headers)
        assert [one.number for one, fits in zip(headers, found, strict=True) if not fits] == [11]


def test_numbers_that_do_not_follow_the_positions_say_nothing():
    mixed = np.random.default_rng(0).permutation(EVEN_MM)
    assert in_line(stack(mixed)).all()
    assert in_line([header(-1, z) for z in EVEN_MM]).all()


def test_slices_are_ordered_from_head_to_feet():
    order = np.random.default_rng(1).permutation(40)
    kept, notes = one_position_each(stack(EVEN_MM[order]), "s")
    assert order[kept].tolist() == list(range(40)) and notes == []


def test_of_one_position_the_first_slice_is_kept():
    """A position counts as the same within a tenth of the usual step."""
    heights = [10.0, 8.0, 6.0, 4.0, 2.0, 8.15, 6.0, 5.75]
    kept, notes = one_position_each(stack(heights), "s")
    assert kept == [0, 1, 2, 7, 3, 4]
    assert notes == ["2 slices left out, another one lies at their position"]


def test_of_one_position_a_slice_in_line_with_the_numbers_is_kept_rather():
    """Slice 8 claims the position of slice 30, and comes first."""
    headers = with_one(7, z_mm=float(EVEN_MM[29]))
    kept, notes = one_position_each(headers, "s")
    assert 29 in kept and 7 not in kept and len(kept) == 39
    assert notes == ["1 slices left out, another one lies at their position"]


@pytest.mark.parametrize("apart_mm", [0.0, 0.015])
def test_slices_at_one_position_are_refused_with_the_tag(apart_mm):
    headers = stack([apart_mm * n for n in range(3)])
    with pytest.raises(InputError, match=r"^study 1\.2: found 3 slices at one position; .*\(0020,0032\)$"):
        one_position_each(headers, "1.2")


def test_the_plain_header_is_axial():
    np.testing.assert_array_equal(normal_of(PLAIN), [0, 0, 1])
