"""The competition's csv files and the truth that Kaggle keeps to itself."""

import json
import os
from pathlib import Path

import pandas as pd

from replica.cohort.published import LEVELS

TYPES = (*LEVELS, "patient_overall")
BOX_COLUMNS = ["StudyInstanceUID", "x", "y", "width", "height", "slice_number"]
ODD_COLUMNS = ["StudyInstanceUID", "oddity", "detail"]
PLACE_COLUMNS = ["z_mm", "y_mm", "x_mm"]
WOUND_COLUMNS = ["StudyInstanceUID", "fracture", "level", "kind", "severity", *PLACE_COLUMNS]
VIEW_COLUMNS = ["StudyInstanceUID", "view", *LEVELS]
MIMIC_COLUMNS = ["StudyInstanceUID", "level", "kind", *PLACE_COLUMNS]


def write_tables(out: Path, cohort: pd.DataFrame, records: list[dict]) -> None:
    """Write every table of a replica.

    Parameters
    ----------
    out : Path
        The replica's folder.
    cohort : pandas.DataFrame
        A row a study.
    records : list of dict
        Each study's boxes, wounds, mimics and, if it is odd, detail; in the cohort's order.
    """
    competition = out / "competition"
    train = cohort[cohort["split"] == "train"]
    write_csv(competition / "train.csv", train[["StudyInstanceUID", "patient_overall", *LEVELS]])
    boxes = [row for record in records for row in record["boxes"]]
    write_csv(competition / "train_bounding_boxes.csv", pd.DataFrame(boxes, columns=BOX_COLUMNS))
    test = _long(cohort[cohort["split"] != "train"])
    write_csv(competition / "test.csv", test[["row_id", "StudyInstanceUID", "prediction_type"]])
    write_csv(competition / "sample_submission.csv", test[["row_id"]].assign(fractured=0.5))
    write_csv(out / "solution.csv", test[["row_id", "fractured", "weight", "Usage"]])
    wounds = [row for record in records for row in record["wounds"]]
    write_csv(out / "truth" / "fractures.csv", pd.DataFrame(wounds, columns=WOUND_COLUMNS))
    odd = [
        {
            "StudyInstanceUID": row["StudyInstanceUID"],
            "oddity": row["oddity"],
            "detail": record.get("detail", ""),
        }
        for (_, row), record in zip(cohort.iterrows(), records, strict=True)
        if row["oddity"]
    ]
    write_csv(out / "truth" / "oddities.csv", pd.DataFrame(odd, columns=ODD_COLUMNS))
    seen = [row for record in records for row in record["mimics"]]
    write_csv(out / "truth" / "mimics.csv", pd.DataFrame(seen, columns=MIMIC_COLUMNS))
    views = [{"StudyInstanceUID": uid} | record["view"] for uid, record in _with_view(cohort, records)]
    write_csv(out / "truth" / "views.csv", pd.DataFrame(views, columns=VIEW_COLUMNS))
    worst = pd.DataFrame(wounds, columns=WOUND_COLUMNS).groupby("StudyInstanceUID")["severity"].max()
    people = cohort[["StudyInstanceUID", "split", "site", "sex", "age", *TYPES, "boxed", "masked"]]
    write_csv(out / "truth" / "cohort.csv", people.assign(severity=people["StudyInstanceUID"].map(worst)))


def _with_view(cohort: pd.DataFrame, records: list[dict]) -> list[tuple[str, dict]]:
    """The painted studies; a replica of labels alone has none."""
    pairs = zip(cohort["StudyInstanceUID"], records, strict=True)
    return [(uid, record) for uid, record in pairs if "view" in record]


def _long(test: pd.DataFrame) -> pd.DataFrame:
    """One row a study and prediction type, with truth and the metric's weight."""
    long = test.melt(
        id_vars=["StudyInstanceUID", "split"], value_vars=list(TYPES),
        var_name="prediction_type", value_name="fractured",
    )  # fmt: skip
    order = {uid: i for i, uid in enumerate(test["StudyInstanceUID"])}
    rank = long["StudyInstanceUID"].map(order) * len(TYPES) + long["prediction_type"].map(TYPES.index)
    long = long.iloc[rank.argsort(kind="stable")].reset_index(drop=True)
    long["row_id"] = long["StudyInstanceUID"] + "_" + long["prediction_type"]
    overall = long["prediction_type"] == "patient_overall"
    # 1 and 2 for a vertebra without and with a fracture, 7 and 14 for the patient
    long["weight"] = (1 + long["fractured"]) * (1 + 6 * overall)
    long["Usage"] = long["split"].map({"public": "Public", "private": "Private"})
    return long


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table so that a reader sees all of it or none.

    Parameters
    ----------
    path : Path
        A file that ends in .csv.
    frame : pandas.DataFrame
        Written without its index.
    """
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def write_json(path: Path, value: dict) -> None:
    """Write JSON so that a reader sees all of it or none.

    Parameters
    ----------
    path : Path
        A file that ends in .json.
    value : dict
        What JSON can hold.
    """
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a temporary one beside it, then a rename.

    Parameters
    ----------
    path : Path
        Its folder is made if need be.
    text : str
        Written as UTF-8, line ends as they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
