"""The vertebrae of any scan, named without a run: from a folder, one of its files, or NIfTI."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.series import phantom, slices_of, write_series

from cspine.errors import InputError
from cspine.evaluation.named_scan import DISCLAIMER, locate_scan
from cspine.inference.scans import read_scan
from cspine.preprocessing.verdict import Kind

SCRIPT = Path(__file__).resolve().parents[2] / "src" / "locate_scan.py"


@pytest.fixture(scope="module")
def neck(tmp_path_factory):
    """A replica's neck, as files and as NIfTI."""
    from replica.settings import ReplicaSettings
    from replica.writer.folder import replicate

    out = tmp_path_factory.mktemp("neck") / "replica"
    replicate(ReplicaSettings(out=out, train=1, public=0, private=0, size=0.25, mask_share=1.0, workers=1))
    (folder,) = (out / "competition" / "train_images").iterdir()
    volume = read_scan(folder)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    nifti = out / "neck.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), affine), nifti)
    return folder, nifti


def test_a_folder_a_file_and_nifti_are_the_same_scan(neck):
    folder, nifti = neck
    first = read_scan(folder)
    for other in (read_scan(next(folder.iterdir())), read_scan(nifti)):
        np.testing.assert_array_equal(other.hu, first.hu)
        np.testing.assert_allclose(other.affine, first.affine, atol=1e-3)


def test_label_map_picture_and_verdict(neck, tmp_path, capsys):
    folder, _ = neck
    kind = locate_scan(folder, tmp_path)
    told = capsys.readouterr().out
    assert kind is Kind.SURE and "verdict: sure" in told and DISCLAIMER in told
    assert all(f"C{n}  " in told for n in range(1, 8)) and "not in view" not in told
    name = f"{folder.name}-levels"
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert found["verdict"]["levels"] == [f"C{n}" for n in range(1, 8)]
    assert found["disclaimer"] == DISCLAIMER
    assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    image = nibabel.load(tmp_path / f"{name}.nii.gz")
    labels = np.asarray(image.dataobj)
    heights = [
        (image.affine @ np.append(np.argwhere(labels == level).mean(axis=0), 1))[2] for level in range(1, 8)
    ]
    assert (np.diff(heights) < 0).all(), "C1 lies above C7 in the patient"


def test_what_is_no_neck_ends_with_three(tmp_path):
    write_series(tmp_path / "ball", slices_of(phantom((40, 64, 64))))
    command = [sys.executable, SCRIPT, "--input", tmp_path / "ball", "--out", tmp_path / "out"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "verdict: not a neck" in done.stdout and "C1  not in view" in done.stdout
    assert (tmp_path / "out" / "ball-levels.png").is_file()


def test_predict_names_the_levels_where_no_run_is_trained(neck, tmp_path):
    folder, _ = neck
    command = [sys.executable, SCRIPT.with_name("predict.py"), "--input", folder, "--out", tmp_path / "out"]
    done = subprocess.run(
        [str(part) for part in command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no trained run in data/runs/t4: the levels alone, without probabilities" in done.stdout
    assert "verdict: sure" in done.stdout and DISCLAIMER in done.stdout
    assert (tmp_path / "out" / f"{folder.name}-levels.nii.gz").is_file()
    named = subprocess.run(
        [*map(str, command), "--run", "elsewhere"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert named.returncode == 2 and "elsewhere" in named.stderr  # a run that was named has to be there


def test_no_such_scan(tmp_path):
    with pytest.raises(
        InputError, match="no such file or folder; expected a folder of DICOM files or a NIfTI file"
    ):
        locate_scan(tmp_path / "none", tmp_path)
