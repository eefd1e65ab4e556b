import shutil

import numpy as np
import pandas as pd
import pytest

from cspine.competition import inventory
from cspine.errors import InputError

U = "1.2.826.0.1.3680043."


def test_a_whole_folder_is_counted_and_misses_nothing(raw):
    found = inventory.describe(raw)
    assert found["missing"] == []
    assert found["train"] == {
        "studies": 6,
        "positives": {"C1": 1, "C2": 2, "C3": 0, "C4": 0, "C5": 0, "C6": 1, "C7": 2, "patient_overall": 4},
    }
    images = found["images"]
    assert images["slices_by_study"] == {f"{U}{n}": n for n in range(1, 7)}
    assert (images["slices"], images["slices_min"], images["slices_median"], images["slices_max"]) == (
        21,
        1,
        3.5,
        6,
    )
    assert found["boxes"] == {"boxes": 2, "studies": 1}
    assert found["masks"] == {"masks": 1, "studies": [U + "3"]}
    assert found["test"] == {"rows": 24, "studies": 3, "folders": 3, "slices": 6}
    assert "nothing" in inventory.format_description(found)


def remove_study(raw):
    shutil.rmtree(raw / "train_images" / (U + "4"))


def stray_study(raw):
    (raw / "train_images" / "1.9").mkdir()
    (raw / "train_images" / "1.9" / "1.dcm").touch()


def stray_file(raw):
    (raw / "train_images" / (U + "4") / "notes.txt").touch()
    (raw / "train_images" / "readme").touch()


def empty_study(raw):
    (raw / "train_images" / (U + "1") / "1.dcm").unlink()


def stray_mask(raw):
    (raw / "segmentations" / "1.9.nii").touch()


def box_without_fracture(raw):
    path = raw / "train_bounding_boxes.csv"
    path.write_text(path.read_text() + f"{U}1,1,1,2,2,1\n1.9,1,1,2,2,1\n")


def other_test_folder(raw):
    (raw / "test_images" / (U + "7")).rename(raw / "test_images" / "1.9")


def short_sample(raw):
    path = raw / "sample_submission.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def box_at(raw, x, y, number=2, study=2):
    path = raw / "train_bounding_boxes.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], f"{U}{study},{x},{y},43.0,61.5,{number}"]) + "\n")


TRAITS = pd.DataFrame(
    {"rows": 512.0, "columns": 512.0, "header_uid": [f"{U}{n}" for n in range(1, 7)]},
    index=[f"{U}{n}" for n in range(1, 7)],
)


@pytest.mark.parametrize(("x", "y"), [(5000, 10), (-40, 10), (10, -2), (10, 452), (470.5, 10), (-1e6, 1e6)])
def test_a_box_that_leaves_the_image_is_named(raw, x, y):
    box_at(raw, x, y)
    assert inventory.describe(raw, TRAITS)["missing"] == [f"1 boxes that leave the image: {U}2 slice 2"]


@pytest.mark.parametrize(("x", "y"), [(0, 0), (-0.5, 10), (469, 450.5), (469.9, 10)])
def test_a_box_at_the_edge_is_none(raw, x, y):
    box_at(raw, x, y)
    assert inventory.describe(raw, TRAITS)["missing"] == []


@pytest.mark.parametrize("number", [3, 99999, 0])
def test_a_box_on_no_slice_is_named(raw, number):
    box_at(raw, 10, 10, number)
    assert inventory.describe(raw, TRAITS)["missing"] == [
        f"1 boxes on a slice that does not exist: {U}2 slice {number}"
    ]


def test_files_of_another_study_and_unreadable_headers_are_named(raw):
    traits = TRAITS.copy()
    traits.loc[f"{U}3", "header_uid"] = f"{U}4"
    traits.loc[f"{U}5", ["rows", "columns", "header_uid"]] = [np.nan, np.nan, ""]
    assert inventory.describe(raw, traits)["missing"] == [
        f"1 folders with the files of another StudyInstanceUID: {U}3",
        f"1 studies whose headers can't be read: {U}5",
    ]


def test_problems_of_masks_are_passed_on(raw):
    problems = {"masks without all of C1 to C7": [f"{U}3 (lacks C2)"]}
    assert inventory.describe(raw, None, problems)["missing"] == [
        f"1 masks without all of C1 to C7: {U}3 (lacks C2)"
    ]


ODD = {
    remove_study: [f"1 labelled studies without a folder in train_images: {U}4"],
    stray_study: ["1 study folders without a label: 1.9"],
    stray_file: ["2 entries of train_images that are neither study folders nor .dcm files"],
    empty_study: [f"1 study folders without a slice: {U}1"],
    stray_mask: ["1 masks without a labelled study: 1.9"],
    box_without_fracture: [
        "1 studies with boxes that are not in train.csv: 1.9",
        f"1 studies with boxes, yet without a fracture: {U}1",
    ],
    other_test_folder: [
        f"1 studies of test.csv without a folder in test_images: {U}7",
        "1 folders in test_images that test.csv does not name: 1.9",
    ],
    short_sample: [f"1 row ids in only one of test.csv and sample_submission.csv: {U}9_patient_overall"],
}


@pytest.mark.parametrize("change", ODD, ids=lambda change: change.__name__)
def test_what_is_missing_or_odd_is_named(raw, change):
    change(raw)
    found = inventory.describe(raw)
    assert found["missing"] == ODD[change]
    assert all(sentence in inventory.format_description(found) for sentence in ODD[change])


@pytest.mark.parametrize(
    "name", ["train_images", "segmentations", "test_images", "train_bounding_boxes.csv", "test.csv"]
)
def test_a_missing_part_is_one_sentence_and_not_an_error(raw, name):
    path = raw / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    missing = inventory.describe(raw)["missing"]
    assert sum(sentence.startswith(f"{name} is missing") for sentence in missing) == 1


def test_without_labels_there_is_nothing_to_describe(raw):
    (raw / "train.csv").unlink()
    with pytest.raises(InputError, match="train.csv: found no such file"):
        inventory.describe(raw)
