"""The benchmark of the scans room runs, and writes the table that it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*flags, **environment):
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bench_scans.py", *map(str, flags)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_a_quick_run_writes_the_table_and_leaves_nothing_behind(tmp_path):
    out, work = tmp_path / "scans.md", tmp_path / "work"
    done = run("--quick", "--out", out, "--work", work)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.strip() == done.stdout.strip()
    assert "python benchmarks/bench_scans.py --quick --out" in text and "pydicom 3" in text
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in row] for row in table]
    assert head[:4] == ["series", "what", "processes", "slices/s"] and head[-1] == "ours / this"
    assert "711,601" in head[-2]
    assert [row[:2] for row in rows] == [
        [series, what]
        for series in ("explicit LE", "JPEG Lossless SV1")
        for what in ("(a) ours", "(b) published loop", "(c) limit", "(d) ours, headers by pydicom")
    ]
    for block in (rows[:4], rows[4:]):
        ours = float(block[0][3])
        for row in block:
            rate, low, high = float(row[3]), *map(float, row[4].split("-"))
            assert 0 < low <= rate <= high
            assert float(row[6]) == pytest.approx(711_601 / rate / 3600, rel=0.1, abs=0.01)
            if row is not block[0]:
                ratio, goal = re.fullmatch(r"([\d.]+)(?: \(goal ([\d.]+)\))?", row[7]).groups()
                assert float(ratio) == pytest.approx(ours / rate, rel=0.05, abs=0.02)
                assert goal == {"(b)": "5", "(c)": "0.85", "(d)": None}[row[1][:3]]
        assert block[1][2] == "1" and block[0][2] == block[2][2]
    assert [path.name for path in work.iterdir()] == []


def test_a_benchmark_that_makes_no_sense_is_refused():
    done = run("--rounds", 0)
    assert done.returncode == 2 and "rounds" in done.stderr
