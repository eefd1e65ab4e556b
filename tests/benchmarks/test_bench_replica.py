"""The benchmark of the replica runs, writes the tables that it promises, and measures what it says."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import replica_compare as compare
import replica_difficulty as difficulty
import replica_shortcut as shortcut
from replica_distributions import measure_mask
from replica_headers import as_drawn, as_written
from sklearn.metrics import roc_auc_score

from cspine.evaluation.calibration import Calibration
from cspine.evaluation.cross_validation import OutOfFold
from replica.cohort.studies import make_cohort
from replica.settings import ReplicaSettings
from replica.study import draw_protocol, make_study
from replica.writer.folder import replicate, write_series

ROOT = Path(__file__).parents[2]


def run(*flags):
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bench_replica.py", *map(str, flags)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_quick_run_writes_every_part_and_leaves_nothing_behind(tmp_path):
    out, work = tmp_path / "replica.md", tmp_path / "work"
    done = run("--quick", "--out", out, "--work", work, "--workers", 1)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert done.stdout.strip().endswith(text.strip())  # after what the trainings say
    assert "python benchmarks/bench_replica.py --quick --out" in text and "pydicom 3" in text
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == [
        "Distributions",
        "Bone",
        "Difficulty",
        "Shortcut",
        "Cost",
    ]
    for quantity in ("slices, median", "step 0.625 mm", "phi of C5 and C6", "C7, height along z, mean, mm",
                     "C1-C2, overlap along z, mean, mm", "boxes a study, median", "box width, median, mm"):  # fmt: skip
        assert f"| {quantity} |" in text
    assert "2 of 2 series" in text  # headers on disk say what was drawn
    assert re.search(r"\| global \| 0\.\d+ \| 0\.\d+ \|", text)
    assert len(re.findall(r"^\| \d\.\d\d-\d\.\d\d \| \d+ \| \d\.\d+", text, re.MULTILINE)) == 4
    assert re.search(
        r"headers and statistics of the pixels \| \d+ \| 0\.\d+ \| [\d.]+-[\d.]+ \| 0\.45-0\.60", text
    )
    assert re.search(r"JPEG Lossless \| [\d.]+ s \| [\d.]+ s \| 25 s \| yes", text)
    assert re.search(r"\| 0\.\d\d GB \|  \| 2 GB \| yes", text)
    assert list(work.iterdir()) == []


def test_parts_that_do_not_exist_are_refused():
    done = run("--parts", "beauty")
    assert done.returncode == 2 and "beauty" in done.stderr


def test_a_median_is_near_or_not():
    assert compare.line("slices", 100, 109.9, judged=True).endswith("| +9.9% | yes |")
    assert compare.line("slices", 100, 89, judged=True).endswith("| -11.0% | **no** |")
    assert compare.line("slices", 100, 89).endswith("|  |")
    assert compare.share_line("men", 0.5, 0.45) == "| men | 50.0% | 45.0% | -5.0 points |  |"


@pytest.mark.parametrize("to_the_feet", [False, True])
def test_heights_and_overlaps_of_a_mask_come_from_its_affine(tmp_path, to_the_feet):
    """Levels 10 slices of 1.5 mm high, every 8 slices, one stray voxel; stored from either end."""
    labels = np.zeros((12, 10, 80), np.uint16)  # x, y, z: the last axis runs from feet to head
    for number in range(1, 8):
        top = 75 - 8 * (number - 1)
        labels[number + 2, 2:8, top - 10 : top] = number
    labels[0, 0, 0] = 1
    affine = np.diag([-0.5, 0.5, 1.5, 1.0])
    if to_the_feet:
        labels, affine = labels[:, :, ::-1], np.diag([-0.5, 0.5, -1.5, 1.0])
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "mask.nii")
    spine = measure_mask(tmp_path / "mask.nii")
    assert set(spine.heights_mm.values()) == {15.0}
    assert set(spine.overlaps_mm.values()) == {3.0}
    assert spine.column_mm == (6 * 8 + 10) * 1.5
    assert spine.share == pytest.approx(58 / 80)


def test_headers_on_disk_say_what_was_drawn_until_a_file_is_lost(tmp_path):
    settings = ReplicaSettings(out=tmp_path / "r", train=2, public=0, private=0, size=0.125, workers=1)
    replicate(settings)
    for _, row in make_cohort(settings).iterrows():
        folder = settings.out / "competition" / "train_images" / row["StudyInstanceUID"]
        drawn = as_drawn(draw_protocol(row, settings)[1])
        assert drawn.like(as_written(folder)), drawn.differences(as_written(folder))
        sorted(folder.iterdir())[3].unlink()
        assert "slices" in drawn.differences(as_written(folder))


@pytest.mark.parametrize("oddity", ["twice", "oblique", "uneven", "matrix_519"])
def test_odd_series_are_read_as_they_were_drawn(tmp_path, oddity):
    settings = ReplicaSettings(out=tmp_path, train=1, public=0, private=0, size=0.125)
    row = make_cohort(settings).iloc[0].copy()
    row["oddity"] = oddity
    write_series(tmp_path, make_study(row, settings), row["StudyInstanceUID"], settings, int(row["index"]))
    found = as_written(tmp_path)
    drawn = as_drawn(draw_protocol(row, settings)[1])
    assert drawn.like(found), drawn.differences(found)
    row["oddity"] = ""
    ordinary = as_drawn(draw_protocol(row, settings)[1])
    assert not ordinary.like(found)


def judged(loss_of) -> tuple[OutOfFold, pd.Series]:
    """Forty patients with one broken level each; what is submitted for it depends on its severity."""
    severity = np.linspace(0.0, 1.0, 40)
    uids = [f"1.2.{n}" for n in range(40)]
    truth = np.zeros((40, 8))
    truth[:, [2, 7]] = 1  # C3 and the patient
    values = np.full((40, 8), 0.1)
    values[:, 2] = np.exp(-loss_of(severity))
    index = pd.MultiIndex.from_product([uids, ["C3"]])
    calibration = Calibration(1.0, 1.0, (0.0,) * 8, (0.5,) * 8)
    return OutOfFold(uids, values, truth, [], calibration), pd.Series(severity, index)


def test_loss_must_fall_with_severity():
    lines = difficulty.severity_lines(*judged(lambda severity: 2 - severity))
    assert lines[-1].endswith("severity: yes.")
    assert [line.split(" | ")[1] for line in lines[2:6]] == ["10"] * 4
    assert float(lines[2].split(" | ")[3]) == pytest.approx(2 - 0.115, abs=0.01)
    lines = difficulty.severity_lines(*judged(lambda severity: 1 + np.abs(severity - 0.6)))
    assert lines[-1].endswith("severity: **no**.")


def test_levels_whose_fracture_is_not_in_the_picture_are_counted_apart():
    results, severity = judged(lambda severity: 2 - severity)
    lines = difficulty.severity_lines(results, severity.iloc[4:])
    assert lines[-1].startswith("4 broken levels") and "severity: yes." in lines[-2]


def test_a_shortcut_is_found_where_there_is_one():
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1], 75)
    features = pd.DataFrame(rng.normal(size=(150, 3)))
    nothing = shortcut.judge("noise", features, truth, shortcut.GOAL)
    leak = shortcut.judge("leak", features.assign(leak=truth + rng.normal(0, 0.3, 150)), truth, shortcut.GOAL)
    assert "**no**" in leak and float(leak.split(" | ")[2]) > 0.85
    assert float(nothing.split(" | ")[2]) < 0.65
    low, high = map(float, leak.split(" | ")[3].split("-"))
    assert low < float(leak.split(" | ")[2]) < high


def test_ranks_give_the_auc_that_scikit_learn_gives():
    rng = np.random.default_rng(0)
    truth, values = rng.integers(2, size=(3, 50)), rng.integers(9, size=(3, 50))
    expected = [roc_auc_score(*pair) for pair in zip(truth, values, strict=True)]
    assert shortcut.aucs(truth, values) == pytest.approx(expected)


def test_a_difference_is_named():
    settings = ReplicaSettings(out=Path(), train=1, public=0, private=0, size=0.125)
    drawn = as_drawn(draw_protocol(make_cohort(settings).iloc[0], settings)[1])
    assert drawn.differences(replace(drawn, step_mm=drawn.step_mm + 0.1)).startswith("step_mm")
