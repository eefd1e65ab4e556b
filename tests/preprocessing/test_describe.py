import json

import nibabel
import numpy as np
import pandas as pd
import pytest

from cspine.preprocessing.describe import check_masks, describe_folder

TRAITS = pd.DataFrame({"slices": 6.0, "rows": 12.0, "columns": 10.0}, index=["1.2.3", "1.2.4"])


def mask(folder, uid: str, labels=(1, 2, 3, 4, 5, 6, 7), shape=(10, 12, 6)) -> None:
    data = np.zeros(shape, np.uint16)
    data.flat[: len(labels)] = list(labels)
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), folder / f"{uid}.nii")


def test_whole_masks_are_no_problem(tmp_path):
    mask(tmp_path / "masks", "1.2.3")
    mask(tmp_path / "masks", "1.2.4", labels=range(1, 13))
    assert check_masks(tmp_path / "masks", TRAITS) == {}
    assert check_masks(tmp_path / "none", TRAITS) == {}


def test_what_a_mask_lacks_is_named(tmp_path):
    mask(tmp_path / "masks", "1.2.3", labels=(1, 3, 4, 5, 6))
    mask(tmp_path / "masks", "1.2.4", shape=(10, 12, 7))
    mask(tmp_path / "masks", "1.2.5", shape=(3, 3, 3))  # a study that the headers say nothing about
    (tmp_path / "masks" / "1.2.6.nii").write_bytes(b"no mask")
    (tmp_path / "masks" / "1.2.7.nii").write_bytes((tmp_path / "masks" / "1.2.3.nii").read_bytes()[:400])
    assert check_masks(tmp_path / "masks", TRAITS) == {
        "masks that can't be read": ["1.2.6", "1.2.7"],
        "masks without all of C1 to C7": ["1.2.3 (lacks C2 C7)"],
        "masks of another shape than their scan": ["1.2.4"],
    }


def test_a_written_replica_has_nothing_odd_and_its_patients_beside_the_papers(competition, tmp_path, capsys):
    describe_folder(competition, tmp_path)
    printed = capsys.readouterr().out
    assert "missing or odd: nothing" in printed
    assert "Table 2 of the paper" in printed and "Table 1 of the paper" in printed
    assert printed.count("  paper") >= 4  # three sets and at least one site
    found = json.loads((tmp_path / "describe.json").read_text())
    assert found["masks"]["masks"] == 2 and (tmp_path / "traits.csv").is_file()


@pytest.mark.parametrize("change", [("slice_number", 99999), ("x", 5000.0), ("x", -40.0)])
def test_boxes_that_can_not_be_are_named(competition, tmp_path, capsys, change):
    folder = tmp_path / "competition"
    folder.mkdir()
    for path in competition.iterdir():
        (folder / path.name).symlink_to(path)
    uid = sorted(path.name for path in (competition / "train_images").iterdir())[0]
    box = {"StudyInstanceUID": uid, "x": 5.0, "y": 5.0, "width": 4.0, "height": 4.0, "slice_number": 1}
    box[change[0]] = change[1]
    (folder / "train_bounding_boxes.csv").unlink()
    pd.DataFrame([box]).to_csv(folder / "train_bounding_boxes.csv", index=False)
    describe_folder(folder, tmp_path / "cache")
    expected = "on a slice that does not exist" if change[0] == "slice_number" else "that leave the image"
    assert f"1 boxes {expected}: {uid} slice {box['slice_number']}" in capsys.readouterr().out
