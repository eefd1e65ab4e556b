"""Exports as hospitals make them: which series are found, and that none is ever mixed with another."""

import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.series import phantom, slices_of, write_series

from cspine.dicom.exams import find_exams, lay_out
from cspine.dicom.reader import read_series
from cspine.errors import InputError


def series(folder: Path, patient: str, number: int = 1, first: int = 1, seed: int = 0, **tags) -> Path:
    """Write a series of ten slices with UIDs of its own; instance UIDs too."""
    study, uid = f"1.2.{patient}", f"1.2.{patient}.{number}"
    slices = slices_of(phantom(seed=seed))
    for index, one in enumerate(slices):
        one.more = {
            "PatientID": patient, "PatientName": f"Name^{patient}", "StudyInstanceUID": study, "SeriesInstanceUID": uid,
            "SOPInstanceUID": f"{uid}.{index + 1}", "Modality": "CT", "SeriesDescription": f"series {number}", **tags,
        }  # fmt: skip
    return write_series(folder, slices, first)


def found_in(place: Path, tmp_path: Path) -> dict[str, int]:
    found = find_exams(place, tmp_path / "unpacked")
    return {one.series: len(one.files) for one in found.series}


def test_two_patients_in_one_folder_stay_two(tmp_path):
    series(tmp_path / "all", "1", seed=1)
    series(tmp_path / "all", "2", first=101, seed=2)
    found = find_exams(tmp_path / "all", tmp_path / "unpacked").series
    assert [(one.patient, one.study, one.series, len(one.files)) for one in found] == [
        ("1", "1.2.1", "1.2.1.1", 10),
        ("2", "1.2.2", "1.2.2.1", 10),
    ]
    for number, one in enumerate(found, start=1):
        lay_out(one, tmp_path / "series" / str(number))
        alone = read_series(series(tmp_path / f"alone{number}", str(number), seed=number))
        np.testing.assert_array_equal(read_series(tmp_path / "series" / str(number)).hu, alone.hu)


def test_a_tree_as_a_cd_brings_it(tmp_path):
    """DICOMDIR beside DICOM/, nested patients, names without suffix, pictures and programs in between."""
    root = tmp_path / "CD (1) & more"
    for patient in ("1", "2"):
        folder = series(root / "DICOM" / f"P{patient}" / "ST0" / "SE1", patient)
        for file in list(folder.iterdir()):
            file.rename(folder / file.stem)
    (root / "DICOMDIR").write_bytes(b"\0" * 200)
    (root / "viewer.exe").write_bytes(b"MZ" * 200)
    (root / "DICOM" / "P1" / "._00001").write_bytes(b"x")
    assert found_in(root, tmp_path) == {"1.2.1.1": 10, "1.2.2.1": 10}
    others = find_exams(root, tmp_path / "unpacked").others
    assert others == {".exe": 1}


def test_one_file_a_zip_and_a_zip_of_folders(tmp_path):
    folder = series(tmp_path / "a", "1")
    assert found_in(folder / "1.dcm", tmp_path) == {"1.2.1.1": 1}
    series(tmp_path / "b" / "deep", "2")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in [*folder.iterdir(), *(tmp_path / "b" / "deep").iterdir()]:
            archive.write(file, file.relative_to(tmp_path))
    assert found_in(tmp_path / "all.zip", tmp_path) == {"1.2.1.1": 10, "1.2.2.1": 10}


def test_a_zip_can_not_write_elsewhere_and_a_damaged_one_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../outside.dcm", b"x")
    find_exams(tmp_path / "evil.zip", tmp_path / "unpacked")
    assert not (tmp_path.parent / "outside.dcm").exists() and not (tmp_path / "outside.dcm").exists()
    series(tmp_path / "a", "1")
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        for file in (tmp_path / "a").iterdir():
            archive.write(file, file.name)
    content = bytearray((tmp_path / "cut.zip").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "cut.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"cut\.zip: can't be unpacked .*; unpack it yourself"):
        find_exams(tmp_path / "cut.zip", tmp_path / "unpacked2")


def test_slices_with_a_series_each_are_joined(tmp_path):
    slices = slices_of(phantom())
    for index, one in enumerate(slices):
        one.more = {"PatientID": "1", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": f"1.2.1.{index}",
                    "SOPInstanceUID": f"1.2.1.{index}.9"}  # fmt: skip
    write_series(tmp_path / "each", slices)
    (one,) = find_exams(tmp_path / "each", tmp_path / "unpacked").series
    assert len(one.files) == 10 and one.series == ""


def test_a_second_copy_of_a_file_counts_once(tmp_path):
    series(tmp_path / "all" / "a", "1")
    shutil.copytree(tmp_path / "all" / "a", tmp_path / "all" / "b")
    assert found_in(tmp_path / "all", tmp_path) == {"1.2.1.1": 10}


def test_files_of_one_name_in_two_folders_are_one_series(tmp_path):
    whole = series(tmp_path / "whole", "1")
    for number in range(1, 11):
        half = tmp_path / "all" / ("upper" if number < 6 else "lower")
        half.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole / f"{number}.dcm", half / f"{(number - 1) % 5 + 1}.dcm")
    (one,) = find_exams(tmp_path / "all", tmp_path / "unpacked").series
    renamed = lay_out(one, tmp_path / "series")
    assert len(renamed) == 10 and len(list((tmp_path / "series").iterdir())) == 10
    np.testing.assert_array_equal(read_series(tmp_path / "series").hu, read_series(whole).hu)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        find_exams(tmp_path / "none", tmp_path / "unpacked")
    (tmp_path / "empty").mkdir()
    found = find_exams(tmp_path / "empty", tmp_path / "unpacked")
    assert found.series == [] and found.niftis == []


def harm(content: bytes, rng: random.Random) -> bytes:
    """Cut, or flip bytes anywhere."""
    if rng.random() < 0.5:
        return content[: rng.randrange(1, len(content))]
    changed = bytearray(content)
    for _ in range(20):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_exports_at_random_are_never_mixed(tmp_path, seed):
    """25 a seed: series of several patients and kinds over folders at random, some of their files damaged."""
    rng = random.Random(seed)
    for number in range(25):
        root = tmp_path / str(number)
        folders = [root / "a b", root / "a b" / "DICOM" / "(1)", root / "é", root]
        truth: dict[str, set[bytes]] = {}
        for patient in range(rng.randint(1, 3)):
            for one in range(rng.randint(1, 2)):
                made = series(
                    tmp_path / "made",
                    f"{patient}",
                    one + 1,
                    seed=rng.randrange(99),
                    Modality=rng.choice(["CT", "CT", "MR"]),
                )
                spread = rng.random() < 0.3
                place = rng.choice(folders)
                contents = set()
                for file in sorted(made.iterdir()):
                    if spread:
                        place = rng.choice(folders)
                    content = file.read_bytes()
                    if rng.random() < 0.05:
                        content = harm(content, rng)
                    else:
                        contents.add(content)
                    place.mkdir(parents=True, exist_ok=True)
                    name = rng.choice([f"{patient}-{one}-{file.stem}", f"IM{patient}{one}{file.stem}.dcm"])
                    (place / name).write_bytes(content)
                truth[f"1.2.{patient}.{one + 1}"] = contents
                shutil.rmtree(made)
        if rng.random() < 0.5:
            (root / "report.pdf").write_bytes(b"%PDF")
        found = find_exams(root, tmp_path / "unpacked").series
        for one in found:
            others = set().union(*(files for uid, files in truth.items() if uid != one.series))
            assert not others & {file.read_bytes() for file in one.files}, (
                f"export {number}: {one.series} is mixed"
            )
        here: dict[str, set[bytes]] = {}
        for one in found:  # a damaged StudyInstanceUID parts a file from its series, whose UID it keeps
            here.setdefault(one.series, set()).update(file.read_bytes() for file in one.files)
        for uid, files in truth.items():
            assert files <= here.get(uid, set()), f"export {number}: {uid} lost a file"
