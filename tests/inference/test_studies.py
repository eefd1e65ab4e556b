import time

import numpy as np
import pytest
import torch

from cspine.inference.ensemble import Ensemble
from cspine.inference.studies import STEADY, Limits, Pace, predict_studies
from cspine.preprocessing.column import Column


@pytest.fixture
def ensemble(run) -> Ensemble:
    return Ensemble.load(run, torch.device("cpu"))


def test_a_bad_study_gives_a_reason_and_the_next_goes_on(competition, studies, ensemble, damaged, tmp_path):
    (tmp_path / "empty").mkdir()
    folders = {
        "damaged": damaged,
        "empty": tmp_path / "empty",
        "absent": tmp_path / "absent",
        "good": competition / "test_images" / studies[1],
    }
    decoded = tmp_path / "decoded"
    found = {p.study: p for p in predict_studies(folders, ensemble, decoded, Limits(workers=1))}
    assert set(found) == set(folders)
    for study in ("damaged", "empty", "absent"):
        assert found[study].answer is None
        assert len(found[study].reason) > 10
    assert "damaged" in found["damaged"].reason and "empty" in found["empty"].reason
    good = found["good"]
    assert good.reason == "" and set(good.seconds) == {"decode", "locate", "cut", "classify"}
    assert min(good.seconds.values()) > 0
    assert good.answer.fold_logits.shape == (2, 8) and np.isfinite(good.answer.fold_logits).all()
    assert isinstance(good.answer.column, Column) and good.answer.column.study == studies[1]
    assert list(decoded.iterdir()) == []


def test_a_deadline_that_passed_leaves_the_rest_with_that_reason(competition, studies, ensemble, tmp_path):
    folder = competition / "test_images" / studies[0]
    folders = {f"study {number}": folder for number in range(4)}
    limits = Limits(workers=1, until=time.monotonic() - 1)
    found = list(predict_studies(folders, ensemble, tmp_path / "decoded", limits))
    assert sorted(p.study for p in found) == sorted(folders)
    late = [p for p in found if p.answer is None]
    assert len(late) == 3
    assert {p.reason for p in late} == {"the time was up before its turn"}
    assert [p.answer is None for p in found] == [False, True, True, True]


def test_a_study_without_a_neck_gives_a_reason(competition, studies, blind_run, tmp_path):
    folders = {"one": competition / "test_images" / studies[0]}
    ensemble = Ensemble.load(blind_run, torch.device("cpu"))
    (found,) = predict_studies(folders, ensemble, tmp_path / "decoded", Limits(workers=1))
    assert found.answer is None
    assert studies[0] in found.reason and "0 cervical vertebrae" in found.reason


def test_an_error_of_the_networks_costs_its_own_study_only(
    competition, studies, ensemble, tmp_path, monkeypatch
):
    asked = []

    def fails_once(self, hu):
        asked.append(hu.shape)
        if len(asked) == 1:
            raise RuntimeError("out of memory")
        return locate(self, hu)

    locate = Ensemble.locate
    monkeypatch.setattr(Ensemble, "locate", fails_once)
    folders = {study: competition / "test_images" / study for study in studies}
    found = list(predict_studies(folders, ensemble, tmp_path / "decoded", Limits(workers=1)))
    assert found[0].reason == "RuntimeError: out of memory" and found[0].answer is None
    assert found[1].answer is not None
    assert list((tmp_path / "decoded").iterdir()) == []


def test_folds_are_dropped_where_the_pace_is_too_slow(ensemble, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(ensemble, until=100.0)
    for _ in range(STEADY):  # 10 s each: 50 of 100 s are gone, five more would fit
        now[0] += 10
        pace.step(left=5)
    assert pace.models is ensemble
    now[0] += 10
    pace.step(left=5)
    assert len(pace.models.classifiers) == len(ensemble.classifiers) - 1
    assert "too slow" in capsys.readouterr().out
    lighter = pace.models
    for _ in range(STEADY):
        now[0] += 10
        pace.step(left=50)
    assert pace.models is lighter, "nothing is left to go without"
