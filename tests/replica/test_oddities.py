"""Odd studies come at the original's rates, and real files show what the truth says of them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from replica.cohort.studies import make_cohort
from replica.scanner.oddities import Oddity, choose_oddities, describe
from replica.settings import ReplicaSettings
from replica.study import Study, make_study
from replica.writer.folder import replicate, write_series

SETTINGS = ReplicaSettings(out=Path("unused"), train=40, public=0, private=0, size=0.125, severity=(0.8, 1.0))
ONCE = {odd.value: 1 for odd in Oddity} | {"matrix_768": 2, "starts_at_2": 9}


def write_odd(folder: Path, odd: Oddity, level: str = "C2", number: int = 0) -> tuple[Study, list]:
    """One study with a broken level, made odd and written; its headers in the order of file numbers."""
    cohort = make_cohort(SETTINGS)
    row = cohort[cohort[level] == 1].iloc[number].copy()
    row["oddity"] = odd.value
    study = make_study(row, SETTINGS)
    write_series(folder, study, row["StudyInstanceUID"], SETTINGS, int(row["index"]))
    return study, [pydicom.dcmread(p) for p in sorted(folder.iterdir(), key=lambda p: int(p.stem))]


def positions(slices: list) -> np.ndarray:
    return np.array([s.ImagePositionPatient for s in slices], float)


def test_the_full_cohort_has_each_as_often_as_the_original():
    settings = ReplicaSettings(out=Path("unused"))
    cohort = make_cohort(settings)
    train, test = (cohort[(cohort["split"] == "train") == t] for t in (True, False))
    assert Counter(train["oddity"][train["oddity"] != ""]) == ONCE
    assert 4 <= (test["oddity"] != "").sum() <= 20  # 19 of 2,019 are 10 of 1,093
    assert choose_oddities(cohort, settings) == cohort["oddity"].tolist()
    assert (cohort.loc[cohort["oddity"] == "no_neck", "C2"] == 1).all()
    bent = cohort["oddity"].isin(["no_neck", "twice", "oblique", "short", "uneven"])
    assert not cohort.loc[bent, "masked"].any()


def test_small_cohorts_have_the_expected_number_on_average():
    found = []
    for seed in range(40):
        settings = ReplicaSettings(out=Path("unused"), train=50, public=0, private=0, seed=seed)
        found.append((make_cohort(settings)["oddity"] != "").sum())
    assert 0.2 < np.mean(found) < 0.85  # 50 * 18 / 2019 = 0.45
    assert min(found) == 0


def test_no_neck_in_view_and_yet_a_level_broken(tmp_path):
    study, slices = write_odd(tmp_path, Oddity.NO_NECK)
    assert not study.labels.any() and not study.wounds
    assert [injury.level for injury in study.unseen][:2].count("C2") == 1
    lowest = positions(slices)[:, 2].min()
    atlas = study.protocol.patient_mm(tuple(study.anatomy.poses[0].centre))
    assert lowest > atlas[2] + 25
    hu = np.stack([s.pixel_array.astype(int) + int(s.RescaleIntercept) for s in slices])
    assert (hu > 0).mean() > 0.15 and (hu > 500).mean() > 0.01  # it is a head, not air


def test_every_position_twice(tmp_path):
    study, slices = write_odd(tmp_path, Oddity.TWICE)
    z = positions(slices)[:, 2]
    assert len(z) == 2 * round(541 * 0.125) == 2 * len(np.unique(z))
    half = len(z) // 2
    assert np.array_equal(z[:half], z[half:])
    assert [int(s.InstanceNumber) for s in slices] == list(range(1, len(z) + 1))
    assert (slices[5].pixel_array != slices[half + 5].pixel_array).mean() > 0.3


def test_oblique_slices_say_so_and_lie_where_they_say(tmp_path):
    study, slices = write_odd(tmp_path, Oddity.OBLIQUE)
    row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    assert 10 < np.degrees(np.arccos(normal[2])) < 30
    assert row @ column == pytest.approx(0) and np.linalg.norm(column) == pytest.approx(1)
    way = np.diff(positions(slices), axis=0)
    assert np.abs(np.abs(way @ normal) - study.protocol.grid.spacing_mm[0]).max() < 0.01
    assert np.abs(way - (way @ normal)[:, None] * normal).max() < 0.01
    # a bright voxel's place by the header is the painted voxel's place
    k, y, x = np.unravel_index(study.hu.argmax(), study.hu.shape)
    number = int(study.protocol.file_numbers()[k]) - 1
    mm = (
        positions(slices)[number]
        + x * float(slices[0].PixelSpacing[1]) * row
        + y * float(slices[0].PixelSpacing[0]) * column
    )
    g = study.protocol.grid
    assert mm == pytest.approx(
        study.protocol.patient_mm(tuple(float(g.axis(d)[i]) for d, i in enumerate((k, y, x)))), abs=0.01
    )


def test_short_scans_hold_a_few_levels(tmp_path):
    study, slices = write_odd(tmp_path, Oddity.SHORT)
    z = positions(slices)[:, 2]
    assert z.max() - z.min() == pytest.approx(72, abs=study.protocol.grid.spacing_mm[0])
    assert 0 < len(np.unique(study.labels)) - 1 < 8


def test_uneven_steps(tmp_path):
    study, slices = write_odd(tmp_path, Oddity.UNEVEN)
    steps = np.abs(np.diff(positions(slices)[:, 2])) * SETTINGS.size
    assert steps.min() == pytest.approx(0.76, abs=0.005) and steps.max() == pytest.approx(1.24, abs=0.005)
    assert steps.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("odd", "shape", "first"),
    [
        (Oddity.MATRIX_768, (96, 96), 1),
        (Oddity.MATRIX_519, (64, 65), 1),
        (Oddity.STARTS_AT_59, (64, 64), 59),
        (Oddity.STARTS_AT_2, (64, 64), 2),
    ],
)
def test_matrix_and_numbering(tmp_path, odd, shape, first):
    study, slices = write_odd(tmp_path, odd)
    assert slices[0].pixel_array.shape == shape == (slices[0].Rows, slices[0].Columns)
    assert int(slices[0].InstanceNumber) == first and (tmp_path / f"{first}.dcm").exists()
    assert not (tmp_path / f"{first - 1}.dcm").exists()
    assert len(study.wounds) >= 1


@pytest.mark.parametrize("odd", [Oddity.SHORT, Oddity.OBLIQUE])
def test_levels_out_of_view_are_told_from_those_in_view(odd):
    cohort = make_cohort(SETTINGS)
    seen = Counter()
    for _, row in cohort[cohort["patient_overall"] == 1].iloc[:6].iterrows():
        row = row.copy()
        row["oddity"] = odd.value
        study = make_study(row, SETTINGS)
        broken = {f"C{n}" for n in range(1, 8) if row[f"C{n}"]}
        found, unseen = {w.injury.level for w in study.wounds}, {i.level for i in study.unseen}
        assert found | unseen == broken and not found & unseen
        seen.update(found=len(found), unseen=len(unseen))
        for level in unseen:
            assert level in describe(study.protocol, tuple(unseen))
    assert seen["unseen"] > 0


def test_truth_lists_them(tmp_path, monkeypatch):
    def two(cohort: pd.DataFrame, settings: ReplicaSettings) -> list[str]:
        broken = int(np.flatnonzero(cohort["C2"])[0])
        return [
            "no_neck" if n == broken else "starts_at_2" if n == broken + 1 else "" for n in range(len(cohort))
        ]

    monkeypatch.setattr("replica.cohort.studies.choose_oddities", two)
    out = tmp_path / "out"
    replicate(
        ReplicaSettings(out=out, train=8, public=0, private=0, size=0.125, seed=5, workers=1, box_share=1.0)
    )
    odd = pd.read_csv(out / "truth" / "oddities.csv", dtype=str).set_index("oddity")
    assert list(odd.columns) == ["StudyInstanceUID", "detail"]
    assert set(odd.index) == {"no_neck", "starts_at_2"}
    assert "not in view: " in odd.loc["no_neck", "detail"]
    assert "from number 2 on" in odd.loc["starts_at_2", "detail"]
    uid = odd.loc["no_neck", "StudyInstanceUID"]
    boxes = pd.read_csv(out / "competition" / "train_bounding_boxes.csv", dtype=str)
    assert uid not in set(boxes["StudyInstanceUID"])
    labels = pd.read_csv(out / "competition" / "train.csv").set_index("StudyInstanceUID")
    assert labels.loc[uid, "C2"] == 1
    wounds = pd.read_csv(out / "truth" / "fractures.csv")
    mine = wounds[wounds["StudyInstanceUID"] == uid]
    assert "C2" in set(mine["level"]) and mine[["z_mm", "y_mm", "x_mm"]].isna().all(axis=None)
    assert wounds.loc[wounds["StudyInstanceUID"] != uid, "z_mm"].notna().all()
