import numpy as np
import pandas as pd
import pytest

from cspine.competition import submission, tables
from cspine.errors import InputError

U = "1.2.826.0.1.3680043."
CONSTANTS = np.linspace(0.1, 0.45, 8)


def test_rows_are_exactly_the_samples_in_its_order(raw):
    sample = tables.read_sample(raw).sample(frac=1, random_state=1)
    values = {U + "7": np.linspace(0.2, 0.9, 8), U + "9": np.linspace(0.9, 0.2, 8)}
    frame, fell_back = submission.assemble(sample, values, CONSTANTS)
    assert frame["row_id"].tolist() == sample["row_id"].tolist()
    assert fell_back == [U + "8"]
    got = frame.set_index("row_id")["fractured"]
    assert got[U + "7_C1"] == 0.2
    assert got[U + "9_patient_overall"] == pytest.approx(0.2)
    assert got[U + "8_C2"] == pytest.approx(0.15)


def test_a_sample_with_one_row_a_study_is_answered_with_these_rows():
    sample = pd.DataFrame({"row_id": ["1.2_C7", "1.3_patient_overall"], "fractured": 0.5})
    frame, fell_back = submission.assemble(sample, {"1.3": CONSTANTS, "1.4": CONSTANTS}, CONSTANTS)
    assert frame["fractured"].tolist() == pytest.approx([0.4, 0.45])
    assert fell_back == ["1.2"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.2, 1.2])
def test_unusable_predictions_are_replaced_by_constants_and_listed(raw, bad):
    values = np.full(8, 0.3)
    values[4] = bad
    frame, fell_back = submission.assemble(tables.read_sample(raw), {U + "7": values}, CONSTANTS)
    assert fell_back == [U + "7", U + "8", U + "9"]
    assert frame["fractured"][:8].tolist() == pytest.approx(CONSTANTS)


def test_certainties_and_constants_are_clipped(raw):
    values = np.array([0, 1] * 4)
    frame, _ = submission.assemble(tables.read_sample(raw), {U + "7": values}, np.zeros(8))
    assert frame["fractured"][:2].tolist() == [submission.SUBMIT_CLIP, 1 - submission.SUBMIT_CLIP]
    assert frame["fractured"][8] == submission.SUBMIT_CLIP


def test_predictions_of_another_shape_are_our_own_fault(raw):
    with pytest.raises(ValueError, match=r"1\.2\.826\.0\.1\.3680043\.7: found \(7,\)"):
        submission.assemble(tables.read_sample(raw), {U + "7": np.zeros(7)}, CONSTANTS)


BAD = {
    "missing": (lambda frame: frame.drop(index=3), [U + "7_C4 missing (1 such rows)", "each of the 24"]),
    "double": (lambda frame: pd.concat([frame, frame.head(1)]), [U + "7_C1 more than once"]),
    "foreign": (
        lambda frame: pd.concat([frame, frame.head(1).assign(row_id="1.1_C1")]),
        ["1.1_C1 that nobody"],
    ),
    "nan": (lambda frame: frame.assign(fractured=np.nan), ["fractured = nan", U + "7_C1", "in [0, 1]"]),
    "above 1": (lambda frame: frame.assign(fractured=1.5), ["fractured = 1.5", U + "7_C1", "in [0, 1]"]),
    "column": (lambda frame: frame.rename(columns={"fractured": "p"}), ["row_id,p", "row_id,fractured"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_submission_is_not_written(raw, tmp_path, case):
    change, words = BAD[case]
    sample, path = tables.read_sample(raw), tmp_path / "new.csv"
    with pytest.raises(InputError) as error:
        submission.write_submission(path, change(sample), sample)
    for word in [str(path), "found", "expected", *words]:
        assert word in str(error.value)
    assert not path.exists()


def test_what_is_written_is_read_back_to_the_last_bit(raw, tmp_path):
    sample, path = tables.read_sample(raw), tmp_path / "submission.csv"
    frame = sample.assign(fractured=np.random.default_rng(0).random(len(sample)))
    submission.write_submission(path, frame, sample)
    assert tables.read_submission(path).equals(frame)
