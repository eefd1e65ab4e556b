"""The demo's gate: is the gain over constants certain enough to be called one?"""

from collections.abc import Mapping

import numpy as np

from cspine.competition.metric import best_constants, global_loss
from cspine.competition.submission import SUBMIT_CLIP
from cspine.errors import InputError
from cspine.evaluation.intervals import SEED, Estimate, draw_studies, estimate, lower_bound, resample

ONE_SIDED = 0.95
"""The share of draws of the studies in which the gain is above its lower bound."""


def gain_over_constants(
    truth: np.ndarray, prediction: np.ndarray, constants: np.ndarray, draws: np.ndarray
) -> tuple[Estimate, float, str]:
    """Give the gain over the better of two sets of constants, in the leaderboard's form.

    The constants of the set's own rates know something that no competitor does; a model has to beat them too.
    They stay those of the whole set in every draw: rates that followed each draw would ask how well constants
    do after having seen the very studies drawn.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Values of the same studies.
    constants : ndarray, shape (8,)
        The training rates' constants.
    draws : ndarray of float64, shape (draws, n)
        As from `draw_studies`.

    Returns
    -------
    gain : Estimate
        In percent, with its two-sided 95 % interval.
    bound : float
        The one-sided lower bound of the gain in percent.
    name : str
        Which constants were the better ones.
    """
    own = np.clip(best_constants(np.asarray(truth, np.float64).mean(axis=0)), SUBMIT_CLIP, 1 - SUBMIT_CLIP)
    baselines = {"training": constants, "the set's own": own}
    tiled = {name: np.tile(one, (len(truth), 1)) for name, one in baselines.items()}
    name = min(tiled, key=lambda which: global_loss(truth, tiled[which]))
    model, baseline = resample(truth, prediction, draws), resample(truth, tiled[name], draws)
    gains = 100 * (1 - model.draws[:, 0] / baseline.draws[:, 0])
    value = 100 * (1 - model.values[0] / baseline.values[0])
    return estimate(value, gains), lower_bound(gains, ONE_SIDED), name


def require_lower_bound(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]], constants: np.ndarray, percent: float
) -> str:
    """Say by how much all sets together beat the constants, and refuse a gain that is not certain.

    Parameters
    ----------
    groups : mapping of str to (ndarray, ndarray)
        A set's name to its truth and prediction, both of shape (n, 8).
    constants : ndarray, shape (8,)
        The training rates' constants.
    percent : float
        What the one-sided 95 % lower bound of the gain has to exceed.

    Returns
    -------
    str
        A sentence with the gain, its bound and the seed of the draws.

    Raises
    ------
    InputError
        If the bound does not exceed `percent`.
    """
    truth, prediction = (np.concatenate([group[part] for group in groups.values()]) for part in (0, 1))
    gain, bound, name = gain_over_constants(truth, prediction, constants, draw_studies(len(truth)))
    words = (
        f"{' and '.join(groups)} together, {len(truth)} studies: {gain.value:.1f} % better than the better constants "
        f"({name} rates), one-sided 95 % lower bound {bound:.1f} % (seed of the draws {SEED})"
    )
    if not bound > percent:
        raise InputError(
            f"{words}; expected a bound above {percent:g} %; train longer or on more studies, or test on more"
        )
    return f"{words}; more than {percent:g} % wanted"


def share_that_passes(
    truth: np.ndarray, prediction: np.ndarray, constants: np.ndarray, percent: float, sets: int = 300
) -> float:
    """Tell how often the gate would be passed if other studies had been drawn.

    Parameters
    ----------
    truth : ndarray, shape (n, 8)
        Labels, 0 or 1.
    prediction : ndarray, shape (n, 8)
        Values of the same studies.
    constants : ndarray, shape (8,)
        The training rates' constants.
    percent : float
        What the lower bound has to exceed.
    sets : int
        How many sets of studies are drawn; each has a gate of its own.

    Returns
    -------
    float
        The share of sets that pass.
    """
    inner, passed = draw_studies(len(truth)), 0
    for counts in draw_studies(len(truth), sets, seed=SEED + 1).astype(int):
        drawn = np.repeat(np.arange(len(truth)), counts)
        _, bound, _ = gain_over_constants(truth[drawn], prediction[drawn], constants, inner)
        passed += bound > percent
    return passed / sets
