"""What a score is held against, and what the forms of the metric are called above their tables."""

import inspect

import numpy as np
import pandas as pd

from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import FORMS, best_constants
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
