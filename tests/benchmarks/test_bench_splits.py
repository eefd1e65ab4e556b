"""The benchmark of the splits runs, and its figures are those of what it measures."""

import subprocess
import sys
from pathlib import Path

import bench_splits
import numpy as np
import pytest

from cspine.competition.strata import standardised_differences

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_writes_its_tables(tmp_path):
    out = tmp_path / "splits.md"
    flags = ["--seeds", "1", "--studies", "200", "--out", out]
    command = [sys.executable, ROOT / "benchmarks" / "bench_splits.py", *map(str, flags)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.strip() == done.stdout.strip() and "python benchmarks/bench_splits.py --seeds 1" in text
    for part in ("| random |", "`make split`", "## A local leaderboard", "Table 2", "public against private"):
        assert part in text


def test_each_way_is_judged_on_the_same_studies():
    train, table = bench_splits.cohort_of(0, 300)
    worst = {}
    for name, make in bench_splits.ways(train, table, 0).items():
        folds = make().loc[table.index]
        assert sorted(folds.unique()) == [0, 1, 2, 3, 4]
        worst[name] = standardised_differences(table, folds).abs().max(axis=None)
    assert worst["exchange search, all columns (`make split`)"] < 0.5 * worst["random"]


def test_altered_copies_are_altered():
    volume = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 10)).astype(np.int16)
    copies = bench_splits.altered(volume, np.random.default_rng(1))
    assert len(copies) >= 5
    assert not any(copy.shape == volume.shape and (copy == volume).all() for copy in copies.values())
