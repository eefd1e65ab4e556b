"""The recipe's experiment: a small run trains, reads and judges every kind of arm, and goes on where it stopped."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from bench_recipe import holm  # noqa: E402
from recipe_arms import ARMS, BASE, MOVED, ONE, OTHER, none_of  # noqa: E402

PEERS = [name for name, arm in ARMS.items() if arm.peer is not None]
"""Trained in ways of their own."""


def test_at_least_one_of_independent_events():
    logits = np.random.default_rng(0).normal(0, 3, (50, 7))
    p = 1 / (1 + np.exp(-logits))
    any_of = 1 / (1 + np.exp(-none_of(logits)))
    np.testing.assert_allclose(any_of, 1 - np.prod(1 - p, axis=1), rtol=1e-9)


def test_holms_method_takes_the_smallest_first():
    rows = [
        {"arm": name, "p": p, "difference": "+0.1"}
        for name, p in (("a", 0.01), ("b", 0.04), ("c", 0.03), (BASE, np.nan))
    ]
    holm(rows)
    assert [row["Holm's p"] for row in rows] == ["0.030", "0.060", "0.060", ""]
    assert [row["says"] for row in rows] == ["worse", "no difference", "no difference", ""]


def test_an_arm_reads_and_compares_to_arms_that_there_are():
    for name, arm in ARMS.items():
        assert {arm.of or name, arm.beside, arm.with_arm or name} <= set(ARMS), name
        assert not ARMS[arm.of or name].of, f"{name}: shares the training of an arm that has none of its own"


@pytest.mark.slow
def test_a_small_run(tmp_path):
    out = tmp_path / "recipe.md"
    arms = (BASE, "patient as the largest", ONE, MOVED, OTHER, "two encoders", *PEERS)
    command = [
        sys.executable, ROOT / "benchmarks" / "bench_recipe.py", "--out", out, "--work", tmp_path / "work",
        "--studies", 12, "--seeds", 1, "--samples", 64, "--study-samples", 8, "--workers", 2, "--arms", *arms,
    ]  # fmt: skip
    tables = []
    for _ in range(2):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        text = out.read_text()
        rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
        tables.append([line.rpartition("|")[0].split("|")[1:5] for line in rows])
    assert [row[0].strip() for row in tables[0]] == list(arms)
    assert tables[0] == tables[1]  # nothing was trained again, nothing is left to chance
    assert "12 studies" in text and "What a replica can't tell" in text
    scores = {row[0].strip(): float(row[1]) for row in tables[0]}
    assert all(0.1 < score < 1.5 for score in scores.values()) and len(set(scores.values())) > 3
