"""Long tables become wide ones and back, without losing a row."""

import numpy as np
import pytest
from helpers.refusals import refused

from cspine.competition import rows


def test_wide_and_long_undo_each_other_in_any_row_order():
    values = np.random.default_rng(0).random((5, 8))
    uids = [f"1.{n}" for n in (5, 3, 9, 1, 7)]
    table = rows.long(uids, values)
    assert table["row_id"][7] == "1.5_patient_overall"
    back_uids, back = rows.wide(table)
    assert back_uids == uids
    assert np.array_equal(back, values)
    shuffled_uids, shuffled = rows.wide(table.sample(frac=1, random_state=0))
    assert np.array_equal(shuffled, values[[uids.index(uid) for uid in shuffled_uids]])


def test_wide_refuses_a_study_without_all_rows_and_long_a_wrong_shape():
    table = rows.long(["1.5", "1.6"], np.zeros((2, 8)))
    refused(lambda: rows.wide(table.drop(index=9), what="oof.csv"), ["oof.csv", "1.6_C2", "all eight rows"])
    with pytest.raises(ValueError, match=r"\(8, 2\)"):
        rows.long(["1.5", "1.6"], np.zeros((8, 2)))
