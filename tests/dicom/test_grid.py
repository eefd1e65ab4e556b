"""The even grid of slices, and the affine of every way in which files may lie, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.headers import PLAIN, header, stack

from cspine.dicom.grid import EvenStack, affine_of, even_grid, file_grid, z_of_numbers
from cspine.dicom.order import heights_of
from cspine.errors import InputError


def planes(values) -> np.ndarray:
    """A stack of slices that are even in themselves, int16 (z, 3, 4)."""
    return np.repeat(np.array(values, np.int16), 12).reshape(-1, 3, 4)


def even(heights_mm, values=None):
    """even_grid of slices whose value is ten times their depth, or is given."""
    heights = np.array(heights_mm, dtype=float)
    hu = planes(np.rint(10 * (heights[0] - heights)) if values is None else values)
    grid, notes = even_grid(hu, stack(heights), "1.2")
    return hu, grid, notes


FIT = {
    "even": [4, 2, 0, -2, -4],
    "rounded to a tenth": [0.0, -0.6, -1.2, -1.9, -2.5, -3.1, -3.8],
    "a hundredth of a thick step": [40, 20.19, 0, -20],
    "rounding of 40% of a thin step": [0, -0.139, -0.2, -0.3],
    "two slices": [7.0, 3.5],
}


@pytest.mark.parametrize("kind", FIT)
def test_slices_that_fit_stay_as_they_are(kind):
    hu, grid, notes = even(FIT[kind])
    assert grid.hu is hu and notes == []
    np.testing.assert_array_equal(grid.z_indices, range(len(hu)))
    np.testing.assert_array_equal(grid.ends_mm, [[-20, -30, FIT[kind][0]], [-20, -30, FIT[kind][-1]]])


def test_slices_beyond_rounding_are_interpolated():
    """The second lies 0.2 mm too low: its value belongs between those of the first and the third."""
    hu, grid, notes = even([6.0, 3.8, 2.0, 0.0])
    np.testing.assert_array_equal(grid.hu, planes([0, 20, 40, 60]))
    assert notes == ["steps of 1.80 to 2.20 mm between 4 slices: interpolated to 4 slices 2.000 mm apart"]
    _, grid, _ = even([6.0, 3.8, 2.0, 0.0], [0, 110, 200, -300])
    np.testing.assert_array_equal(grid.hu, planes([0, 100, 200, -300]))


def test_a_missing_slice_is_the_mean_of_its_neighbours():
    hu, grid, notes = even([8.0, 6.0, 2.0, 0.0], [-1000, 100, 301, 50])
    np.testing.assert_array_equal(grid.hu[:, 0, 0], [-1000, 100, 200, 301, 50])
    np.testing.assert_array_equal(grid.z_indices, [0, 1, 3, 4])
    assert grid.hu.dtype == np.int16
    np.testing.assert_array_equal(grid.ends_mm[:, 2], [8.0, 0.0])
    assert notes == ["steps of 2.00 to 4.00 mm between 4 slices: interpolated to 5 slices 2.000 mm apart"]


def test_gaps_larger_than_the_stack_are_refused():
    with pytest.raises(
        InputError, match=r"^study 1\.2: found 4 slices 2\.00 mm apart that span 104 mm; .*0032"
    ):
        even([104.0, 102.0, 100.0, 0.0])


def test_a_single_gap_is_bridged_up_to_a_length():
    """Many slices, one gap: counts alone would let it pass, and anatomy would be invented."""
    near = [100.0 - n for n in range(20)]
    far = [80.0 - 10.0 - n for n in range(20)]  # 11 mm behind the last of the others
    with pytest.raises(
        InputError, match=r"^study 1\.2: found a gap of 11 mm behind 20\.dcm, among slices 1\.00 mm"
    ):
        even(near + far)
    _, grid, notes = even(near + [height + 1 for height in far])
    assert len(grid.hu) == 49 and notes[0].startswith("steps of 1.00 to 10.00 mm")
    _, thick, _ = even([60.0, 54.0, 48.0, 36.0, 30.0, 24.0])  # one slice of 6 mm is missing
    assert len(thick.hu) == 7


def test_a_slanting_and_a_bent_stack_are_noted():
    """The corners shift by 1 mm in y for 10 mm in z, or one lies 3 mm beside their line."""
    slanting = [header(n, -10.0 * n, 1.0 * n) for n in range(5)]
    _, notes = even_grid(planes(range(5)), slanting, "s")
    assert notes == ["each slice shifted against the last, as by a gantry tilted 5.7 degrees: a sheared grid"]
    bent = stack([0.0, -10.0, -20.0, -30.0, -40.0])
    bent[2] = header(3, -20.0, x_mm=-17.0)
    grid, notes = even_grid(planes(range(5)), bent, "s")
    assert notes == ["slices shift sideways by up to 3.0 mm, taken as one straight stack"]
    np.testing.assert_array_equal(grid.z_indices, range(5))


def test_z_of_numbers_knows_the_slices_and_what_lay_at_their_positions():
    kept = [header(5, 8.0), header(4, 6.0), header(-1, 2.0), header(1, 0.0)]
    grid = EvenStack(planes([0] * 5), np.array([0, 1, 3, 4]), np.zeros((2, 3)))
    assert z_of_numbers(kept, grid, kept) == {5: 0, 4: 1, 1: 4}
    others = [
        header(15, 8.3),  # a second slice at the first one's position
        header(3, 4.0),  # lost, but its position is known
        header(2, 2.9),
        header(90, 9.1),  # above the stack
        header(91, -1.1),  # below it
        header(-1, 4.0),
        header(4, 0.0),  # a number that the stack has: its own position counts
    ]
    assert z_of_numbers(kept, grid, [*kept, *others]) == {5: 0, 4: 1, 1: 4, 15: 0, 3: 2, 2: 3}


X, Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
BACK_X, BACK_Y = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)
WAYS = {
    "as the patient": (X, Y, (False, False, False), [[0, 0.5, 0, 20], [0, 0, 0.75, 10]]),
    "flipped in x": (BACK_X, Y, (False, False, True), [[0, 0.5, 0, 20], [0, 0, 0.75, 7.75]]),
    "flipped in y": (X, BACK_Y, (False, True, False), [[0, 0.5, 0, 19], [0, 0, 0.75, 10]]),
    "upside down": (BACK_X, BACK_Y, (False, True, True), [[0, 0.5, 0, 19], [0, 0, 0.75, 7.75]]),
    "transposed": (Y, X, (True, False, False), [[0, 0.75, 0, 20], [0, 0, 0.5, 10]]),
    "transposed, flipped in y": (BACK_Y, X, (True, True, False), [[0, 0.75, 0, 17.75], [0, 0, 0.5, 10]]),
    "transposed, flipped in x": (Y, BACK_X, (True, False, True), [[0, 0.75, 0, 20], [0, 0, 0.5, 9]]),
    "transposed and flipped": (BACK_Y, BACK_X, (True, True, True), [[0, 0.75, 0, 17.75], [0, 0, 0.5, 9]]),
}
"""Directions of rows and columns -> transposed, flipped_y, flipped_x, and the affine's rows for y and x.

The files have 3 rows 0.5 mm apart and 4 columns 0.75 mm apart, and their first pixel at x = 10, y = 20 mm: a
flipped axis begins at the other end, 2 * 0.5 or 3 * 0.75 mm before it.
"""


@pytest.mark.parametrize("kind", WAYS)
def test_the_affine_of_every_way_of_lying(kind):
    across, down, directions, (y_row, x_row) = WAYS[kind]
    one = replace(PLAIN, row_cosines=across, column_cosines=down)
    files = file_grid(one)
    assert (files.transposed, files.flipped_y, files.flipped_x) == directions
    shape = (5, 4, 3) if files.transposed else (5, 3, 4)
    ends = np.array([[10.0, 20.0, 100.0], [10.0, 20.0, 92.0]])
    affine = affine_of(one, files, EvenStack(np.zeros(shape, np.int16), np.arange(5), ends))
    np.testing.assert_array_equal(affine, [[-2, 0, 0, 100], y_row, x_row, [0, 0, 0, 1]])


def test_the_affine_of_a_sheared_and_an_oblique_stack():
    """Slices lean in y: the step from row to row goes towards the feet too, that from slice to slice to the back."""
    lean = (0.0, 0.8, -0.6)
    one = replace(PLAIN, column_cosines=lean)
    ends = np.array([[10.0, 20.0, 100.0], [10.0, 28.0, 92.0]])
    affine = affine_of(one, file_grid(one), EvenStack(np.zeros((5, 3, 4), np.int16), np.arange(5), ends))
    expected = [[-2, -0.3, 0, 100], [2, 0.4, 0, 20], [0, 0, 0.75, 10], [0, 0, 0, 1]]
    np.testing.assert_allclose(affine, expected, atol=1e-12)
    lowest = affine @ [4, 2, 3, 1]  # the last pixel of the last slice
    np.testing.assert_allclose(lowest[:3], [92 - 0.6, 28 + 0.8, 10 + 2.25])
    assert heights_of([one])[0] == pytest.approx(0.6 * -30 + 0.8 * 100)
