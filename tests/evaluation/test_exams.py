"""Predictions of own scans, as a person asks for them."""

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from helpers.dask_cluster import Cluster
from helpers.series import phantom, slices_of, write_series

from cspine import storage
from cspine.competition.labels import LEVELS, PREDICTION_TYPES
from cspine.errors import InputError, printable
from cspine.evaluation import exams
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.exam_report import NOT_A_DEVICE, SYNTHETIC, file_name
from cspine.evaluation.exams import disclaimer_of, predict_exams
from cspine.settings.flags import PredictFlags
from cspine.settings.layout import RunLayout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def export(competition, studies, tmp_path_factory) -> Path:
    """An export: two patients in folders of one name, a series of noise, an MR, a PDF."""
    root = tmp_path_factory.mktemp("export")
    for patient, uid in zip(("W", "X"), studies, strict=True):
        folder = root / f"Patient{patient}" / "SeriesZ"
        folder.mkdir(parents=True)
        for file in (competition / "test_images" / uid).iterdir():
            one = pydicom.dcmread(file)
            one.PatientID, one.PatientName, one.Modality = patient, f"Secret^{patient}", "CT"
            one.SeriesDescription = "neck <b>\x07bone"
            one.save_as(folder / file.name)
    write_series(root / "noise", slices_of(phantom((40, 64, 64)), more={"Modality": "CT", "PatientID": "N"}))
    write_series(root / "mr", slices_of(phantom(), more={"Modality": "MR", "PatientID": "M"}))
    (root / "report.pdf").write_bytes(b"%PDF")
    return root


def test_every_series_gets_a_row_and_nothing_is_overwritten(export, run, studies, tmp_path, capsys):
    assert predict_exams(PredictFlags(export, tmp_path, run, labels=True)) == 2
    table = pd.read_csv(tmp_path / "predictions.csv", dtype=str, keep_default_na=False)
    assert sorted(table["status"]) == ["done", "done", "failed", "left out"]
    done = table[table["status"] == "done"].set_index("patient_id")
    assert set(done.index) == {"W", "X"} and set(done["study_uid"]) == set(studies)
    assert set(done["path"]) == {"PatientW/SeriesZ", "PatientX/SeriesZ"}
    assert (done[list(PREDICTION_TYPES)].astype(float).to_numpy() > 0).all()
    assert len(set(done["patient_overall"])) == 2
    assert done["C4_sop_instance_uid"].str.startswith("1.2.").all()
    assert (done["run"] == "2 folds").all() and done["version"].iloc[0]
    (failed,) = table[table["status"] == "failed"]["reason"]
    assert "not a neck" in failed
    (left,) = table[table["status"] == "left out"]["reason"]
    assert left == "Modality (0008,0060) is MR, expected CT"
    said = capsys.readouterr().out
    assert NOT_A_DEVICE in said and "Secret" not in said and "\x07" not in said
    assert "Secret" not in (tmp_path / "predictions.csv").read_text() + (tmp_path / "index.html").read_text()
    assert "<b>" not in (tmp_path / "index.html").read_text()
    names = {path.name for path in tmp_path.iterdir()}
    for uid in done["series_uid"]:
        assert {f"{uid}.json", f"{uid}.png", f"{uid}-levels.nii.gz"} <= names
        content = json.loads((tmp_path / f"{uid}.json").read_text())
        assert content["disclaimer"].endswith(NOT_A_DEVICE)
        for level in LEVELS:
            where = content["deciding"][level]
            assert where["sop_instance_uid"] and where["instance_number"] >= 0


def test_a_run_that_learnt_from_a_replica_says_so_whatever_its_preset(run, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    assert disclaimer_of(copy) == f"{SYNTHETIC} {NOT_A_DEVICE}", "its preset is one for trying"
    monkeypatch.setattr(exams, "for_trying", lambda preset: False)
    assert disclaimer_of(copy) == NOT_A_DEVICE
    calibration = replace(Calibration.load(copy), synthetic=True)
    storage.write_json(RunLayout(copy).calibration, asdict(calibration))
    assert disclaimer_of(copy) == f"{SYNTHETIC} {NOT_A_DEVICE}"


@pytest.mark.slow
def test_many_machines_say_what_one_says(export, run, tmp_path):
    """Two workers of a Dask scheduler, each with networks of its own; the results are those of one machine."""
    here, there, folder = tmp_path / "here", tmp_path / "there", tmp_path / "dask"
    folder.mkdir()
    assert predict_exams(PredictFlags(export, here, run, labels=True)) == 2
    with ExitStack() as stack:
        address = Cluster(folder, stack).address
        assert predict_exams(PredictFlags(export, there, run, labels=True, scheduler=address)) == 2
    rows = [pd.read_csv(out / "predictions.csv").drop(columns="seconds") for out in (here, there)]
    pd.testing.assert_frame_equal(*rows, check_exact=False, atol=2e-4)
    names = [sorted(path.name for path in out.iterdir() if path.name != ".lock") for out in (here, there)]
    assert names[0] == names[1] and sum(name.endswith("-levels.nii.gz") for name in names[0]) == 2
    for name in names[0]:
        if name.endswith(".nii.gz"):
            assert (here / name).read_bytes() == (there / name).read_bytes()


def test_other_programs_see_the_label_map_on_the_scan_and_right_side_up(competition, run, tmp_path):
    """Through ITK, by which 3D Slicer reads: held against the series' own geometry, and against the study's mask."""
    mask = next((competition / "segmentations").iterdir())
    folder = competition / "train_images" / mask.name.removesuffix(".nii")
    assert predict_exams(PredictFlags(folder, tmp_path, run, labels=True)) == 1
    found = SimpleITK.ReadImage(str(next(tmp_path.glob("*-levels.nii.gz"))))
    scan = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader().GetGDCMSeriesFileNames(str(folder)))
    laid = {
        name: SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(found, other, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
        )
        for name, other in {"scan": scan, "mask": SimpleITK.ReadImage(str(mask))}.items()
    }
    hu = SimpleITK.GetArrayFromImage(scan)
    levels = (laid["scan"] > 0) & (laid["scan"] < 8)
    assert hu[levels].mean() > 150 > hu[~levels].mean() + 200
    truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(mask)))
    for level in range(1, 8):
        here, there = laid["mask"] == level, truth == level
        assert 2 * (here & there).sum() / (here.sum() + there.sum()) > 0.6, LEVELS[level - 1]
    heights = []
    for level in (1, 7):
        index = np.argwhere(SimpleITK.GetArrayFromImage(found) == level).mean(axis=0)[::-1]
        heights.append(found.TransformContinuousIndexToPhysicalPoint(index.tolist())[2])
    assert heights[0] > heights[1] + 60, "C1 lies above C7, in millimetres of the patient"


def test_the_deciding_slice_lies_in_its_level(export, run, studies, tmp_path):
    """Its position in the patient is the one of the file that is named."""
    predict_exams(PredictFlags(export / "PatientW", tmp_path, run))
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())["deciding"]
    heights = {}
    for file in (export / "PatientW" / "SeriesZ").iterdir():
        one = pydicom.dcmread(file, stop_before_pixels=True)
        heights[str(one.SOPInstanceUID)] = float(one.ImagePositionPatient[2])
    for where in found.values():
        assert heights[where["sop_instance_uid"]] == pytest.approx(where["patient_z_mm"], abs=0.02)
    assert found["C1"]["patient_z_mm"] > found["C4"]["patient_z_mm"] > found["C7"]["patient_z_mm"]


def test_the_deciding_slice_is_found_whatever_files_are_called(export, run, tmp_path):
    """File numbers that are no InstanceNumbers, and InstanceNumbers that begin elsewhere."""
    files = sorted((export / "PatientW" / "SeriesZ").iterdir(), key=lambda path: int(path.stem))
    folder = tmp_path / "in"
    folder.mkdir()
    heights = {}
    for index, file in enumerate(files):
        one = pydicom.dcmread(file)
        one.InstanceNumber = 500 + index
        one.save_as(folder / f"{len(files) - index:05d}.dcm")
        heights[str(one.SOPInstanceUID)] = float(one.ImagePositionPatient[2]), 500 + index
    predict_exams(PredictFlags(folder, tmp_path / "out", run))
    (path,) = (tmp_path / "out").glob("*.json")
    for where in json.loads(path.read_text())["deciding"].values():
        height, number = heights[where["sop_instance_uid"]]
        assert height == pytest.approx(where["patient_z_mm"], abs=0.02) and number == where["instance_number"]


def test_what_is_finished_is_not_done_again_until_it_changes(export, run, own_run, tmp_path, monkeypatch):
    asked = []
    from cspine.evaluation import exams

    real = exams.predict_studies
    monkeypatch.setattr(
        exams, "predict_studies", lambda folders, *rest: (asked.append(len(folders)), real(folders, *rest))[1]
    )
    place = export / "PatientW"
    predict_exams(PredictFlags(place, tmp_path / "out", run))
    before = (tmp_path / "out" / "predictions.csv").read_bytes()
    assert predict_exams(PredictFlags(place, tmp_path / "out", run)) == 1
    assert asked == [1, 0]
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == before
    (own_run / "classifier" / "fold1" / "model.safetensors").unlink()
    predict_exams(PredictFlags(place, tmp_path / "out", own_run))
    assert asked == [1, 0, 1], "another run is asked anew"


def test_a_contrast_scan_and_thick_slices_are_noted(export, run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    files = sorted((export / "PatientW" / "SeriesZ").iterdir(), key=lambda path: int(path.stem))
    for file in files[::2]:
        one = pydicom.dcmread(file)
        one.ContrastBolusAgent = "Iodine"
        one.save_as(folder / file.name)
    predict_exams(PredictFlags(folder, tmp_path / "out", run))
    notes = pd.read_csv(tmp_path / "out" / "predictions.csv")["notes"][0]
    assert "contrast medium (0018,0010)" in notes and "mm apart" in notes


def test_nothing_to_predict_ends_with_three_and_nothing_to_read_with_two(export, run, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "src" / "predict.py"),
        "--run",
        str(run),
        "-o",
        str(tmp_path / "out"),
        "-i",
    ]
    done = subprocess.run([*command, str(export / "noise")], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "failed: " in done.stdout and "not a neck" in done.stdout
    done = subprocess.run([*command, str(export / "mr")], capture_output=True, text=True, check=False)
    assert (
        done.returncode == 2
        and "Modality (0008,0060) is MR" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_nifti_and_a_zip_are_predicted_like_folders(export, run, tmp_path):
    import shutil

    import nibabel

    zipped = shutil.make_archive(str(tmp_path / "exam"), "zip", export / "PatientX")
    assert predict_exams(PredictFlags(Path(zipped), tmp_path / "zip", run)) == 1
    first = (tmp_path / "zip" / "predictions.csv").read_bytes()
    assert predict_exams(PredictFlags(Path(zipped), tmp_path / "zip", run)) == 1
    assert (tmp_path / "zip" / "predictions.csv").read_bytes() == first, "seconds too: nothing was done again"
    (uid,) = (path.stem for path in (tmp_path / "zip").glob("*.json"))
    predict_exams(PredictFlags(Path(zipped), tmp_path / "zip", run, labels=True))
    assert (tmp_path / "zip" / f"{uid}-levels.nii.gz").is_file(), "asked for later"
    assert predict_exams(PredictFlags(export / "PatientX", tmp_path / "folder", run)) == 1
    one, other = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("zip", "folder"))
    pd.testing.assert_frame_equal(one[list(PREDICTION_TYPES)], other[list(PREDICTION_TYPES)])
    from cspine.dicom.reader import read_series
    from cspine.preprocessing.nifti import TO_LPS

    volume = read_series(export / "PatientX" / "SeriesZ")
    affine = TO_LPS @ volume.affine[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), affine)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    assert predict_exams(PredictFlags(tmp_path / "scan.nii.gz", tmp_path / "nifti", run)) == 1
    third = pd.read_csv(tmp_path / "nifti" / "predictions.csv")
    np.testing.assert_allclose(
        third[list(PREDICTION_TYPES)].to_numpy(float),
        other[list(PREDICTION_TYPES)].to_numpy(float),
        atol=2e-3,
    )


@pytest.mark.parametrize(
    ("uid", "path"),
    [("../../etc/passwd", "a"), ("", "x/../y z"), ("1.2." + "3" * 80, ""), ("1.2.3\n", "é"), ("", "")],
)
def test_no_name_leads_out_of_the_folder(uid, path):
    name = file_name(uid, path)
    assert name and "/" not in name and ".." not in name and name.isprintable() and " " not in name
    assert file_name(uid, path) == name != file_name(uid, path + "2")


def test_a_uid_is_its_own_name_and_text_from_files_is_harmless():
    assert file_name("1.2.840.1", "whatever") == "1.2.840.1"
    assert printable("a\x1b[31mb\nc\u202ed") == "a?[31mb?c?d"


def test_a_run_that_is_not_there_is_said(export, tmp_path):
    with pytest.raises(InputError):
        predict_exams(PredictFlags(export, tmp_path, tmp_path / "none"))


def test_the_command_does_what_the_script_does(export, run, tmp_path):
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    words = ["predict", "-i", str(export / "PatientW"), "-o", str(tmp_path / "out"), "--run", str(run)]
    done = subprocess.run(
        [sys.executable, "-m", "cspine", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "predictions.csv").is_file()
    for words, code in (["--help"], 0), ([], 2), (["nonsense"], 2):
        done = subprocess.run(
            [sys.executable, "-m", "cspine", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code and "cspine predict -i IN" in done.stdout + done.stderr
