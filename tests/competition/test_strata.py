import numpy as np
import pandas as pd
import pytest

from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.strata import BOXES, MASK, standardised_differences, strata


@pytest.fixture
def train() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame((random.random((40, 8)) < 0.4).astype(int), columns=list(PREDICTION_TYPES))
    frame.insert(0, "StudyInstanceUID", [f"1.{number}" for number in random.permutation(40)])
    return frame


def test_annotations_are_columns_beside_the_labels(train):
    table = strata(train, {"1.3", "1.9"}, {"1.3"})
    assert list(table.columns) == [*PREDICTION_TYPES, BOXES, MASK]
    assert table.index.is_monotonic_increasing and table[BOXES].sum() == 2
    assert table.loc["1.3", [BOXES, MASK]].tolist() == [1, 1]
    assert BOXES not in strata(train, set(), {"1.3"})  # what nobody has can't be balanced


def test_values_become_columns_and_numbers_stay(train):
    uids = train["StudyInstanceUID"]
    others = pd.DataFrame(
        {
            "site": ["a"] * 20 + ["b"] * 16 + ["rare"] * 4,
            "sex": ["M", "F"] * 20,
            "age": [*range(34), *[np.nan] * 6],
            "step_mm": [0.5] * 40,
        },
        index=uids,
    )
    table = strata(train, set(), set(), others)
    added = [name for name in table.columns if name not in PREDICTION_TYPES]
    assert added == ["site a", "site b", "sex F", "age", "age unknown"]
    assert table["age"].loc[uids.iloc[39]] == np.median(range(34)) and table["age unknown"].sum() == 6
    fewer = strata(train, set(), set(), others[["sex"]].iloc[:30])
    assert {"sex unknown", "sex M"} <= set(fewer.columns)  # whom the table lacks is a value of its own


def test_differences_are_the_textbooks(train):
    table = strata(train, set(), set())
    part = pd.Series(np.arange(40) % 3, index=table.index)
    found = standardised_differences(table, part)
    for number in range(3):
        one, other = table["C4"][part == number].to_numpy(), table["C4"][part != number].to_numpy()
        p, q = one.mean(), other.mean()
        expected = (p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
        assert found.loc[number, "C4"] == pytest.approx(expected)
    assert found.index.tolist() == [0, 1, 2]
