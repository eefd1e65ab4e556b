import numpy as np
import pytest
from helpers.refusals import refused

from cspine.competition import tables
from cspine.competition.labels import PREDICTION_TYPES

U = "1.2.826.0.1.3680043."


def edit(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_train_has_its_labels_as_integers_and_its_uids_as_text(raw):
    train = tables.read_train(raw)
    assert train["StudyInstanceUID"].tolist() == [U + str(n) for n in range(1, 7)]
    assert train.loc[2, list(PREDICTION_TYPES)].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert (train.dtypes[list(PREDICTION_TYPES)] == np.int64).all()


def test_a_uid_that_looks_like_a_number_stays_text(raw):
    edit(raw / "train.csv", U + "1,", "1.10,")
    assert tables.read_train(raw)["StudyInstanceUID"][0] == "1.10"


def test_boxes_test_and_sample_are_read_as_they_stand(raw):
    boxes = tables.read_boxes(raw)
    assert boxes["slice_number"].tolist() == [1, 2]
    assert boxes[["x", "y", "width", "height"]].iloc[0].tolist() == [219.5, 221.25, 43.0, 61.5]
    assert tables.read_test(raw)["prediction_type"].tolist() == list(PREDICTION_TYPES) * 3
    assert (tables.read_sample(raw)["fractured"] == 0.5).all()


def test_kaggles_visible_test_set_with_one_row_a_study_is_fine(raw):
    rows = [f"{U}{n}_C1,{U}{n},C1" for n in (10197, 10454, 10690)]
    (raw / "test.csv").write_text("\n".join(["row_id,StudyInstanceUID,prediction_type", *rows]))
    assert len(tables.read_test(raw)) == 3


def test_a_boxes_file_without_rows_is_fine(raw):
    path = raw / "train_bounding_boxes.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert len(tables.read_boxes(raw)) == 0


def test_columns_may_stand_in_another_order_behind_a_byte_order_mark(submission):
    rows = [",".join(reversed(line.split(","))) for line in submission.read_text().splitlines()]
    submission.write_text("\ufeff" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    assert list(tables.read_submission(submission).columns) == ["row_id", "fractured"]


def test_probabilities_are_read_to_the_last_bit(submission):
    edit(submission, "_C1,0.5", "_C1,0.12345678901234567")
    assert tables.read_submission(submission)["fractured"][0] == 0.12345678901234567


ROW1 = U + "1,0,0,0,0,0,0,0,0"
BAD_TRAIN = {
    "empty value": (ROW1, U + "1,0,,0,0,0,0,0,0", ["C1 = ''", U + "1", "one of 0, 1"]),
    "label 2": (ROW1, U + "1,0,2,0,0,0,0,0,0", ["C1 = '2'", U + "1", "one of 0, 1"]),
    "label nan": (ROW1, U + "1,nan,0,0,0,0,0,0,0", ["patient_overall = 'nan'", U + "1", "one of 0, 1"]),
    "row too short": (ROW1, U + "1,0,0,0,0,0,0,0", ["C7 = ''", U + "1", "one of 0, 1"]),
    "second row too long": (
        U + "2,1,0,1",
        U + "2,1,0,1,0",
        ["unreadable", "line 3", "a CSV with the columns"],
    ),
    "row too long": (ROW1, ROW1 + ",0", ["more fields than the header", "9 fields a row"]),
    "not the OR": (ROW1, U + "1,1,0,0,0,0,0,0,0", ["patient_overall = 1", U + "1", "the OR of C1..C7"]),
    "OR missed": (U + "2,1,", U + "2,0,", ["patient_overall = 0", U + "2", "expected 1"]),
    "double study": (U + "1,", U + "2,", [U + "2 more than once", "one row each"]),
    "path in uid": (U + "1,", "../../etc,", ["'../../etc'", "digits and single dots"]),
    "two dots": (U + "1,", "1.2..3,", ["'1.2..3'", "digits and single dots"]),
    "dot alone": (U + "1,", ".,", ["'.'", "digits and single dots"]),
    "no uid": (U + "1,", ",", ["''", "digits and single dots"]),
    "uid too long": (U + "1,", "1" * 65 + ",", ["1" * 65, "at most 64"]),
    "wrong column": ("C7", "c7", ["C6,c7", "StudyInstanceUID,patient_overall,C1"]),
    "unknown level": ("C7", "C7,C8", ["C7,C8", "C6,C7; "]),
    "double column": ("C7", "C6", ["C6.1", "C6,C7"]),
}


@pytest.mark.parametrize("case", BAD_TRAIN)
def test_bad_train_is_refused_with_file_found_and_expected(raw, case):
    old, new, words = BAD_TRAIN[case]
    edit(raw / "train.csv", old, new)
    refused(lambda: tables.read_train(raw), [str(raw / "train.csv"), *words])


def test_rows_with_a_field_too_many_do_not_shift_into_an_index(submission):
    rows = submission.read_text().splitlines()
    submission.write_text("\n".join([rows[0]] + [row + ",1" for row in rows[1:]]))
    refused(lambda: tables.read_submission(submission), [str(submission), "more fields than the header"])


READERS = {
    "train.csv": tables.read_train,
    "train_bounding_boxes.csv": tables.read_boxes,
    "test.csv": tables.read_test,
    "sample_submission.csv": tables.read_sample,
}


@pytest.mark.parametrize("name", READERS)
def test_missing_and_empty_files_are_refused_with_the_way_to_get_them(raw, name):
    path, reader = raw / name, READERS[name]
    header = path.read_text().splitlines()[0]
    path.write_text("")
    refused(lambda: reader(raw), [str(path), "an empty file", header.split(",")[0], "make replica"])
    path.write_bytes(b"\xff\xfe\x00\x80")
    refused(lambda: reader(raw), [str(path), "make replica"])
    path.unlink()
    refused(lambda: reader(raw), [str(path), "no such file", "kaggle competitions download"])
    path.mkdir()
    refused(lambda: reader(raw), [str(path), "no such file"])


@pytest.mark.parametrize("name", [name for name in READERS if name != "train_bounding_boxes.csv"])
def test_a_header_alone_is_refused(raw, name):
    path = raw / name
    path.write_text(path.read_text().splitlines()[0] + "\n")
    refused(lambda: READERS[name](raw), [str(path), "a header without rows", "at least one row"])


def test_a_missing_or_empty_folder_is_refused_with_the_way_to_get_it(tmp_path):
    absent = tmp_path / "absent"
    for words in (["no such folder"], ["an empty folder"]):
        words += [str(absent), "make replica", "kaggle competitions download -c rsna-2022"]
        refused(lambda: tables.read_train(absent), words)
        absent.mkdir(exist_ok=True)


def test_the_folder_above_the_competition_is_refused_with_the_right_one(raw):
    above = raw.parent / "replica"
    above.mkdir()
    raw.rename(above / "competition")
    refused(lambda: tables.read_train(above), [str(above), f"name {above / 'competition'} instead"])


BOX = U + "2,219.5,221.25,43.0,61.5,1"
BAD_BOXES = {
    "no width": (BOX, U + "2,219.5,221.25,0,61.5,1", ["width = '0.0'", U + "2", "above 0"]),
    "nan": (BOX, U + "2,nan,221.25,43.0,61.5,1", ["x = 'nan'", U + "2", "a finite number"]),
    "infinite": (BOX, U + "2,219.5,inf,43.0,61.5,1", ["y = 'inf'", U + "2", "a finite number"]),
    "half a slice": (BOX, U + "2,219.5,221.25,43.0,61.5,1.5", ["slice_number = '1.5'", ".dcm file"]),
    "huge slice": (BOX, U + "2,219.5,221.25,43.0,61.5,1e300", ["slice_number = '1e+300'", ".dcm file"]),
    "two boxes": (BOX, U + "2,219.5,221.25,43.0,61.5,2", ["slice_number = '2'", "one box a slice"]),
    "uid": (BOX, "a/b,219.5,221.25,43.0,61.5,1", ["'a/b'", "digits and single dots"]),
    "column": ("slice_number", "slice", ["height,slice", "slice_number"]),
}


@pytest.mark.parametrize("case", BAD_BOXES)
def test_bad_boxes_are_refused(raw, case):
    path = raw / "train_bounding_boxes.csv"
    old, new, words = BAD_BOXES[case]
    edit(path, old, new)
    refused(lambda: tables.read_boxes(raw), [str(path), *words])


BAD_TEST = {
    "unknown level": (f"{U}7_C1,{U}7,C1", f"{U}7_C8,{U}7,C8", [f"{U}7_C8", "unknown level", "C6, C7"]),
    "other study": (f"{U}7_C1,{U}7,C1", f"{U}7_C1,{U}8,C1", [f"{U}7_C1", "of its own row"]),
    "other level": (f"{U}7_C1,{U}7,C1", f"{U}7_C1,{U}7,C2", [f"{U}7_C1", "of its own row"]),
    "double": (f"{U}7_C1,{U}7,C1", f"{U}7_C2,{U}7,C2", [f"{U}7_C2 more than once", "one row each"]),
    "path": (f"{U}7_C1,{U}7,C1", "../x_C1,../x,C1", ["'../x'", "digits and single dots"]),
    "column": ("prediction_type", "level", ["StudyInstanceUID,level", "prediction_type"]),
}


@pytest.mark.parametrize("case", BAD_TEST)
def test_bad_test_rows_are_refused(raw, case):
    old, new, words = BAD_TEST[case]
    edit(raw / "test.csv", old, new)
    refused(lambda: tables.read_test(raw), [str(raw / "test.csv"), *words])


BAD_SUBMISSION = {
    "nan": ("_C1,0.5", "_C1,nan", ["fractured = 'nan'", U + "7_C1", "a finite number"]),
    "empty": ("_C1,0.5", "_C1,", ["fractured = ''", U + "7_C1", "a finite number"]),
    "word": ("_C1,0.5", "_C1,high", ["fractured = 'high'", U + "7_C1", "a finite number"]),
    "above 1": ("_C1,0.5", "_C1,1.0001", ["fractured = '1.0001'", U + "7_C1", "in [0, 1]"]),
    "below 0": ("_C1,0.5", "_C1,-0.1", ["fractured = '-0.1'", U + "7_C1", "in [0, 1]"]),
    "double": ("_C1,0.5", "_C2,0.5", [U + "7_C2 more than once", "one row each"]),
    "unknown level": ("_C1,0.5", "_T1,0.5", [U + "7_T1", "unknown level"]),
    "no level": ("_C1,0.5", ",0.5", [U + "7 ", "unknown level"]),
    "column": ("fractured", "probability", ["row_id,probability", "row_id,fractured"]),
    "underscore": ("_C1,0.5", "_C1,0_1", ["fractured = '0_1'", U + "7_C1"]),
    "other digits": ("_C1,0.5", "_C1,\u0660.\u0665", ["fractured = ", U + "7_C1"]),
}


@pytest.mark.parametrize("case", BAD_SUBMISSION)
def test_bad_submissions_and_samples_are_refused(raw, submission, case):
    old, new, words = BAD_SUBMISSION[case]
    for path in (submission, raw / "sample_submission.csv"):
        edit(path, old, new)
    refused(lambda: tables.read_submission(submission), [str(submission), *words])
    refused(lambda: tables.read_sample(raw), [str(raw / "sample_submission.csv"), *words])


BAD_SOLUTION = {
    "missing row": (f"{U}7_C3,0,1,Public\n", "", [f"no row {U}7_C3", "all eight rows"]),
    "double row": (f"{U}7_C3,", f"{U}7_C2,", [f"{U}7_C2 more than once", "one row each"]),
    "half a label": (f"{U}7_C3,0", f"{U}7_C3,0.5", ["fractured = '0.5'", f"{U}7_C3", "one of 0, 1"]),
    "not the OR": (f"{U}7_patient_overall,1,14", f"{U}7_patient_overall,0,7", ["= 0", "the OR of C1..C7"]),
    "weight": (f"{U}7_C2,1,2", f"{U}7_C2,1,1", ["weight = '1.0'", f"{U}7_C2", "the metric's"]),
    "usage": (f"{U}7_C3,0,1,Public", f"{U}7_C3,0,1,public", ["Usage = 'public'", "Public or Private"]),
    "both sets": (
        f"{U}7_C3,0,1,Public",
        f"{U}7_C3,0,1,Private",
        ["Usage", U + "7", "one value for all rows"],
    ),
}


@pytest.mark.parametrize("case", BAD_SOLUTION)
def test_bad_solutions_are_refused(solution, case):
    old, new, words = BAD_SOLUTION[case]
    edit(solution, old, new)
    refused(lambda: tables.read_solution(solution), [str(solution), *words])


def test_a_solution_is_read_whatever_the_order_of_its_rows(solution):
    head, *rows = solution.read_text().splitlines()
    solution.write_text("\n".join([head, *reversed(rows)]) + "\n")
    frame = tables.read_solution(solution)
    assert frame["weight"].sum() == 14 + 16 + 6 + 18 + 5
    assert frame["Usage"].value_counts().to_dict() == {"Public": 16, "Private": 8}


def test_a_submission_cut_inside_its_last_number_is_refused_and_a_sample_without_line_break_is_not(
    raw, submission
):
    submission.write_text(submission.read_text()[:-2])
    refused(lambda: tables.read_submission(submission), [str(submission), "_patient_overall,0.'", "cut"])
    sample = raw / "sample_submission.csv"
    sample.write_text(sample.read_text()[:-1])
    assert len(tables.read_sample(raw)) == 24


def test_a_solution_of_two_columns_is_one_set(solution):
    four = tables.read_solution(solution)
    rows = [",".join(line.split(",")[:2]) for line in solution.read_text().splitlines()]
    solution.write_text("\n".join(rows) + "\n")
    two = tables.read_solution(solution)
    assert set(two["Usage"]) == {"Test"}
    assert two.drop(columns="Usage").equals(four.drop(columns="Usage"))
    edit(solution, f"{U}7_C3,0", f"{U}7_C3,0.5")
    refused(lambda: tables.read_solution(solution), [str(solution), "fractured = '0.5'", "one of 0, 1"])
