import pytest
from helpers.refusals import refused

from cspine.competition.cohort import read_cohort

HEAD = "StudyInstanceUID,split,site,sex,age,C1,boxed,masked"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "truth" / "cohort.csv"
    path.parent.mkdir()
    path.write_text(HEAD + "\n1.2,train,7,M,65,0,True,False\n1.3,public,12,F,40,1,False,False\n")
    return path


def test_who_the_patients_are_is_read_beside_the_competition(table, tmp_path):
    cohort = read_cohort(tmp_path / "competition")
    assert cohort.loc["1.2"].to_dict() == {
        "split": "train", "site": "7", "sex": "M", "age": 65.0, "boxed": True, "masked": False,
    }  # fmt: skip
    assert cohort.loc["1.3", "site"] == "12" and list(cohort["boxed"]) == [True, False]


def test_the_real_data_has_no_such_table(tmp_path):
    assert read_cohort(tmp_path / "competition") is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sex,", "gender,", ["gender", "among them"]),
        ("1.3", "1.2", ["1.2 more than once"]),
        ("1.3", "../3", ["'../3'"]),
        (",65,", ",old,", ["age = 'old'"]),
        ("public", "test", ["split = 'test'", "train, public, private"]),
    ],
)
def test_a_table_that_can_not_be_used_is_refused(table, tmp_path, old, new, words):
    table.write_text(table.read_text().replace(old, new, 1))
    refused(lambda: read_cohort(tmp_path / "competition"), [str(table), *words])
