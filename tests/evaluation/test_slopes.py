import numpy as np
import pytest
from scipy import optimize

from cspine.competition.metric import global_loss
from cspine.evaluation.slopes import RIDGE, fit_slopes


def drawn(runs: int, studies: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of several runs that see the same thing with noise of their own, and the truth."""
    random = np.random.default_rng(seed)
    truth = (random.random((studies, 8)) < 0.3).astype(np.float64)
    return 2 * truth - 1.5 + random.normal(size=(runs, studies, 8)), truth


@pytest.mark.parametrize("runs", [1, 3])
def test_the_fit_is_the_metrics_minimum(runs):
    """Against a search that knows nothing but the metric itself."""
    logits, truth = drawn(runs, 150)

    def cost(parameters):
        level, overall, biases = parameters[:runs], parameters[runs : 2 * runs], parameters[2 * runs :]
        straight = np.empty((150, 8))
        for column in range(8):
            slopes = level if column < 7 else overall
            straight[:, column] = biases[column] + sum(slopes[r] * logits[r, :, column] for r in range(runs))
        start = np.array([1 / runs] * (2 * runs) + [0.0] * 8)
        pull = RIDGE / 150 * ((parameters - start) ** 2).sum()
        return global_loss(truth, 1 / (1 + np.exp(-straight))) + pull

    slopes, biases = fit_slopes(logits, truth)
    found = np.concatenate([slopes[0], slopes[1], biases])
    bounds = [(0, 5)] * (2 * runs) + [(-5, 5)] * 8
    search = optimize.minimize(cost, found + 0.05, method="L-BFGS-B", bounds=bounds)
    assert cost(found) <= search.fun + 1e-9
    np.testing.assert_allclose(search.x, found, atol=2e-3)


def test_a_run_that_only_harms_gets_nothing():
    logits, truth = drawn(2, 4000)
    logits[1] = -logits[0] + 0.1 * np.random.default_rng(1).normal(size=truth.shape)
    slopes, _ = fit_slopes(logits, truth)
    assert slopes[:, 1] == pytest.approx([0, 0], abs=1e-6) and (slopes[:, 0] > 1).all()


def test_columns_without_a_fracture_stay_within_bounds():
    slopes, biases = fit_slopes(np.zeros((1, 60, 8)), np.zeros((60, 8)))
    assert np.isfinite(slopes).all() and (np.abs(biases) <= 5).all() and (biases < 0).all()
