"""The csv files must be Kaggle's, to the column and the row id."""

import pandas as pd

LEVELS = [f"C{i}" for i in range(1, 8)]


def test_train_and_boxes_have_kaggles_columns(small):
    train = pd.read_csv(small / "competition" / "train.csv")
    assert list(train.columns) == ["StudyInstanceUID", "patient_overall", *LEVELS]
    assert len(train) == 6
    assert (train["patient_overall"] == train[LEVELS].max(axis=1)).all()
    boxes = pd.read_csv(small / "competition" / "train_bounding_boxes.csv")
    assert list(boxes.columns) == ["StudyInstanceUID", "x", "y", "width", "height", "slice_number"]
    assert set(boxes["StudyInstanceUID"]) == set(train.loc[train["patient_overall"] == 1, "StudyInstanceUID"])
    assert not boxes.duplicated(["StudyInstanceUID", "slice_number"]).any()


def test_test_sample_and_solution_agree(small):
    test = pd.read_csv(small / "competition" / "test.csv")
    sample = pd.read_csv(small / "competition" / "sample_submission.csv")
    solution = pd.read_csv(small / "solution.csv")
    assert list(test.columns) == ["row_id", "StudyInstanceUID", "prediction_type"]
    assert list(sample.columns) == ["row_id", "fractured"]
    assert list(solution.columns) == ["row_id", "fractured", "weight", "Usage"]
    assert (test["row_id"] == test["StudyInstanceUID"] + "_" + test["prediction_type"]).all()
    assert list(test["row_id"]) == list(sample["row_id"]) == list(solution["row_id"])
    assert (sample["fractured"] == 0.5).all()
    assert list(solution["Usage"]) == ["Public"] * 8 + ["Private"] * 8
    assert set(test["prediction_type"]) == {*LEVELS, "patient_overall"}


def test_weights_are_the_metrics(small):
    solution = pd.read_csv(small / "solution.csv")
    kind = solution["row_id"].str.endswith("patient_overall").map({True: "patient", False: "level"})
    weights = {key: set(group["weight"]) for key, group in solution.groupby([kind, "fractured"])}
    expected = {("level", 0): {1}, ("level", 1): {2}, ("patient", 0): {7}, ("patient", 1): {14}}
    assert weights == {key: expected[key] for key in weights}
    assert ("patient", 1) in weights or ("patient", 0) in weights


def test_folders_hold_the_studies_of_the_tables(small):
    competition = small / "competition"
    train = pd.read_csv(competition / "train.csv")
    test = pd.read_csv(competition / "test.csv")
    assert {p.name for p in (competition / "train_images").iterdir()} == set(train["StudyInstanceUID"])
    assert {p.name for p in (competition / "test_images").iterdir()} == set(test["StudyInstanceUID"])
    truth = pd.read_csv(small / "truth" / "fractures.csv")
    cohort = pd.read_csv(small / "truth" / "cohort.csv")
    # every broken level is really broken in the picture, and no other
    found = pd.crosstab(truth["StudyInstanceUID"], truth["level"]).reindex(
        index=cohort["StudyInstanceUID"], columns=LEVELS, fill_value=0
    )
    assert ((found > 0).to_numpy() == (cohort[LEVELS] > 0).to_numpy()).all()
    assert truth["severity"].between(0.8, 1.0).all()
