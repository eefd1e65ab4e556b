"""The competition's weighted log loss, in the leaderboard's form and the two others in circulation.

Arrays are (n_studies, 8), columns as `labels.PREDICTION_TYPES`; lower is better; all 0.5 gives ln 2 in each.
"""

import numpy as np

from cspine.competition.labels import WEIGHTS, Counts, weights_of

# Probabilities are moved this far from 0 and 1 before the logarithm; MLE-bench's grader uses the same value.
CLIP = 1e-15


def global_loss(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Score as the leaderboard does: sum(w * bce) / sum(w) over all rows of all studies.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Probabilities.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        For other shapes or values.

    Notes
    -----
    Source: the one public score of constants tells this form from the others (0.5677; here 0.5678).
    """
    loss, weight = weighted_losses(truth, prediction)
    return float(loss.sum() / weight.sum())


def row_loss(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over the studies of each study's weighted mean (MLE-bench's form, several winners' CV).

    A study without a fracture counts here as much as one with, whose rows weigh double in the global form.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Probabilities.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    return float(study_losses(truth, prediction).mean())


def study_losses(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Weighted mean within each study.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Probabilities.

    Returns
    -------
    ndarray of float64, shape (n,)
        The loss of each study.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    loss, weight = weighted_losses(truth, prediction)
    return loss.sum(axis=1) / weight.sum(axis=1)


def column_loss(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Weighted mean within each column, then (C1 + ... + C7 + 7 * patient_overall) / 14.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Probabilities.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    return float(np.average(level_losses(truth, prediction), weights=WEIGHTS[0]))


def level_losses(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Weighted mean within each column.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Probabilities.

    Returns
    -------
    ndarray of float64, shape (8,)
        The loss of each column, C1..C7 then patient_overall.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    loss, weight = weighted_losses(truth, prediction)
    return loss.sum(axis=0) / weight.sum(axis=0)


FORMS = {"global": global_loss, "row": row_loss, "column": column_loss}


def best_constants(rates: np.ndarray) -> np.ndarray:
    """Turn rates (or calibrated probabilities) q into what is best submitted, 2q / (1 + q).

    A positive row weighs twice a negative one, so 2q log(c) + (1 - q) log(1 - c) is what c maximises.

    Parameters
    ----------
    rates : ndarray, any shape
        Rates in [0, 1].

    Returns
    -------
    ndarray of float64, same shape
        The values to submit.
    """
    rates = np.asarray(rates, dtype=np.float64)
    ratio = WEIGHTS[1, 0] / WEIGHTS[0, 0]
    return ratio * rates / (1 + (ratio - 1) * rates)


def global_loss_of_constants(counts: Counts, constants: np.ndarray) -> float:
    """Global form of eight constants on a set of which only the counts per column are known.

    The row form can't be had this way: it needs to know which positives share a study.

    Parameters
    ----------
    counts : Counts
        The studies and positives of the set.
    constants : ndarray, shape (8,)
        Probabilities.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    constants = np.asarray(constants, dtype=np.float64)
    _check_probabilities(constants, (8,))
    positives = np.array(counts.positives)
    rows = np.stack([counts.studies - positives, positives])
    clipped = np.clip(constants, CLIP, 1 - CLIP)
    bce = -np.stack([np.log(1 - clipped), np.log(clipped)])
    return float((rows * WEIGHTS * bce).sum() / (rows * WEIGHTS).sum())


def weighted_losses(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give what every row costs and weighs: all forms of the metric are sums of these.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Probabilities.

    Returns
    -------
    loss : ndarray of float64, shape (n, 8)
        w * bce.
    weight : ndarray of float64, shape (n, 8)
        w.

    Raises
    ------
    ValueError
        For other shapes or values.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction, dtype=np.float64)
    if truth.ndim != 2 or truth.shape[1] != 8 or truth.shape[0] == 0:
        raise ValueError(f"truth has shape {truth.shape}; expected (n, 8) with n > 0")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("truth holds values other than 0 and 1")
    _check_probabilities(prediction, truth.shape)
    clipped = np.clip(prediction, CLIP, 1 - CLIP)
    weight = weights_of(truth)
    return -weight * np.log(np.where(truth == 1, clipped, 1 - clipped)), weight


def _check_probabilities(values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"predictions have shape {values.shape}; expected {shape}")
    # written so that NaN, for which every comparison is false, is refused as well
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("predictions hold NaN or values outside [0, 1]")
