"""Tables of scores with their intervals: model against constants, in three forms, per level, for every set."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cspine.competition.labels import OVERALL, PREDICTION_TYPES
from cspine.competition.metric import FORMS
from cspine.competition.scoring import title_of
from cspine.evaluation.intervals import SCORES, draw_studies, resample

FIGURES = ("model", "constants", "gain")
"""What has an interval: the columns <figure>_low and <figure>_high."""
CAVEAT = (
    "95 % intervals, studies drawn again 1,000 times: they cover the choice of the studies, not that of the training's "
    "seeds;\nanother training of the same recipe may lie outside of them."
)


def score_table(groups: Mapping[str, tuple[np.ndarray, np.ndarray]], constants: np.ndarray) -> pd.DataFrame:
    """Score predictions and constants on every set of studies.

    Parameters
    ----------
    groups : mapping of str to (ndarray, ndarray)
        A set's name ("out of fold", "public", "private") to its truth and prediction, both of shape (n, 8).
    constants : ndarray, shape (8,)
        What the predictions have to beat, usually from the training rates.

    Returns
    -------
    DataFrame
        Columns score ("global", "row", "column", then C1..C7 and patient_overall), set, studies, model,
        constants, gain_percent = 100 * (1 - model / constants), and the ends of their 95 % intervals
        (model_low, model_high, ...); the order is that of the printed tables.

    Raises
    ------
    ValueError
        For arrays that the metric refuses.
    """
    rows = []
    for name, (truth, prediction) in groups.items():
        draws = draw_studies(len(truth))
        model = resample(truth, prediction, draws)
        baseline = resample(truth, np.tile(constants, (len(truth), 1)), draws)
        for score in SCORES:
            row: dict[str, Any] = {"score": score, "set": name, "studies": len(truth)}
            gain = model.gain_percent(baseline, score)
            estimates = (model.estimate(score), baseline.estimate(score), gain)
            for figure, found in zip(FIGURES, estimates, strict=True):
                value = "gain_percent" if figure == "gain" else figure
                row |= {value: found.value, f"{figure}_low": found.low, f"{figure}_high": found.high}
            rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values(
        "score", key=lambda names: names.map(SCORES.index), kind="stable", ignore_index=True
    )


def to_dict(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Give a score table as nested dictionaries.

    Parameters
    ----------
    table : DataFrame
        Scores, as from `score_table`.

    Returns
    -------
    dict
        [score][set] to the other columns.
    """
    result: dict = {}
    for row in table.to_dict("records"):
        result.setdefault(row.pop("score"), {})[row.pop("set")] = row
    return result


def from_dict(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> pd.DataFrame:
    """Give back the score table that `to_dict` took apart.

    Parameters
    ----------
    scores : mapping
        The nested dictionaries, as in scores.json.

    Returns
    -------
    DataFrame
        The table, columns as from `score_table`.
    """
    rows = [
        {"score": score, "set": name, **figures}
        for score, sets in scores.items()
        for name, figures in sets.items()
    ]
    return pd.DataFrame(rows)


def format_tables(table: pd.DataFrame) -> str:
    """Lay a score table out as plain text: the three forms, then the levels of every set.

    Parameters
    ----------
    table : DataFrame
        Scores, as from `score_table`.

    Returns
    -------
    str
        The tables, with an empty line between them.
    """
    blocks = [_block(title_of(form), table[table["score"] == form], "set") for form in FORMS]
    levels = table[table["score"].isin(PREDICTION_TYPES)].replace({"score": {OVERALL: "overall"}})
    blocks += [
        _block(f"weighted log loss of each level, {name}", levels[levels["set"] == name], "score")
        for name in levels["set"].unique()
    ]
    return "\n\n".join(blocks)


def format_folds(table: pd.DataFrame) -> str:
    """Lay the scores of single folds out as plain text, in the leaderboard's form.

    Parameters
    ----------
    table : DataFrame
        Scores, as from `score_table`, a set a fold.

    Returns
    -------
    str
        One table.
    """
    return _block("global form, each fold out of fold", table[table["score"] == "global"], "set")


def _block(title: str, rows: pd.DataFrame, name: str) -> str:
    """A title, a head, and a line a row, the first cell from the column `name`."""
    width = max(len(cell) for cell in rows[name])
    lines = [
        title,
        f"{'':{width}}  studies   model  95 % interval     constants  95 % interval        gain  95 % interval",
    ]
    for row in rows.to_dict("records"):
        lines.append(
            f"{row[name]:{width}}  {row['studies']:7d}  "
            f"{row['model']:.4f}  {row['model_low']:.4f} to {row['model_high']:.4f}     "
            f"{row['constants']:.4f}  {row['constants_low']:.4f} to {row['constants_high']:.4f}  "
            f"{row['gain_percent']:7.1f} %  {row['gain_low']:6.1f} to {row['gain_high']:5.1f} %"
        )
    return "\n".join(lines)
