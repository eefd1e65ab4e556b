import json

import numpy as np
import pandas as pd
import pytest

from cspine.competition import leaderboard, tables
from cspine.competition.labels import LEVELS, PUBLISHED
from cspine.competition.strata import strata
from cspine.errors import InputError


def labelled(studies: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    levels = random.random((studies, 7)) < PUBLISHED["train"].rates()[:7]
    frame = pd.DataFrame(levels.astype(int), columns=list(LEVELS))
    frame.insert(0, "patient_overall", frame.max(axis=1))
    frame.insert(0, "StudyInstanceUID", [f"1.2.{number}" for number in range(studies)])
    return frame


def made(train: pd.DataFrame, seed: int = 0):
    return leaderboard.make_leaderboard(train, strata(train, set(), set()), seed)


def test_the_proportions_are_the_originals_and_the_parts_alike():
    parts, audit = made(labelled(3112))
    assert parts.value_counts().to_dict() == {"train": 2019, "private": 789, "public": 304}
    worst = max(abs(value) for values in audit["differences"].values() for value in values.values())
    assert worst <= 0.03
    assert max(audit["constants"].values()) - min(audit["constants"].values()) <= 0.005
    assert leaderboard.audit_lines(audit)[-1].startswith("balanced: ")


def test_the_published_split_is_audited_as_it_was():
    """Figures worked out from Table 2 by others."""
    published = made(labelled(40))[1]["published"]
    differences = published["differences"]["public against private"]
    assert [round(abs(differences[kind]), 3) for kind in ("C4", "C5", "C3")] == [0.337, 0.27, 0.213]
    assert published["constants"] == pytest.approx(
        {"train": 0.5668, "public": 0.5678, "private": 0.6031}, abs=2e-4
    )


def test_few_studies_are_divided_as_well_as_can_be_and_told_so():
    parts, audit = made(labelled(30))
    assert parts.value_counts().to_dict() == {"train": 19, "private": 8, "public": 3}
    assert leaderboard.audit_lines(audit)[-1].startswith("not balanced: ")
    with pytest.raises(InputError, match="found 19 labelled studies; expected at least 20"):
        made(labelled(19))


@pytest.fixture
def raw(tmp_path):
    """A competition folder of thirty studies with a slice, some with masks and boxes, and a cohort table."""
    train = labelled(30, seed=2)
    folder = tmp_path / "original" / "competition"
    for uid in train["StudyInstanceUID"]:
        (folder / "train_images" / uid).mkdir(parents=True)
        (folder / "train_images" / uid / "1.dcm").write_bytes(uid.encode())
    (folder / "segmentations").mkdir()
    for uid in train["StudyInstanceUID"][:9]:
        (folder / "segmentations" / f"{uid}.nii").write_bytes(b"mask")
    train.to_csv(folder / "train.csv", index=False)
    boxes = [f"{uid},1,2,3,4,1" for uid in train["StudyInstanceUID"]]
    head = "StudyInstanceUID,x,y,width,height,slice_number"
    (folder / "train_bounding_boxes.csv").write_text("\n".join([head, *boxes]) + "\n")
    people = train[["StudyInstanceUID"]].assign(
        split="train", site="1", sex="M", age=50, boxed=True, masked=False
    )
    (folder.parent / "truth").mkdir()
    people.to_csv(folder.parent / "truth" / "cohort.csv", index=False)
    return folder


def test_the_local_competition_has_every_file_of_the_real_one(raw, tmp_path):
    train = tables.read_train(raw)
    parts, audit = made(train)
    out = tmp_path / "local"
    assert leaderboard.write_leaderboard(raw, out, parts, audit)
    folder = out / "competition"
    here = set(parts.index[parts == "train"])
    assert set(tables.read_train(folder)["StudyInstanceUID"]) == here
    assert set(tables.read_boxes(folder)["StudyInstanceUID"]) == here
    solution = tables.read_solution(out / "solution.csv")
    assert solution.groupby("Usage").size().to_dict() == {"Private": 8 * 8, "Public": 3 * 8}
    assert set(tables.read_test(folder)["StudyInstanceUID"]) == set(parts.index) - here
    assert len(tables.read_sample(folder)) == 11 * 8
    for uid, part in parts.items():
        place = "train_images" if part == "train" else "test_images"
        assert (folder / place / uid / "1.dcm").read_bytes() == uid.encode()
    assert {path.name for path in (folder / "train_images").iterdir()} == here
    masks = {path.name.removesuffix(".nii") for path in (folder / "segmentations").iterdir()}
    assert masks == here & set(train["StudyInstanceUID"][:9])
    cohort = pd.read_csv(out / "truth" / "cohort.csv", dtype=str).set_index("StudyInstanceUID")["split"]
    assert cohort.to_dict() == parts.to_dict()
    assert json.loads((out / "audit.json").read_text())["counts"]["public"]["studies"] == 3


def test_a_local_competition_is_written_once(raw, tmp_path):
    train, out = tables.read_train(raw), tmp_path / "local"
    assert leaderboard.write_leaderboard(raw, out, *made(train))
    before = (out / "solution.csv").stat().st_mtime_ns
    assert not leaderboard.write_leaderboard(raw, out, *made(train.iloc[::-1]))
    with pytest.raises(InputError, match="found another competition"):
        leaderboard.write_leaderboard(raw, out, *made(train, seed=5))
    assert (out / "solution.csv").stat().st_mtime_ns == before
