import json

import numpy as np
import pandas as pd
import pytest

from cspine.competition import metric, scoring
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.submission import SUBMIT_CLIP


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
            assert nested[form][name]["model"] == loss(truth, prediction)
            assert nested[form][name]["constants"] == loss(truth, tiled)
        assert nested["C5"][name]["model"] == metric.level_losses(truth, prediction)[4]


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
    assert [block[0].split()[0] for block in blocks] == ["global", "row", "column", "weighted"]
    for block in blocks:
        assert len({len(line) for line in block[1:]}) == 1, block
    assert [line.split("  ")[0] for line in blocks[0][2:]] == ["out of fold", "public", "private"]
    assert blocks[3][1].split() == [*PREDICTION_TYPES[:7], "overall"]


def test_constants_for_a_level_that_never_breaks_can_still_be_submitted():
    train = pd.DataFrame(0, index=range(4), columns=list(PREDICTION_TYPES))
    train.loc[0, ["C2", "patient_overall"]] = 1
    constants = scoring.training_constants(train)
    assert constants[0] == SUBMIT_CLIP
    assert constants[[1, 7]] == pytest.approx([0.4, 0.4])
