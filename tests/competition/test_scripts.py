"""The scripts as a person runs them: real processes on a folder of six studies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
U = "1.2.826.0.1.3680043."


def call(script: str, *flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SRC / script), *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def fails(script: str, flags: list, words: list[str]) -> None:
    done = call(script, *flags)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_describe_prints_and_writes_its_counts(raw, tmp_path):
    done = call("describe.py", "--raw", raw, "--cache", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "cache" / "describe.json").read_text())
    assert written["images"]["slices"] == 21
    assert "21 (1 / 4 / 6 a study" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("describe ")


def test_describe_without_data_says_how_to_get_it(tmp_path):
    fails(
        "describe.py",
        ["--raw", tmp_path / "no"],
        [str(tmp_path / "no"), "make replica", "kaggle competitions"],
    )


def test_split_writes_once_and_refuses_another_split(raw, tmp_path):
    cache = tmp_path / "cache"
    flags = ["--raw", raw, "--cache", cache, "--folds", 2, "--seed", 1]
    assert call("split.py", *flags).returncode == 0
    first = (cache / "folds.csv").read_bytes()
    again = call("split.py", *flags)
    assert again.returncode == 0
    assert "wrote nothing" in again.stdout
    fails("split.py", [*flags[:-3], 3], [str(cache / "folds.csv"), "another split", "delete"])
    assert (cache / "folds.csv").read_bytes() == first
    assert [path.name for path in sorted(cache.iterdir())] == [
        ".lock",
        "folds.csv",
        "split.json",
        "traits.csv",
    ]


def test_split_refuses_flags_and_labels_that_make_no_sense(raw, tmp_path):
    flags = ["--raw", raw, "--cache", tmp_path / "cache"]
    fails("split.py", [*flags, "--folds", 1], ["folds", "1"])
    fails("split.py", [*flags, "--fold", 5], ["fold"])
    (raw / "train.csv").write_text((raw / "train.csv").read_text().replace("2,1,0,1", "2,0,0,1", 1))
    fails("split.py", flags, [str(raw / "train.csv"), U + "2", "the OR of C1..C7"])
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def run(tmp_path) -> Path:
    """A run that predicted four of the six training studies out of fold, each level at 0.5."""
    types = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "patient_overall"]
    rows = [f"{U}{number}_{kind},0.5" for number in (1, 2, 3, 6) for kind in types]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "oof.csv").write_text("\n".join(["row_id,fractured", *rows]) + "\n")
    return folder


def test_score_prints_and_writes_the_three_sets(raw, submission, solution, run):
    flags = ["--raw", raw, "--submission", submission, "--solution", solution, "--runs", run]
    fails(
        "score.py", flags, [str(run / "oof.csv"), "4 of 6 training studies", U + "4, " + U + "5", "--partial"]
    )
    assert not (run / "scores.json").exists()
    done = call("score.py", *flags, "--partial")
    assert done.returncode == 0, done.stderr
    scores = json.loads((run / "scores.json").read_text())["scores"]
    assert list(scores["global"]) == ["out of fold, 4 of 6 studies", "public", "private"]
    for name, studies in (("out of fold, 4 of 6 studies", 4), ("public", 2), ("private", 1)):
        assert scores["global"][name]["studies"] == studies
        assert round(scores["global"][name]["model"], 4) == 0.6931
    assert "out of fold, 4 of 6 studies" in done.stdout and "not that of the training's seeds" in done.stdout
    assert "0.6931" in done.stdout and "oof_logits.csv is missing" in done.stdout


def test_score_beats_the_constants_with_the_truth(raw, submission, solution, tmp_path):
    rows = [line.split(",")[:2] for line in solution.read_text().splitlines()]
    submission.write_text("\n".join(",".join(row) for row in reversed(rows[1:])) + "\n")
    submission.write_text("row_id,fractured\n" + submission.read_text())
    out = tmp_path / "deep" / "scores.json"
    flags = ["--raw", raw, "--submission", submission, "--solution", solution, "--json", out]
    done = call("score.py", *flags, "--require-lower-bound-percent", 99)
    assert done.returncode == 0, done.stderr
    for row in json.loads(out.read_text())["scores"]["global"].values():
        assert row["model"] < 1e-12
        assert row["gain_percent"] > 99.9
    assert "public and private together, 3 studies" in done.stdout
    fails("score.py", [*flags, "--require-lower-bound-percent", 100], ["expected a bound above 100 %"])


def test_score_takes_mle_benchs_solution_as_one_set(raw, submission, solution, tmp_path):
    rows = [",".join(line.split(",")[:2]) for line in solution.read_text().splitlines()]
    solution.write_text("\n".join(rows) + "\n")
    done = call("score.py", "--raw", raw, "--submission", submission, "--solution", solution)
    assert done.returncode == 0, done.stderr
    scores = json.loads((submission.parent / "scores.json").read_text())["scores"]
    assert {name: row["studies"] for name, row in scores["row"].items()} == {"test": 3}


def test_score_says_what_is_wrong_with_its_files(raw, submission, solution, run):
    both = ["--raw", raw, "--submission", submission, "--solution", solution]
    fails("score.py", both[:4], ["--submission with --solution"])
    fails("score.py", both[:2], ["--runs"])
    text = submission.read_text()
    submission.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    fails("score.py", both, [str(submission), U + "9_patient_overall missing", "each of the 24"])
    submission.write_text(text.replace("0.5", "1.5", 1))
    fails("score.py", both, [str(submission), U + "7_C1", "'1.5'", "[0, 1]"])
    (run / "oof.csv").write_text((run / "oof.csv").read_text().replace(U + "6_", U + "66_"))
    fails("score.py", ["--raw", raw, "--runs", run], [str(run / "oof.csv"), U + "66", "studies of train.csv"])
    (run / "oof.csv").unlink()
    fails("score.py", ["--raw", raw, "--runs", run], [str(run / "oof.csv"), "make train"])
