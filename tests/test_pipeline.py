"""The pipeline through its make targets: killed again and again, it ends in the same submission."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ["describe", "prepare", "split", "locate", "columns", "train", "cv", "submission", "score", "report"]
"""As the README names them, in one line."""
SIZE = "--train 12 --public 2 --private 2 --size 0.125 --mask-share 1.0 --box-share 1.0 --seed 3"


def pipeline(folder: Path) -> list[list[str]]:
    """The commands from nothing to a checked submission.csv, everything in `folder`."""
    raw = folder / "raw"
    variables = {
        "RAW": raw / "competition",
        "CACHE": folder / "cache",
        "RUN": folder / "run",
        "OUT": folder / "out",
        "PRESET": "smoke",
        "FOLDS": 2,
    }
    return [
        ["make", "replica", f"RAW={raw}", f"EXTRA={SIZE}"],
        ["make", *STAGES, *(f"{name}={value}" for name, value in variables.items())],
    ]


def run_with_kills(commands: list[list[str]], log: Path, pauses_s: list[float], root: Path = ROOT) -> int:
    """Run commands one after the other from the first; kill everything after each pause and start again.

    What torchrun started outlives the kill by half a second; the next start waits for it. Returns how many
    kills hit a command that was running.
    """
    kills = 0
    with log.open("a") as told:
        for pause_s in [*pauses_s, None]:
            deadline = None if pause_s is None else time.monotonic() + pause_s
            for command in commands:
                child = subprocess.Popen(
                    command, cwd=root, stdout=told, stderr=subprocess.STDOUT, start_new_session=True
                )
                try:
                    code = child.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                    kills += 1
                    break
                assert code == 0, f"{command} ended with {code}; see {log}"
            else:
                return kills
    raise AssertionError("not reached: the last start is not killed")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    assert run_with_kills(pipeline(folder), folder / "log.txt", []) == 0
    (folder / "seconds.txt").write_text(str(time.monotonic() - started))
    return folder


@pytest.mark.pipeline
def test_killed_at_random_moments_it_ends_in_the_same_submission(tmp_path, undisturbed):
    lasts_s = float((undisturbed / "seconds.txt").read_text())
    chance = random.Random(5)
    pauses_s = [chance.uniform(0.05, 0.4) * lasts_s for _ in range(5)]
    assert run_with_kills(pipeline(tmp_path), tmp_path / "log.txt", pauses_s) >= 3
    for name in ("out/submission.csv", "run/oof.csv", "run/calibration.json", "cache/folds.csv"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.mark.pipeline
def test_a_second_run_does_nothing_again(undisturbed):
    kept = [
        path
        for pattern in (
            "run/*/fold*/model.safetensors",
            "cache/*/*/meta.json",
            "out/submission.csv",
            "raw/**/*.dcm",
        )
        for path in undisturbed.glob(pattern)
    ]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) > 100
    run_with_kills(pipeline(undisturbed), undisturbed / "log.txt", [])
    assert {path: path.stat().st_mtime_ns for path in kept} == before
