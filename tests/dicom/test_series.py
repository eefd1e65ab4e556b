"""Which of several series is read, from headers made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.headers import PLAIN, header, stack

from cspine.dicom.header import Series
from cspine.dicom.series import choose_series, covered_mm, is_axial_ct, left_out, same_series, shortened
from cspine.errors import InputError


def series(uid: str, heights_mm, description: str = "", modality: str = "CT", first: int = 1, **fields):
    """Slices of a series of that UID."""
    return stack(heights_mm, first, series=Series(uid, description, modality), **fields)


def chosen(*groups):
    """The UID of the series that is taken, and the notes on the others."""
    headers, notes = choose_series([one for group in groups for one in group], "1.2")
    assert len({one.series.uid for one in headers}) == 1
    return headers[0].series.uid, notes


THIN = series("thin", np.arange(0, 100, 1.0), "thin")
THICK = series("thick", np.arange(0, 103, 3.0), "thick")


def test_thin_slices_are_preferred_where_both_cover_nearly_the_same():
    """The thick ones cover 102 mm, the thin ones 99, in whatever order they come."""
    note = "35 files of series 'thick' left out: covers 102 mm, the one taken 99 mm"
    assert chosen(THIN, THICK) == chosen(THICK, THIN) == ("thin", [note])


def test_coverage_counts_before_thinness():
    short = series("short", np.arange(0, 60, 0.5), "short")
    note = "120 files of series 'short' left out: covers 60 mm, the one taken 99 mm"
    assert chosen(short, THIN) == ("thin", [note])


def test_positions_count_not_files():
    """A series that was stored twice has twice the files, and no slice more."""
    twice = series("twice", [*np.arange(0, 102, 2.0)] * 3, "twice")
    assert chosen(twice, THIN)[0] == chosen(THIN, twice)[0] == "thin"


def test_of_two_alike_the_first_is_taken():
    other = series("other", np.arange(0, 100, 1.0), "other")
    assert chosen(THIN, other)[0] == "thin" and chosen(other, THIN)[0] == "other"


def test_slices_of_the_series_keep_their_order_however_they_are_mixed():
    mixed = [one for pair in zip(THIN, series("x", np.zeros(100)), strict=True) for one in pair]
    headers, _ = choose_series(mixed, "s")
    assert headers == THIN


def test_a_stray_does_not_make_a_series_longer():
    heights = np.arange(0, 40, 2.0)
    heights[7] = -9e4
    assert covered_mm(series("s", heights)) == 38
    assert chosen(series("s", heights), THIN)[0] == "thin"


LEFT_OUT = {
    "localizer": (series("o", [0.0, 500.0], localizer=True), "localizer"),
    "another modality": (series("o", [0.0, 500.0], modality="PT" + "x" * 40), "Modality PT" + "x" * 14),
    "not axial": (series("o", [0.0, 500.0], column_cosines=(0.0, 0.0, -1.0)), "not axial"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_no_axial_ct_is_left_out_however_much_it_covers(kind):
    other, why = LEFT_OUT[kind]
    for groups in ((other, THIN), (THIN, other)):
        assert chosen(*groups) == ("thin", [f"2 files of series …o left out: {why}"])


def test_without_an_axial_ct_the_orientation_is_told():
    sagittal = series("s", [0.0, 1.0], row_cosines=(0.0, 1.0, 0.0), column_cosines=(0.0, 0.0, -1.0))
    with pytest.raises(
        InputError, match=r"study 1\.2: .* \(0020,0037\) is \(0\.0, 1\.0, 0\.0, 0\.0, 0\.0, -1\.0\)"
    ):
        chosen(sagittal)
    with pytest.raises(InputError, match=r"\(Modality CT, localizer\)"):
        chosen(series("s", [0.0, 1.0], localizer=True))
    with pytest.raises(InputError, match=r"\(Modality MR\)"):
        chosen(series("s", [0.0, 1.0], modality="MR"))


OTHERS = {
    "rows": {"rows": 4},
    "columns": {"columns": 3},
    "localizer": {"localizer": True},
    "UID": {"series": Series("1.2.4", "", "")},
    "modality": {"series": Series("1.2.3", "", "CT")},
    "orientation": {"row_cosines": (0.999, 0.04, 0.0)},
    "spacing": {"spacing_mm": (0.5, 0.77)},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_slices_that_differ_are_no_layers_of_one_volume(kind):
    assert not same_series(PLAIN, replace(PLAIN, **OTHERS[kind]))
    assert not same_series(replace(PLAIN, **OTHERS[kind]), PLAIN)


def test_slices_that_differ_by_rounding_or_description_are_layers_of_one_volume():
    alike = replace(
        header(9, -50.0),
        spacing_mm=(0.5004, 0.7496),
        series=Series("1.2.3", "other words", ""),
        bits_stored=12,
    )
    assert same_series(PLAIN, alike)


@pytest.mark.parametrize(
    ("down", "axial"),
    [((0, 1, 0), True), ((0, 0.8, 0.6), True), ((0, 0.6, 0.8), False), ((0, 0, -1), False)],
)
def test_axial_is_what_lies_nearer_to_axial_than_to_anything_else(down, axial):
    assert is_axial_ct(replace(PLAIN, column_cosines=down)) == axial
    assert is_axial_ct(replace(PLAIN, column_cosines=down, row_cosines=(-1.0, 0.0, 0.0))) == axial


@pytest.mark.parametrize(("modality", "wanted"), [("CT", True), ("", True), ("MR", False), ("OT", False)])
def test_only_ct_is_wanted_but_the_competitions_files_do_not_say(modality, wanted):
    assert is_axial_ct(replace(PLAIN, series=Series("1.2.3", "", modality))) == wanted
    assert not is_axial_ct(replace(PLAIN, series=Series("1.2.3", "", modality), localizer=True))


def test_notes_are_in_words_and_not_more_than_eleven():
    one = Series("1.2.840.113619.2.55", "", "")
    assert left_out(1, one, "localizer") == "1 file of series ….113619.2.55 left out: localizer"
    assert left_out(2, Series("", "", ""), "why") == "2 files of a series without UID left out: why"
    assert left_out(2, Series("1", "x" * 50, ""), "why") == f"2 files of series '{'x' * 40}' left out: why"
    notes = [f"note {n}" for n in range(12)]
    assert shortened(notes) == [*notes[:10], "2 further series left out"]
    assert shortened(notes[:10]) == notes[:10]
