import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from cspine.inference.device_process import as_words
from cspine.inference.studies import Prediction
from cspine.kaggle import kernel
from cspine.kaggle.bundle import assemble_code, assemble_models
from cspine.kaggle.marker import MODELS
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
    run.take(as_words(Prediction(study, fold_logits, column, "", {"decode": 1.0, "locate": 0.5})))


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


@dataclass
class Kaggle:
    """Kaggle's folders: the attached inputs and the working folder."""

    inputs: Path
    working: Path
    data: Path
    code: Path
    models: Path

    def weights(self, fold: int, kind: str = "classifier") -> Path:
        return self.models / "models" / kind / f"fold{fold}" / "model.safetensors"

    def start(self, scored: bool = False, **environment: str) -> subprocess.Popen:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", RERUN)}
        kept |= {"HF_HUB_OFFLINE": "1", "HOME": "/proc/none"} | ({RERUN: "1"} if scored else {}) | environment
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.inputs)],
            cwd=self.working, env=kept, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, scored: bool = False, **environment: str) -> tuple[int, str]:
        process = self.start(scored, **environment)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def rows(self) -> pd.DataFrame:
        frame = pd.read_csv(self.working / "submission.csv")
        ids = kernel.sample_row_ids(self.data / "sample_submission.csv")
        assert list(frame["row_id"]) == ids
        assert frame["fractured"].between(0, 1).all()
        return frame

    def reasons(self) -> dict[str, str]:
        return dict(pd.read_csv(self.working / "fallbacks.csv", dtype=str).itertuples(index=False))


@pytest.fixture
def kaggle(competition, own_run, tmp_path) -> Kaggle:
    inputs, working = tmp_path / "input", tmp_path / "working"
    working.mkdir()
    data, mine = inputs / "competitions" / SLUG, inputs / "datasets" / "me"
    shutil.copytree(competition, data, symlinks=False)
    assemble_code(mine / "cspine-code")
    assemble_models(own_run, mine / "cspine-models")
    return Kaggle(inputs, working, data, mine / "cspine-code", mine / "cspine-models")


def nan_in(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:] = np.full(1024, math.nan, np.float32).tobytes()
    path.write_bytes(content)


def without_sums(kaggle: Kaggle) -> None:
    """A list that tells nothing: the probe alone is left to find what is wrong."""
    (kaggle.models / MODELS).write_text('{"files": {}}')


@dataclass
class Case:
    """Something that goes wrong, and what is left."""

    harm: Callable[[Kaggle], object]
    predicted: int
    says: str
    """In the log."""


def _sample(kaggle: Kaggle, change: Callable[[str], str]) -> None:
    path = kaggle.data / "sample_submission.csv"
    path.write_bytes(change(path.read_text()).encode())


CASES = {
    "NaN in a fold's weights": Case(lambda k: nan_in(k.weights(0)), 2, "left out classifier/fold0"),
    "the same, and no checksums": Case(
        lambda k: (nan_in(k.weights(0)), without_sums(k)), 2, "its answer to a probe is not finite"
    ),
    "a fold cut": Case(lambda k: os.truncate(k.weights(1), 1000), 2, "left out classifier/fold1"),
    "a fold deleted": Case(lambda k: k.weights(1).unlink(), 2, "the file is missing"),
    "a locator's fold damaged": Case(lambda k: nan_in(k.weights(0, "locator")), 2, "left out locator/fold0"),
    "every fold damaged": Case(lambda k: [nan_in(k.weights(f)) for f in (0, 1)], 0, "no fold can be used"),
    "no calibration": Case(
        lambda k: (k.models / "models" / "calibration.json").unlink(), 2, "without the calib"
    ),
    "no code": Case(lambda k: shutil.rmtree(k.code / "src"), 0, "ended with 1"),
    "no code attached": Case(lambda k: shutil.rmtree(k.code), 0, "attach the dataset with the code"),
    "no models attached": Case(lambda k: shutil.rmtree(k.models), 0, "attach the dataset with the models"),
    "a wheel cut": Case(
        lambda k: (
            (k.code / "wheels").mkdir(),
            (k.code / "wheels" / "x-1-py3-none-any.whl").write_text("x"),
        ),
        2,
        "wheel x-1-py3-none-any.whl can't be installed",
    ),
    "a list that is no JSON": Case(lambda k: (k.models / MODELS).write_text("{"), 2, "PROBLEM"),
    "a row that is no UID": Case(
        lambda k: _sample(k, lambda text: text + "../../etc/x_C1,0.5\nstrange,0.5\n"),
        2,
        "constants for study ../..",
    ),
    "a gigabyte of memory": Case(
        lambda k: (k.code / "src" / "sitecustomize.py").write_text(
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2 << 29, 2 << 29))\n"
        ),
        0,
        "PROBLEM",
    ),
}
"""What may go wrong on Kaggle."""


@pytest.mark.parametrize("name", CASES)
def test_a_valid_submission_is_left_and_the_exit_code_is_true(kaggle, name):
    case = CASES[name]
    case.harm(kaggle)
    code, said = kaggle.run()
    assert (code, case.says in said) == (1, True), said
    rows = kaggle.rows()
    predicted = len(set(rows["fractured"].round(6)) - set(constants_of(kaggle)))
    assert (predicted > 0) == (case.predicted > 0), said
    if (kaggle.working / "inference.json").is_file():
        assert report(kaggle.working)["predicted"] == case.predicted


def constants_of(kaggle: Kaggle) -> set[float]:
    """All values that a study on constants may have."""
    published = best_constants(PUBLISHED["train"].rates())
    own = [0.1 + 0.05 * level for level in range(8)]
    means = [float(np.mean(one)) for one in (published, own)]
    return {round(float(value), digits) for value in (*published, *own, *means) for digits in (4, 6)}


@pytest.mark.parametrize(
    "name", ["NaN in a fold's weights", "every fold damaged", "no code", "no models attached"]
)
def test_the_scoring_run_ends_with_0_whatever_happens(kaggle, name):
    CASES[name].harm(kaggle)
    code, said = kaggle.run(scored=True)
    assert code == 0 and CASES[name].says.replace("ended with 1", "ended with") in said
    kaggle.rows()


def test_all_is_well_with_odd_tables_and_warnings_as_errors(kaggle):
    _sample(kaggle, lambda text: "\ufeff" + "\r\n".join(text.splitlines()) + "\r\n")
    code, said = kaggle.run(PYTHONWARNINGS="error")
    assert code == 0, said
    kaggle.rows()
    assert report(kaggle.working)["rehearsal"]["studies"] >= 2
    assert kaggle.reasons() == {} and "hours_for_1093_studies" in said


def test_without_nibabel_it_predicts(kaggle):
    (kaggle.code / "src" / "nibabel.py").write_text("raise ImportError('not in this image')")
    code, said = kaggle.run()
    assert code == 0, said


def test_visible_rows_without_folders_are_rehearsed_on_training_studies(kaggle, studies):
    shutil.rmtree(kaggle.data / "test_images")
    code, said = kaggle.run()
    rehearsal = report(kaggle.working)["rehearsal"]
    assert rehearsal["studies"] == rehearsal["of_them_from_train_images"] >= 2, said
    assert code == (1 if rehearsal["on_constants"] > 0.1 * rehearsal["studies"] else 0)
    assert set(kaggle.reasons()) >= set(studies)
    assert "STUDIES ARE ON CONSTANTS" in said


def test_a_process_that_dies_with_a_study_is_started_again(kaggle, studies):
    """kill -9 of everything that predicts, once; then the same at every study."""
    (kaggle.code / "src" / "sitecustomize.py").write_text(DIES)
    once = kaggle.working.parent / "once"
    code, said = kaggle.run(DIES_UNLESS=str(once))
    assert code == 1 and "killed by signal SIGKILL" in said, said
    assert report(kaggle.working)["predicted"] == 2
    code, said = kaggle.run(DIES_UNLESS="/proc/none/file", scored=True)
    assert code == 0, said
    kaggle.rows()
    assert set(kaggle.reasons()) == set(studies)


DIES = """
import os, sys
import threading, time

def watch():
    while True:
        ensemble = sys.modules.get("cspine.inference.ensemble")
        if ensemble is not None and hasattr(ensemble, "Ensemble"):
            def die(self, hu, locate=ensemble.Ensemble.locate):
                if os.path.exists(os.environ["DIES_UNLESS"]):
                    return locate(self, hu)
                try:
                    open(os.environ["DIES_UNLESS"], "w").close()
                except OSError:
                    pass
                os.kill(os.getpid(), 9)
            ensemble.Ensemble.locate = die
            return
        time.sleep(0.01)

if "DIES_UNLESS" in os.environ:
    threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.parametrize("scored", [False, True])
def test_sigterm_leaves_what_there_is(kaggle, scored):
    process = kaggle.start(scored)
    for line in process.stdout:
        if "where time runs short" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (0 if scored else 1), said
    kaggle.rows()
    assert (kaggle.working / "fallbacks.csv").is_file()


@pytest.mark.parametrize("scored", [False, True])
def test_a_closed_stdout_costs_nothing(kaggle, scored):
    process = kaggle.start(scored)
    process.stdout.close()
    assert process.wait(300) == 0
    kaggle.rows()
    assert report(kaggle.working)["predicted"] == 2


def children(process: int) -> list[int]:
    """Process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_the_process_that_holds_the_results_may_be_killed_too(kaggle, studies):
    process = kaggle.start()
    kept = kaggle.working / ".answers.jsonl"
    while not (kept.is_file() and kept.read_text().count("\n")):
        time.sleep(0.02)
        assert process.poll() is None
    os.kill(children(process.pid)[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "killed by signal 9, start 1 of 3" in said
    kaggle.rows()
    assert report(kaggle.working)["predicted"] == 2
    assert not kept.exists()
    logits = pd.read_csv(kaggle.working / "fold_logits.csv", dtype={"StudyInstanceUID": str})
    assert logits["StudyInstanceUID"].value_counts().to_dict() == dict.fromkeys(studies, 2)


def test_a_study_that_takes_its_process_down_costs_only_itself(kaggle, studies):
    (kaggle.code / "src" / "sitecustomize.py").write_text(DIES_WITH)
    code, said = kaggle.run(DIES_WITH=studies[0])
    assert code == 1, said
    assert kaggle.reasons() == {studies[0]: "its process died 2 times"}
    assert report(kaggle.working)["predicted"] == 1


DIES_WITH = """
import json, os, sys, threading, time
from pathlib import Path

def watch():
    while True:
        studies = sys.modules.get("cspine.inference.studies")
        if studies is not None and hasattr(studies, "_answer"):
            def die(folder, models, answer=studies._answer):
                if json.loads((Path(folder) / "volume.json").read_text())["study"] == os.environ["DIES_WITH"]:
                    os.kill(os.getpid(), 9)
                return answer(folder, models)
            studies._answer = die
            return
        time.sleep(0.01)

if "DIES_WITH" in os.environ:
    threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.parametrize(
    "place",
    ["me-bundle", "datasets/me/any", "notebooks/me/a-notebook", "models/me/cspine/pytorch/default/3"],
)
def test_the_models_are_found_by_their_marker_wherever_they_are_mounted(kaggle, place):
    (kaggle.code / "src" / "cspine" / "kaggle" / "kernel.py").write_text(
        "import sys\nfrom pathlib import Path\nPath('found.txt').write_text(sys.argv[2])\n"
    )
    target = kaggle.inputs / place
    target.parent.mkdir(parents=True, exist_ok=True)
    kaggle.models.rename(target)
    code, said = kaggle.run()
    assert code == 0, said
    assert (kaggle.working / "found.txt").read_text() == str(target / "models")


def test_without_the_competitions_data_it_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "holds sample_submission.csv: attach the competition's data" in done.stdout
