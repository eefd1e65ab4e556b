import json

import numpy as np
import pandas as pd
import pytest

from cspine.competition.labels import LEVELS, PUBLISHED
from cspine.competition.splits import read_folds
from cspine.competition.tables import read_solution, read_train
from cspine.errors import InputError
from cspine.execution.store import StudyStore
from cspine.preprocessing.split import gather, split_leaderboard, split_studies
from cspine.settings.layout import CacheLayout

UIDS = [f"1.2.{number}" for number in range(60)]


@pytest.fixture
def raw(tmp_path):
    """Sixty labelled studies without scans."""
    random = np.random.default_rng(1)
    levels = random.random((60, 7)) < 2 * PUBLISHED["train"].rates()[:7]
    frame = pd.DataFrame(levels.astype(int), columns=list(LEVELS))
    frame.insert(0, "patient_overall", frame.max(axis=1))
    frame.insert(0, "StudyInstanceUID", UIDS)
    folder = tmp_path / "replica" / "competition"
    (folder / "segmentations").mkdir(parents=True)
    frame.to_csv(folder / "train.csv", index=False)
    for uid in UIDS[:10]:
        (folder / "segmentations" / f"{uid}.nii").touch()
    boxes = [f"{uid},1,2,3,4,1" for uid in UIDS[5:20]]
    head = "StudyInstanceUID,x,y,width,height,slice_number"
    (folder / "train_bounding_boxes.csv").write_text("\n".join([head, *boxes]) + "\n")
    return folder


def write_cohort(raw) -> None:
    people = pd.DataFrame({"StudyInstanceUID": UIDS, "split": "train"})
    people = people.assign(site=["1", "2", "3"] * 20, sex=["M", "F"] * 30)
    (raw.parent / "truth").mkdir()
    people.assign(age=range(60), boxed=False, masked=True).to_csv(
        raw.parent / "truth" / "cohort.csv", index=False
    )


def volumes(cache, pairs: list[tuple[str, str]]) -> None:
    """Prepared volumes of random noise, those of a pair alike."""
    random = np.random.default_rng(0)
    store = StudyStore(CacheLayout(cache).volumes, {"spacing_mm": 4.0})
    made = {uid: random.integers(-100, 1000, (12, 10, 10)).astype(np.int16) for uid in UIDS[:20]}
    for one, other in pairs:
        made[other] = made[one]
    for uid, volume in made.items():
        store.write(uid, {"volume": volume}, {"affine": np.eye(4).tolist()})


def test_masks_and_boxes_are_balanced_and_the_file_says_how_well(raw, tmp_path, capsys):
    cache = tmp_path / "cache"
    split_studies(raw, cache, 5, 0)
    folds = read_folds(cache / "folds.csv")
    assert {int((folds[UIDS[:10]] == fold).sum()) for fold in range(5)} == {2}
    assert {int((folds[UIDS[5:20]] == fold).sum()) for fold in range(5)} == {3}
    said = json.loads((cache / "split.json").read_text())
    assert (said["folds"], said["seed"]) == (5, 0) and said["differences"]["has mask"] == 0
    printed = capsys.readouterr().out
    assert "near-duplicates: not looked for" in printed and "`make prepare` makes it" in printed
    assert "standardised differences, a fold against the rest, of 10 columns" in printed


def test_patients_are_balanced_where_a_table_knows_them(raw, tmp_path):
    write_cohort(raw)
    table = gather(raw, tmp_path / "cache").table
    assert {"site 1", "site 2", "site 3", "sex F", "age"} <= set(table.columns)
    assert table["has mask"].sum() == 10  # the files, not the table, where there are files
    split_studies(raw, tmp_path / "cache", 5, 0)
    folds = read_folds(tmp_path / "cache" / "folds.csv")
    assert {int((folds[UIDS[::2]] == fold).sum()) for fold in range(5)} == {6}


def test_a_folder_of_tables_alone_takes_its_masks_and_boxes_from_the_cohort(raw, tmp_path):
    write_cohort(raw)
    for uid in UIDS[:10]:
        (raw / "segmentations" / f"{uid}.nii").unlink()
    (raw / "train_bounding_boxes.csv").unlink()
    table = gather(raw, tmp_path / "cache").table
    assert "has mask" not in table and "has boxes" not in table  # all have a mask, nobody a box


def test_headers_are_balanced_where_nobody_knows_the_patients(raw, tmp_path):
    cache = tmp_path / "cache"
    for uid in UIDS:
        (raw / "train_images" / uid).mkdir(parents=True)
    head = "StudyInstanceUID,slices,rows,columns,direction,step_mm,pixel_mm,syntax,header_uid"
    ways = ["feet to head", "head to feet", "head to feet", "head to feet"] * 15
    rows = [f"{uid},9,512,512,{way},0.5,0.4,x,{uid}" for uid, way in zip(UIDS, ways, strict=True)]
    cache.mkdir()
    (cache / "traits.csv").write_text("\n".join([head, *rows]) + "\n")
    split_studies(raw, cache, 5, 0)
    folds = read_folds(cache / "folds.csv")
    assert {int((folds[UIDS[::4]] == fold).sum()) for fold in range(5)} == {3}


def test_the_same_data_again_writes_nothing_and_changed_data_is_refused(raw, tmp_path, capsys):
    cache = tmp_path / "cache"
    split_studies(raw, cache, 5, 0)
    before = {path.name: path.stat().st_mtime_ns for path in cache.glob("*.[cj]*")}
    lines = (raw / "train.csv").read_text().splitlines()
    (raw / "train.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    split_studies(raw, cache, 5, 0)
    assert "wrote nothing" in capsys.readouterr().out
    (raw / "segmentations" / f"{UIDS[59]}.nii").touch()
    with pytest.raises(InputError, match=r"changed: labels, annotations or patients\).*delete folds.csv"):
        split_studies(raw, cache, 5, 0)
    (raw / "segmentations" / f"{UIDS[59]}.nii").unlink()
    with pytest.raises(InputError, match="changed: the seed"):
        split_studies(raw, cache, 5, 1)
    with pytest.raises(InputError, match="changed: the number of folds"):
        split_studies(raw, cache, 4, 0)
    assert {path.name: path.stat().st_mtime_ns for path in cache.glob("*.[cj]*")} == before


def test_a_split_that_does_not_say_how_it_was_made_has_to_be_the_same(raw, tmp_path):
    cache = tmp_path / "cache"
    split_studies(raw, cache, 5, 0)
    (cache / "split.json").unlink()
    split_studies(raw, cache, 5, 0)
    assert (cache / "split.json").is_file()
    (cache / "split.json").unlink()
    with pytest.raises(InputError, match="another split"):
        split_studies(raw, cache, 5, 3)


def test_near_duplicates_share_a_fold_and_are_listed(raw, tmp_path, capsys):
    cache = tmp_path / "cache"
    volumes(cache, [(UIDS[2], UIDS[11]), (UIDS[3], UIDS[17])])
    split_studies(raw, cache, 5, 0)
    folds = read_folds(cache / "folds.csv")
    assert folds[UIDS[2]] == folds[UIDS[11]] and folds[UIDS[3]] == folds[UIDS[17]]
    listed = pd.read_csv(cache / "duplicates.csv", dtype={"StudyInstanceUID": str, "other": str})
    assert set(zip(listed["StudyInstanceUID"], listed["other"], strict=True)) == {
        tuple(sorted((UIDS[2], UIDS[11]))), tuple(sorted((UIDS[3], UIDS[17]))),
    }  # fmt: skip
    assert "near-duplicates: 2 pairs" in capsys.readouterr().out


def test_a_split_made_before_the_audit_is_refused_if_it_parts_a_pair(raw, tmp_path):
    cache = tmp_path / "cache"
    split_studies(raw, cache, 5, 0)
    folds = read_folds(cache / "folds.csv")
    other = next(uid for uid in UIDS[1:20] if folds[uid] != folds[UIDS[0]])
    volumes(cache, [(UIDS[0], other)])
    with pytest.raises(InputError, match=f"near-duplicates in two folds: .*{other}"):
        split_studies(raw, cache, 5, 0)


def test_a_leaderboard_comes_from_the_same_data(raw, tmp_path, capsys):
    write_cohort(raw)
    out = tmp_path / "local"
    split_leaderboard(raw, tmp_path / "cache", out, 0)
    assert len(read_train(out / "competition")) == 39
    assert read_solution(out / "solution.csv")["Usage"].value_counts().to_dict() == {
        "Private": 120,
        "Public": 48,
    }
    printed = capsys.readouterr().out
    assert "Table 2" in printed and "public against private" in printed and "balanced" in printed
    split_leaderboard(raw, tmp_path / "cache", out, 0)
    assert "wrote nothing" in capsys.readouterr().out
