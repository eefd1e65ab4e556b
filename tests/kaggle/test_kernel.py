import importlib.metadata
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.runs import CALIBRATED

from cspine.competition.labels import PREDICTION_TYPES, PUBLISHED
from cspine.competition.metric import best_constants
from cspine.competition.rows import long, wide
from cspine.competition.submission import check
from cspine.competition.tables import read_sample, read_submission
from cspine.evaluation.averaging import AveragingCurve, FoldNoise
from cspine.evaluation.calibration import Calibration
from cspine.inference.device_answers import as_words
from cspine.inference.studies import Prediction
from cspine.kaggle import kernel
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
    assert said["problems"] == [] and said["folds"] == [0, 1]
    assert said["device"]["versions"]["torch"] == importlib.metadata.version("torch")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fallbacks.csv",
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
    column = SimpleNamespace(notes=(), verdict=verdict)
    answer = SimpleNamespace(fold_logits=fold_logits, column=column)
    run.take(as_words(Prediction(study, answer, "", {"decode": 1.0, "locate": 0.5})))


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
    np.testing.assert_allclose(
        run.answers.values(run.calibration)["1.2.3"], run.calibration.apply(logits[3].mean(axis=0))
    )
    for number, study in enumerate(studies[40:], start=40):
        taken(run, study, logits[number])
    noise = FoldNoise.measure(logits)
    expected = run.calibration.for_mean(noise)
    assert expected.level_slope > 1.1
    np.testing.assert_allclose(
        run.answers.values(run.calibration)["1.2.3"], expected.apply(logits[3].mean(axis=0))
    )
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
    whole, part = run.answers.values(run.calibration)["1.2.1"], run.answers.values(run.calibration)["1.2.2"]
    np.testing.assert_array_equal(part[[0, 1, 2, 3, 4, 7]], whole[[0, 1, 2, 3, 4, 7]])
    np.testing.assert_allclose(part[5:7], [0.16, 0.17])
    assert run.report.verdicts == {"sure": 1, "doubtful": 1}


def test_rows_in_another_order_keep_it(troubled, competition, studies, run, tmp_path):
    rows = pd.read_csv(troubled / "sample_submission.csv").sample(frac=1, random_state=1)
    rows.to_csv(troubled / "sample_submission.csv", index=False)
    (troubled / "test_images" / studies[1]).symlink_to(competition / "test_images" / studies[1])
    assert kernel.main(troubled, run, tmp_path) == 1  # one of two rehearsed studies would be on constants
    values = checked(troubled, tmp_path)
    said = report(tmp_path)
    assert said["predicted"] == 1 and set(said["fell_back"]) == {studies[0]}
    constants = [0.1 + 0.05 * level for level in range(8)]
    assert values[studies[0]] == pytest.approx(constants)  # those of the run's calibration
    assert values[studies[1]] != pytest.approx(constants)


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
    assert kernel.main(competition, run, tmp_path) == 1
    checked(competition, tmp_path)
    said = report(tmp_path)
    assert said["predicted"] == 0
    assert set(said["fell_back"].values()) == {"the time was up before its turn"}


def test_the_scripts_constants_are_those_of_the_training_set():
    spec = importlib.util.spec_from_file_location("inference_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    expected = dict(zip(PREDICTION_TYPES, best_constants(PUBLISHED["train"].rates()), strict=True))
    assert pytest.approx(expected, abs=5e-5) == script.CONSTANTS
