"""The benchmark of the intervals runs, and what it simulates is what it says."""

import bench_intervals
import numpy as np
import pytest

from cspine.competition.labels import PUBLISHED
from cspine.competition.metric import global_loss


def test_simulated_studies_have_the_published_rates_and_the_second_model_is_better():
    truth, first, second = bench_intervals.simulate(np.random.default_rng(0), 60_000)
    assert truth[:, :7].mean(axis=0) == pytest.approx(PUBLISHED["train"].rates()[:7], abs=0.005)
    assert (truth[:, 7] == truth[:, :7].max(axis=1)).all()
    assert global_loss(truth, second) < global_loss(truth, first) - 0.003


def test_true_figures_are_those_of_a_large_sample():
    found = bench_intervals.true_figures(100_000)
    truth, first, second = bench_intervals.simulate(np.random.default_rng(5), 100_000)
    assert found["global"] == pytest.approx(global_loss(truth, first), abs=0.004)
    difference = global_loss(truth, second) - global_loss(truth, first)
    assert found["difference of two models, global"] == pytest.approx(difference, abs=0.002)


def test_coverage_counts_intervals_that_hold_the_true_value():
    wanted = bench_intervals.true_figures(100_000)
    found = bench_intervals.coverage(300, 40, wanted)
    assert set(found) == set(wanted) and 0.8 < found["global"] <= 1
    missed = bench_intervals.coverage(300, 5, dict.fromkeys(wanted, -1000.0))
    assert set(missed.values()) == {0.0}


def test_it_writes_its_table_with_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_intervals, "SIZES", (50, 80))
    monkeypatch.setattr("sys.argv", ["bench_intervals.py", "--repeats", "3"])
    out = tmp_path / "intervals.md"
    bench_intervals.main(bench_intervals.Flags(repeats=3, true_studies=2000, out=out))
    text = out.read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert "bench_intervals.py --repeats 3" in text and "| 50 studies | 80 studies |" in text
    assert text.count(" % |") >= 7 and "random integers alone" in text
