"""Tables of scores: model against constants, in three forms, per level, for every set of studies."""

import inspect
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cspine.competition.labels import OVERALL, PREDICTION_TYPES
from cspine.competition.metric import FORMS, best_constants, level_losses
from cspine.competition.submission import SUBMIT_CLIP


def title_of(form: str) -> str:
    """Tell what a form of the metric is called above its table: its name, and the first sentence about it.

    Parameters
    ----------
    form : str
        A key of `metric.FORMS`.

    Returns
    -------
    str
        The title.
    """
    text = inspect.getdoc(FORMS[form])
    assert text is not None, f"{form}: its docstring is the title"
    sentence = text.splitlines()[0].rstrip(".")
    return f"{form} form: {sentence[0].lower()}{sentence[1:]}"


def training_constants(train: pd.DataFrame) -> np.ndarray:
    """Give the eight constants that score best on the training rates, within what may be submitted.

    Parameters
    ----------
    train : DataFrame
        All labelled studies, as from `tables.read_train`.

    Returns
    -------
    ndarray of float64, shape (8,)
        The constants, in [SUBMIT_CLIP, 1 - SUBMIT_CLIP].
    """
    rates = train[list(PREDICTION_TYPES)].to_numpy(np.float64).mean(axis=0)
    return np.clip(best_constants(rates), SUBMIT_CLIP, 1 - SUBMIT_CLIP)


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
        constants, gain_percent = 100 * (1 - model / constants); the order is that of the printed tables.

    Raises
    ------
    ValueError
        For arrays that the metric refuses.
    """
    rows = []
    for name, (truth, prediction) in groups.items():
        baseline = np.tile(constants, (len(truth), 1))
        scores = {form: (loss(truth, prediction), loss(truth, baseline)) for form, loss in FORMS.items()}
        pairs = zip(level_losses(truth, prediction), level_losses(truth, baseline), strict=True)
        scores |= dict(zip(PREDICTION_TYPES, pairs, strict=True))
        rows += [(score, name, len(truth), float(m), float(c)) for score, (m, c) in scores.items()]
    table = pd.DataFrame(rows, columns=["score", "set", "studies", "model", "constants"])
    table["gain_percent"] = 100 * (1 - table["model"] / table["constants"])
    order = [*FORMS, *PREDICTION_TYPES]
    return table.sort_values(
        "score", key=lambda names: names.map(order.index), kind="stable", ignore_index=True
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
        [score][set] to studies, model, constants, gain_percent.
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
    """Lay a score table out as plain text: the three forms, then the levels with model and constants.

    Parameters
    ----------
    table : DataFrame
        Scores, as from `score_table`.

    Returns
    -------
    str
        The tables, with an empty line between them.
    """
    width = max(len(name) for name in table["set"])
    blocks = []
    for form in FORMS:
        lines = [title_of(form), f"{'':{width}}  studies   model  constants     gain"]
        for row in table[table["score"] == form].itertuples():
            figures = f"{row.studies:7d}  {row.model:.4f}     {row.constants:.4f}  {row.gain_percent:5.1f} %"
            lines.append(f"{row.set:{width}}  {figures}")
        blocks.append(lines)
    levels = table[table["score"].isin(PREDICTION_TYPES)]
    heads = "".join(f"{'overall' if kind == OVERALL else kind:>9}" for kind in PREDICTION_TYPES)
    lines = ["weighted log loss of each level and overall", f"{'':{width}}  {'':9}{heads}"]
    for name in levels["set"].unique():
        for column in ("model", "constants"):
            values = levels[levels["set"] == name].set_index("score")[column]
            cells = "".join(f"{values[kind]:9.4f}" for kind in PREDICTION_TYPES)
            lines.append(f"{name if column == 'model' else '':{width}}  {column:9}{cells}")
    return "\n\n".join("\n".join(block) for block in [*blocks, lines])
