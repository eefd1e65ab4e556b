"""The benchmark of the calibration: its simulated networks are what it says, its way into a run works."""

from types import SimpleNamespace

import bench_calibration as bench
import numpy as np
import pandas as pd
import pytest

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.rows import long
from cspine.evaluation.averaging import FoldNoise
from cspine.evaluation.calibration import Calibration
from cspine.settings.layout import RunLayout


def test_single_networks_need_no_calibration_and_their_mean_a_steeper_one(monkeypatch):
    monkeypatch.setattr(bench, "STUDIES", 20_000)
    found = bench.simulate(np.random.default_rng(0), 5, 0.8, 0.3)
    single = Calibration.fit(found.logits, found.truth, bench.HALF)
    assert (single.level_slope, single.overall_slope) == pytest.approx((1, 1), abs=0.08)
    mean = Calibration.fit(found.judged_logits, found.judged_truth, bench.HALF)
    assert mean.level_slope > 1.15 and mean.overall_slope > 1.15
    noise = FoldNoise.measure(found.fold_logits)
    assert noise.networks == 5 and noise.level > 0.3


@pytest.fixture
def flags(tmp_path) -> SimpleNamespace:
    """A run of two folds over 120 studies, and 80 unseen ones with their truth."""
    random, run, raw = np.random.default_rng(0), tmp_path / "run", tmp_path / "raw"
    run.mkdir()
    raw.mkdir()

    def drawn(studies: int, first: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        truth = (random.random((studies, 8)) < 0.3).astype(int)
        truth[:, 7] = truth[:, :7].max(axis=1)
        return [f"1.2.{first + number}" for number in range(studies)], truth, 2.0 * truth - 1.5

    uids, truth, signal = drawn(120, 0)
    train = pd.DataFrame(truth, columns=list(PREDICTION_TYPES))
    train.insert(0, UID_COLUMN, uids)
    train[[UID_COLUMN, "patient_overall", *PREDICTION_TYPES[:7]]].to_csv(raw / "train.csv", index=False)
    held_out = pd.DataFrame(signal + random.normal(size=signal.shape), columns=list(PREDICTION_TYPES))
    held_out.insert(0, "fold", np.arange(120) % 2)
    held_out.insert(0, UID_COLUMN, uids)
    held_out.to_csv(RunLayout(run).oof_logits, index=False)
    unseen, labels, signal = drawn(80, 1000)
    long(unseen, labels).astype({"fractured": int}).to_csv(tmp_path / "solution.csv", index=False)
    parts = []
    for fold in range(2):
        part = pd.DataFrame(signal + random.normal(size=signal.shape), columns=list(PREDICTION_TYPES))
        part.insert(0, "fold", fold)
        part.insert(0, UID_COLUMN, unseen)
        parts.append(part)
    pd.concat(parts).to_csv(tmp_path / "fold_logits.csv", index=False)
    return bench.Flags(
        repeats=1, run=run, raw=raw, fold_logits=tmp_path / "fold_logits.csv", solution=tmp_path / "solution.csv",
        out=tmp_path / "calibration.md",
    )  # fmt: skip


def test_a_run_is_held_against_its_unseen_studies(flags):
    found = bench.gather(flags)
    assert found.fold_logits.shape == (80, 2, 8) and found.unseen_truth.shape == (80, 8)
    slopes = bench.slopes_on_unseen(found)
    assert list(slopes.index) == ["level slope", "overall slope"]
    assert set(slopes["corrected lies inside"]) <= {"yes", "no"}
    ladder = bench.ladder_on_unseen(found)
    assert ladder.loc["calibration of single networks"].iloc[1].startswith("+0.0000")
    schemes = bench.schemes_out_of_fold(found)
    assert any("former scheme" in name for name in schemes.index) and len(schemes) == 4


@pytest.mark.slow
def test_the_simulation_names_every_way(monkeypatch):
    monkeypatch.setattr(bench, "SCENES", {"some": (0.5, 0.25)})
    monkeypatch.setattr(bench, "STUDIES", 400)
    monkeypatch.setattr(bench, "JUDGED", 4000)
    table = bench.simulated_costs(bench.Flags(repeats=1))
    for way in ("raw logits", "SIMEX", "moment reconstruction"):
        assert way in table.index and np.isfinite(table.loc[way]).all()
