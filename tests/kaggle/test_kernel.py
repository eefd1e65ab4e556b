import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.runs import CALIBRATED

from cspine.competition.labels import PREDICTION_TYPES, PUBLISHED, SLUG
from cspine.competition.metric import best_constants
from cspine.competition.rows import long, wide
from cspine.competition.submission import check
from cspine.competition.tables import read_sample, read_submission
from cspine.evaluation.averaging import AveragingCurve, FoldNoise
from cspine.evaluation.calibration import Calibration
from cspine.inference.studies import Prediction
from cspine.kaggle import kernel
from cspine.kaggle.bundle import MARKER
from cspine.preprocessing.verdict import WHOLE, Kind, Verdict

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "kernels" / "inference" / "inference.py"
RERUN = "KAGGLE_IS_COMPETITION_RERUN"


@pytest.fixture(autouse=True)
def not_the_scoring_run(monkeypatch):
    monkeypatch.delenv(RERUN, raising=False)


def checked(competition: Path, working: Path) -> dict[str, np.ndarray]:
    """Check the submission against the sample, row order included; study -> eight values."""
    sample, path = read_sample(competition), working / "submission.csv"
    frame = read_submission(path)
    check(frame, sample, path)
    assert list(pd.read_csv(path)["row_id"]) == list(sample["row_id"])
    return dict(zip(*wide(frame), strict=True))


def report(working: Path) -> dict:
    return json.loads((working / "inference.json").read_text())


def test_all_studies_are_predicted_in_the_samples_order(competition, studies, run, tmp_path):
    assert kernel.main(competition, run, tmp_path) == 0
    values = checked(competition, tmp_path)
    assert set(values) == set(studies)
    assert not np.allclose(values[studies[0]], values[studies[1]], atol=1e-9)
    said = report(tmp_path)
    assert (said["studies"], said["predicted"], said["fell_back"], said["problem"]) == (2, 2, {}, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fold_logits.csv",
        "inference.json",
        "submission.csv",
    ]
    assert set(said["seconds_by_part"]) == {"decode", "locate", "cut", "classify"}
    assert said["slopes"] == {}  # two studies tell nothing about how much the folds differ
    logits = pd.read_csv(tmp_path / "fold_logits.csv", dtype={"StudyInstanceUID": str})
    assert logits["fold"].tolist() == [0, 1, 0, 1]
    for study, folds in logits.groupby("StudyInstanceUID"):
        mean = folds[list(PREDICTION_TYPES)].to_numpy().mean(axis=0)
        np.testing.assert_allclose(values[study], np.clip(CALIBRATED.apply(mean), 1e-3, 1 - 1e-3), atol=1e-6)


def taken(run: kernel.KernelRun, study: str, fold_logits: np.ndarray, verdict: Verdict = WHOLE) -> None:
    seconds = {"decode": 1.0, "locate": 0.5}
    run.take(Prediction(study, fold_logits, SimpleNamespace(notes=(), verdict=verdict), "", seconds))


def test_the_mean_of_the_folds_gets_the_slopes_that_its_own_studies_ask_for(tmp_path):
    """Labels are not needed: the folds' differences on the test studies are."""
    studies = [f"1.2.{number}" for number in range(60)]
    folder = tmp_path / "competition"
    folder.mkdir()
    long(studies, np.full((60, 8), 0.5)).to_csv(folder / "sample_submission.csv", index=False)
    run = kernel.KernelRun(folder, tmp_path)
    curve = AveragingCurve((0.0, 0.5), ((1.0, 1.0), (1.5, 1.8)), ((0.0,) * 8, (0.2,) * 8), (4.0, 4.0), 0.1)
    run.calibration = replace(Calibration.raw(np.full(8, 0.5)), averaging=curve)
    random = np.random.default_rng(0)
    logits = random.normal(size=(60, 1, 8)) + 1.2 * random.normal(size=(60, 2, 8))
    for number, study in enumerate(studies[:40]):
        taken(run, study, logits[number])
    np.testing.assert_allclose(run.values()["1.2.3"], run.calibration.apply(logits[3].mean(axis=0)))
    for number, study in enumerate(studies[40:], start=40):
        taken(run, study, logits[number])
    noise = FoldNoise.measure(logits)
    expected = run.calibration.for_mean(noise)
    assert expected.level_slope > 1.1
    np.testing.assert_allclose(run.values()["1.2.3"], expected.apply(logits[3].mean(axis=0)))
    assert run.report.slopes["level"] == expected.level_slope
    assert run.report.slopes["level_removed"] == pytest.approx(noise.level / 2 / 4.0)
    assert run.report.seconds_by_part == {"decode": 60.0, "locate": 30.0}


def test_a_level_that_is_not_in_view_gets_its_constant(tmp_path):
    folder = tmp_path / "competition"
    folder.mkdir()
    long(["1.2.1", "1.2.2"], np.full((2, 8), 0.5)).to_csv(folder / "sample_submission.csv", index=False)
    run = kernel.KernelRun(folder, tmp_path)
    run.calibration = replace(Calibration.raw(np.linspace(0.11, 0.18, 8)), at_least_largest=False)
    logits = np.full((2, 8), 1.5)
    taken(run, "1.2.1", logits)
    cut = Verdict(Kind.DOUBTFUL, ("C3 is uncertain (0.60)",), ("C1", "C2", "C3", "C4", "C5"))
    taken(run, "1.2.2", logits, cut)
    whole, part = run.values()["1.2.1"], run.values()["1.2.2"]
    np.testing.assert_array_equal(part[[0, 1, 2, 3, 4, 7]], whole[[0, 1, 2, 3, 4, 7]])
    np.testing.assert_allclose(part[5:7], [0.16, 0.17])
    assert run.report.verdicts == {"sure": 1, "doubtful": 1}


def test_rows_in_another_order_keep_it(troubled, competition, studies, run, tmp_path):
    rows = pd.read_csv(troubled / "sample_submission.csv").sample(frac=1, random_state=1)
    rows.to_csv(troubled / "sample_submission.csv", index=False)
    (troubled / "test_images" / studies[1]).symlink_to(competition / "test_images" / studies[1])
    assert kernel.main(troubled, run, tmp_path) == 0
    values = checked(troubled, tmp_path)
    said = report(tmp_path)
    assert said["predicted"] == 1 and set(said["fell_back"]) == {studies[0]}
    constants = [0.1 + 0.05 * level for level in range(8)]
    assert values[studies[0]] == pytest.approx(constants)  # those of the run's calibration
    assert values[studies[1]] != pytest.approx(constants)


@pytest.mark.parametrize("scored", [False, True])
def test_damaged_and_missing_studies_fall_back_to_constants(
    troubled, studies, run, tmp_path, scored, monkeypatch, capsys
):
    if scored:
        monkeypatch.setenv(RERUN, "1")
    assert kernel.main(troubled, run, tmp_path) == (0 if scored else 1)
    values = checked(troubled, tmp_path)
    assert values[studies[0]] == pytest.approx(values[studies[1]])
    said = report(tmp_path)
    assert set(said["fell_back"]) == set(studies) and said["predicted"] == 0
    assert studies[0] in said["fell_back"][studies[0]]
    assert said["fell_back"][studies[1]] == f"no folder test_images/{studies[1]}"
    printed = capsys.readouterr()
    for study in studies:
        assert f"constants for study {study}: {said['fell_back'][study]}" in printed.out
    assert "PROBLEM" in printed.err


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("broken", ["calibration.json", "classifier/fold1/model.safetensors", "locator"])
def test_broken_models_leave_constants(competition, studies, own_run, tmp_path, scored, broken, monkeypatch):
    if scored:
        monkeypatch.setenv(RERUN, "1")
    path = own_run / broken
    if path.is_file():
        path.write_bytes(b"{")
    else:
        path.rename(own_run / "elsewhere")
    assert kernel.main(competition, own_run, tmp_path / "working") == (0 if scored else 1)
    values = checked(competition, tmp_path / "working")
    said = report(tmp_path / "working")
    assert str(own_run) in said["problem"] and "InputError" in said["problem"]
    assert said["fell_back"] == dict.fromkeys(studies, said["problem"])
    if broken == "calibration.json":
        assert values[studies[0]] == pytest.approx(best_constants(PUBLISHED["train"].rates()))


def test_a_locator_that_finds_nothing_is_a_problem(competition, studies, blind_run, tmp_path):
    assert kernel.main(competition, blind_run, tmp_path) == 1
    checked(competition, tmp_path)
    said = report(tmp_path)
    assert all("0 cervical vertebrae" in said["fell_back"][study] for study in studies)
    assert "none of 2 studies" in said["problem"]


def test_kaggles_visible_state_works(visible, run, tmp_path):
    assert kernel.main(visible, run, tmp_path) == 0
    rows = pd.read_csv(tmp_path / "submission.csv")
    check(rows, read_sample(visible))
    assert list(rows["row_id"]) == list(pd.read_csv(visible / "sample_submission.csv")["row_id"])
    assert list(rows["fractured"]) == pytest.approx([0.1, 0.1, 0.45])
    assert len(report(tmp_path)["fell_back"]) == 3


def test_the_time_limit_leaves_constants_with_the_reason(competition, run, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "TIME_LIMIT_S", -1.0)
    assert kernel.main(competition, run, tmp_path) == 0
    checked(competition, tmp_path)
    said = report(tmp_path)
    assert said["predicted"] == 1
    assert list(said["fell_back"].values()) == ["the time was up before its turn"]


STOPS_AT_THE_SECOND = """
import sys, time
from pathlib import Path

def stop_at_the_second():
    from cspine.kaggle import kernel
    from cspine.inference.ensemble import Ensemble

    locate, asked = Ensemble.locate, []

    def slow(self, hu):
        asked.append(1)
        if len(asked) == 2:
            print("predicting", flush=True)
            time.sleep(300)
        return locate(self, hu)

    Ensemble.locate, kernel.WRITE_EVERY = slow, 1
    return kernel.main

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    stop_at_the_second()(*map(Path, sys.argv[2:]))
"""


def test_a_killed_kernel_leaves_a_valid_submission(competition, studies, run, tmp_path):
    script, working = tmp_path / "slow.py", tmp_path / "working"
    working.mkdir()
    script.write_text(STOPS_AT_THE_SECOND)
    command = [sys.executable, script, ROOT / "src", competition, run, working]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "predicting\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    values = checked(competition, working)
    constants = pytest.approx([0.1 + 0.05 * level for level in range(8)])
    assert sorted(values[study] == constants for study in studies) == [False, True]
    assert not (working / "inference.json").exists()


STUB = """
import json
from pathlib import Path

def main(*folders):
    Path("found.json").write_text(json.dumps([str(folder) for folder in folders]))
    return 7
"""
LAYOUTS = {
    "slug": ("my-bundle", SLUG),
    "kinds": ("datasets/someone/any-name", f"competitions/{SLUG}"),
    "notebook output": ("notebooks/someone/a-notebook", f"competitions/{SLUG}"),
    "deeper": ("datasets/someone/any-name/versions/3", SLUG),
}


def start(inputs: Path, working: Path) -> subprocess.CompletedProcess:
    working.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(SCRIPT), str(inputs)]
    return subprocess.run(
        command, cwd=working, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def stub_bundle(folder: Path) -> Path:
    package = folder / "src" / "cspine" / "kaggle"
    package.mkdir(parents=True)
    (package / "kernel.py").write_text(STUB)
    for path in (package, package.parent):
        (path / "__init__.py").touch()
    (folder / MARKER).write_text("{}")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_script_finds_its_inputs_by_their_markers(competition, tmp_path, layout):
    inputs = tmp_path / "input"
    where, data = (inputs / path for path in LAYOUTS[layout])
    stub_bundle(where)
    (inputs / "another-dataset").mkdir()
    data.parent.mkdir(parents=True, exist_ok=True)
    data.symlink_to(competition, target_is_directory=True)
    done = start(inputs, tmp_path / "working")
    assert done.returncode == 7, done.stderr
    found = json.loads((tmp_path / "working" / "found.json").read_text())
    assert found == [str(data), str(where / "models"), str(tmp_path / "working")]


@pytest.mark.parametrize(("absent", "marker"), [("bundle", MARKER), ("data", "sample_submission.csv")])
def test_the_script_says_what_is_not_attached(competition, tmp_path, absent, marker):
    inputs = tmp_path / "input"
    inputs.mkdir()
    if absent == "bundle":
        (inputs / SLUG).symlink_to(competition, target_is_directory=True)
    else:
        stub_bundle(inputs / "bundle")
    done = start(inputs, tmp_path / "working")
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"no input under {inputs} holds {marker}: attach")
    assert "Traceback" not in done.stderr


def test_the_kernels_metadata_is_what_kaggle_needs():
    metadata = json.loads((SCRIPT.parent / "kernel-metadata.json").read_text())
    assert metadata["enable_internet"] is False
    assert (SCRIPT.parent / metadata["code_file"]).is_file()
    assert metadata["competition_sources"] == [SLUG]
    assert metadata["kernel_type"] == "script"
