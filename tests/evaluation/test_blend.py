import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cspine.competition.checks import UID_COLUMN
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.rows import long, wide
from cspine.competition.tables import read_submission
from cspine.errors import InputError
from cspine.evaluation.blend import blend, blend_runs, describe_blend, fit_weights
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.cross_validation import read_oof_logits
from cspine.evaluation.ladder import random_groups
from cspine.inference.blends import read_blend
from cspine.settings.layout import RunLayout

UIDS = [f"1.2.{number}" for number in range(240)]
GROUPS = random_groups(UIDS)


def drawn(noises: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of runs that see the same truth, each through noise of its own."""
    random = np.random.default_rng(seed)
    truth = (random.random((240, 8)) < 0.3).astype(np.float64)
    truth[:, 7] = truth[:, :7].max(axis=1)
    logits = [2.5 * truth - 1.8 + noise * random.normal(size=truth.shape) for noise in noises]
    return np.stack(logits), truth


def test_the_quieter_run_gets_the_larger_weight_and_noise_none():
    weights = fit_weights(*drawn([0.8, 1.6]))
    assert weights.sum(axis=1) == pytest.approx([1, 1])
    assert (weights[:, 0] > 0.65).all() and (weights >= 0).all()
    logits, truth = drawn([0.8, 1.0])
    logits[1] = np.random.default_rng(5).normal(size=truth.shape) * 3
    assert (fit_weights(logits, truth)[:, 1] < 0.1).all()


def test_two_equal_runs_are_better_than_one_and_need_no_weights():
    logits, truth = drawn([1.5, 1.5])
    found = blend(logits, truth, GROUPS, ["a", "b"])
    by_name = {one.name: one for one in found.candidates}
    assert list(by_name) == ["a", "b", "equal weights", "fitted weights"]
    assert by_name["equal weights"].to_best_single.high < 0
    assert not found.fitted and found.level == pytest.approx([0.5, 0.5])
    np.testing.assert_allclose(found.logits, logits.mean(axis=0))
    assert "equal weights are used" in describe_blend(found, ["a", "b"])


def test_weights_are_used_where_they_are_surely_better_than_equal_ones():
    logits, truth = drawn([0.7, 1.0])
    logits[1] = 4 * np.random.default_rng(7).normal(size=truth.shape)
    found = blend(logits, truth, GROUPS, ["good", "noise"])
    assert found.fitted and found.level[0] > 0.9
    assert "fitted weights are used" in describe_blend(found, ["good", "noise"])


def test_a_study_has_no_say_in_the_weights_of_its_own_logits():
    logits, truth = drawn([0.7, 2.5])
    found = blend(logits, truth, GROUPS, ["good", "poor"])
    assert found.fitted
    turned = truth.copy()
    turned[GROUPS == 4] = 1 - turned[GROUPS == 4]
    again = blend(logits, turned, GROUPS, ["good", "poor"])
    if again.fitted:
        np.testing.assert_array_equal(again.logits[GROUPS == 4], found.logits[GROUPS == 4])
    weights = fit_weights(logits[:, GROUPS != 4], truth[GROUPS != 4])
    expected = weights[0, 0] * logits[0, GROUPS == 4, 2] + weights[0, 1] * logits[1, GROUPS == 4, 2]
    np.testing.assert_allclose(found.logits[GROUPS == 4, 2], expected)


@pytest.fixture
def stage(tmp_path) -> SimpleNamespace:
    """Two runs of the same split, after `make cv`."""
    logits, truth = drawn([0.7, 1.2])
    raw = tmp_path / "raw"
    raw.mkdir()
    train = pd.DataFrame(truth.astype(int), columns=list(PREDICTION_TYPES))
    train.insert(0, UID_COLUMN, UIDS)
    train[[UID_COLUMN, "patient_overall", *PREDICTION_TYPES[:7]]].to_csv(raw / "train.csv", index=False)
    runs = []
    for number in range(2):
        run = tmp_path / "runs" / f"run{number}"
        run.mkdir(parents=True)
        table = pd.DataFrame(logits[number], columns=list(PREDICTION_TYPES))
        table.insert(0, "fold", np.arange(240) % 5)
        table.insert(0, UID_COLUMN, UIDS)
        # each run has its studies in another order
        table.sample(frac=1, random_state=number).to_csv(RunLayout(run).oof_logits, index=False)
        values = 1 / (1 + np.exp(-logits[number]))
        long(UIDS, values).to_csv(RunLayout(run).oof, index=False)
        runs.append(run)
    return SimpleNamespace(raw=raw, runs=runs, out=tmp_path / "runs" / "blend", logits=logits)


def test_the_blends_folder_is_that_of_a_run(stage, capsys):
    blend_runs(stage.raw, stage.runs, stage.out)
    weights = read_blend(stage.out)
    assert [run.resolve() for run in weights.runs] == [run.resolve() for run in stage.runs]
    assert json.loads(RunLayout(stage.out).blend.read_text())["runs"] == ["../run0", "../run1"]
    uids, values = wide(read_submission(RunLayout(stage.out).oof))
    assert sorted(uids) == sorted(UIDS) and np.isfinite(values).all()
    table = read_oof_logits(stage.out)
    assert table.loc[UIDS[7], "fold"] == 2
    Calibration.load(stage.out)
    printed = capsys.readouterr().out
    for word in ("run0", "run1", "equal weights", "fitted weights", "to the best single run", "out of fold"):
        assert word in printed


def test_runs_that_do_not_fit_together_are_refused(stage):
    path = RunLayout(stage.runs[1]).oof_logits
    table = pd.read_csv(path, dtype={UID_COLUMN: str})
    table.loc[:2, "fold"] = (table.loc[:2, "fold"] + 1) % 5
    table.to_csv(path, index=False)
    with pytest.raises(InputError, match="found 3 studies .* in another fold; expected the same studies"):
        blend_runs(stage.raw, stage.runs, stage.out)
    table.drop(index=[0]).to_csv(path, index=False)
    with pytest.raises(InputError, match="found 3 studies that .* lacks"):
        blend_runs(stage.raw, stage.runs, stage.out)
    path.unlink()
    with pytest.raises(InputError, match="make cv"):
        blend_runs(stage.raw, stage.runs, stage.out)
    assert not stage.out.exists()


def test_one_run_or_a_blend_or_the_runs_own_folder_is_refused(stage):
    for runs in ([], stage.runs[:1], [stage.runs[0], stage.runs[0]]):
        with pytest.raises(InputError, match="expected at least 2"):
            blend_runs(stage.raw, runs, stage.out)
    with pytest.raises(InputError, match="a folder of the blend's own"):
        blend_runs(stage.raw, stage.runs, stage.runs[0])
    (stage.out / "classifier" / "fold0").mkdir(parents=True)
    with pytest.raises(InputError, match="a folder of the blend's own"):
        blend_runs(stage.raw, stage.runs, stage.out)
    blend_runs(stage.raw, stage.runs, stage.out.with_name("other"))
    with pytest.raises(InputError, match="found a blend; expected single runs"):
        blend_runs(stage.raw, [stage.runs[0], stage.out.with_name("other")], stage.out.with_name("third"))
