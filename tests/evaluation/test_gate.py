import numpy as np
import pytest

from cspine.competition.metric import best_constants, global_loss
from cspine.errors import InputError
from cspine.evaluation.gate import gain_over_constants, require_lower_bound, share_that_passes
from cspine.evaluation.intervals import draw_studies


def test_set(studies: int, skill: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and values that know `skill` of it beside the rates."""
    random = np.random.default_rng(seed)
    truth = (random.random((studies, 8)) < 0.3).astype(int)
    base = best_constants(np.full(8, 0.3))
    return truth, np.clip((1 - skill) * base + skill * truth, 0.01, 0.99)


test_set.__test__ = False
CONSTANTS = best_constants(np.full(8, 0.3))


def test_the_gain_is_over_the_better_of_both_constants():
    truth, prediction = test_set(90, 0.2)
    own = best_constants(truth.mean(axis=0))
    draws = draw_studies(90)
    gain, bound, name = gain_over_constants(truth, prediction, CONSTANTS, draws)
    assert name == "the set's own"  # nothing constant does better on the set itself
    losses = [global_loss(truth, values) for values in (prediction, np.tile(own, (90, 1)))]
    assert gain.value == pytest.approx(100 * (1 - losses[0] / losses[1]))
    drawn = []
    for counts in draws.astype(int):
        again = np.repeat(np.arange(90), counts)
        one, other = (
            global_loss(truth[again], values) for values in (prediction[again], np.tile(own, (90, 1)))
        )
        drawn.append(100 * (1 - one / other))
    assert bound == pytest.approx(np.quantile(drawn, 0.05))


def test_all_sets_count_together_and_the_sentence_says_what_was_done():
    truth, prediction = test_set(160, 0.3)
    groups = {"public": (truth[:40], prediction[:40]), "private": (truth[40:], prediction[40:])}
    words = require_lower_bound(groups, CONSTANTS, 5)
    _, bound, _ = gain_over_constants(truth, prediction, CONSTANTS, draw_studies(160))
    for part in (
        "public and private together, 160 studies",
        f"lower bound {bound:.1f} %",
        "seed of the draws 2022",
    ):
        assert part in words


def test_a_gain_that_is_not_certain_is_refused():
    truth, prediction = test_set(12, 0.15)
    with pytest.raises(InputError, match="expected a bound above 40 %; train longer"):
        require_lower_bound({"public": (truth, prediction)}, CONSTANTS, 40)


def test_a_model_that_knows_nothing_never_passes_and_a_good_one_always():
    for skill, expected in ((0.0, 0.0), (0.5, 1.0)):
        truth, prediction = test_set(80, skill)
        assert share_that_passes(truth, prediction, CONSTANTS, 5, sets=20) == expected
