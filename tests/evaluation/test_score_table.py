import json

import numpy as np
import pytest

from cspine.competition import metric
from cspine.competition.labels import PREDICTION_TYPES
from cspine.evaluation import score_table as scoring
from cspine.evaluation.intervals import draw_studies


def sets() -> dict:
    rng = np.random.default_rng(0)
    groups = {}
    for name, studies in (("out of fold", 50), ("public", 20), ("private", 30)):
        truth = (rng.random((studies, 8)) < 0.3).astype(int)
        groups[name] = truth, np.clip(0.6 * truth + 0.4 * rng.random((studies, 8)), 0.01, 0.99)
    return groups


CONSTANTS = metric.best_constants(np.full(8, 0.3))


def test_the_table_holds_every_form_and_level_of_every_set_in_order():
    groups = sets()
    table = scoring.score_table(groups, CONSTANTS)
    assert table["score"].drop_duplicates().tolist() == ["global", "row", "column", *PREDICTION_TYPES]
    assert table["set"].tolist() == list(groups) * 11
    assert table["studies"].tolist() == [50, 20, 30] * 11
    nested = scoring.to_dict(table)
    for name, (truth, prediction) in groups.items():
        tiled = np.tile(CONSTANTS, (len(truth), 1))
        for form, loss in metric.FORMS.items():
            assert nested[form][name]["model"] == pytest.approx(loss(truth, prediction), rel=1e-14)
            assert nested[form][name]["constants"] == pytest.approx(loss(truth, tiled), rel=1e-14)
        assert nested["C5"][name]["model"] == pytest.approx(metric.level_losses(truth, prediction)[4])


def test_gain_is_the_share_of_the_constants_loss_that_the_model_saves():
    truth = np.zeros((3, 8), int)
    table = scoring.score_table({"public": (truth, np.full((3, 8), 0.1))}, np.full(8, 0.19))
    # 0.9 ** 2 = 0.81: the constants lose exactly twice as much
    assert table["gain_percent"].tolist() == pytest.approx([50] * 11)
    worse = scoring.score_table({"public": (truth, np.full((3, 8), 0.19))}, np.full(8, 0.1))
    assert worse["gain_percent"].tolist() == pytest.approx([-100] * 11)


def test_the_dictionary_survives_json_with_all_digits():
    nested = scoring.to_dict(scoring.score_table(sets(), CONSTANTS))
    assert json.loads(json.dumps(nested, allow_nan=False)) == nested


def test_text_is_aligned_and_in_the_order_forms_then_levels():
    text = scoring.format_tables(scoring.score_table(sets(), CONSTANTS))
    blocks = [block.splitlines() for block in text.split("\n\n")]
    assert [block[0].split()[0] for block in blocks] == ["global", "row", "column"] + ["weighted"] * 3
    for block in blocks:
        assert len({len(line) for line in block[2:]}) == 1 and len(block[1]) <= len(block[2]), block
        assert max(len(line) for line in block[1:]) <= 110
    assert [line.split("  ")[0] for line in blocks[0][2:]] == ["out of fold", "public", "private"]
    assert [line.split()[0] for line in blocks[3][2:]] == [*PREDICTION_TYPES[:7], "overall"]
    assert blocks[5][0].endswith(", private")


def test_every_figure_has_the_interval_of_a_plain_bootstrap():
    """Studies drawn again one draw at a time, scored by the metric itself."""
    truth, prediction = sets()["public"]
    row = scoring.to_dict(scoring.score_table({"public": (truth, prediction)}, CONSTANTS))["global"]["public"]
    model, gain = [], []
    for counts in draw_studies(20).astype(int):
        drawn = np.repeat(np.arange(20), counts)
        model.append(metric.global_loss(truth[drawn], prediction[drawn]))
        gain.append(100 * (1 - model[-1] / metric.global_loss(truth[drawn], np.tile(CONSTANTS, (20, 1)))))
    for figure, drawn in (("model", model), ("gain", gain)):
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert (row[f"{figure}_low"], row[f"{figure}_high"]) == pytest.approx((low, high))
    assert row["model_low"] < row["model"] < row["model_high"]


def test_folds_are_shown_in_the_leaderboards_form_alone():
    groups = {f"fold {number}": group for number, group in enumerate(sets().values())}
    lines = scoring.format_folds(scoring.score_table(groups, CONSTANTS)).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["fold 0", "fold 1", "fold 2"]
