"""The benchmark of pseudo-masks runs, goes on where it stopped, and compares scan by scan."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from bench_pseudo_masks import rows_of  # noqa: E402


def test_arms_are_compared_scan_by_scan():
    """What scans differ by among each other widens no interval, and a scan without a level counts for levels alone."""
    random = np.random.default_rng(0)
    base = np.column_stack([random.uniform(0.2, 0.9, 40), random.integers(4, 8, 40), np.full(40, 7)])
    base[3] = np.nan, 0, 0
    better = base + [0.05, 0, 0]
    rows = rows_of({"masks, then masks": [base, base], "other": [better, base + [0.03, 0, 0]]})
    assert rows.loc["other", "difference in Dice"] == "+0.040 (+0.040 to +0.040)"
    assert rows.loc["other", "difference in levels right"] == "+0.000 (+0.000 to +0.000)"
    assert rows.loc["masks, then masks", "difference in Dice"] == ""
    assert rows.loc["masks, then masks", "Dice"] == f"{np.nanmean(base[:, 0]):.3f}"


@pytest.mark.slow
def test_a_small_run(tmp_path):
    out = tmp_path / "pseudo-masks.md"
    flags = ["--masks", 2, "--unmasked", 3, "--judged", 2, "--updates", 2, "--seeds", 1, "--workers", 2]
    command = [sys.executable, ROOT / "benchmarks" / "bench_pseudo_masks.py", *flags]
    command += ["--work", tmp_path / "work", "--out", out]
    texts = []
    for _ in range(2):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        texts.append(out.read_text())
    assert texts[0] == texts[1] and "2 masks, 3 scans without" in texts[0]
    assert len([line for line in texts[0].splitlines() if line.startswith("| masks")]) == 3
