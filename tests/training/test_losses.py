import numpy as np
import pytest
import torch

from cspine.competition.labels import PUBLISHED, WEIGHTS
from cspine.competition.metric import global_loss
from cspine.training.losses import competition_loss, locator_loss, slice_loss


def test_competition_loss_is_the_metric_up_to_the_expected_weight():
    random = np.random.default_rng(0)
    truth = (random.random((50, 8)) < 0.3).astype(float)
    logits = random.normal(size=(50, 8))
    loss = competition_loss(torch.tensor(logits), torch.tensor(truth)).item()
    weights = np.where(truth > 0, WEIGHTS[1], WEIGHTS[0])
    rates = PUBLISHED["train"].rates()
    expected = 50 * (WEIGHTS[0] * (1 - rates) + WEIGHTS[1] * rates).sum()
    wanted = global_loss(truth, 1 / (1 + np.exp(-logits))) * weights.sum() / expected
    assert abs(loss - wanted) < 1e-12


def test_competition_loss_is_least_at_2q_over_1_plus_q():
    truth = torch.zeros(100, 8, dtype=torch.float64)
    truth[:30] = 1
    best = 2 * 0.3 / 1.3
    losses = [competition_loss(torch.full((100, 8), float(np.log(p / (1 - p))), dtype=torch.float64), truth).item()
              for p in (best - 0.02, best, best + 0.02)]  # fmt: skip
    assert losses[1] < losses[0] and losses[1] < losses[2]


def test_competition_loss_leaves_out_levels_of_unknown_state():
    logits, truth = torch.randn(3, 8), (torch.rand(3, 8) < 0.5).float()
    unknown = truth.clone()
    unknown[1, 5:7] = torch.nan
    found = competition_loss(logits, truth) - competition_loss(logits, unknown)
    single = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    left_out = (single * torch.where(truth > 0.5, 2.0, 1.0))[1, 5:7].sum()
    zero = competition_loss(torch.zeros(1, 8), torch.zeros(1, 8))  # 14 weights of ln 2 over what is expected
    assert found.item() == pytest.approx(float(left_out / 3 * zero / (14 * np.log(2))), rel=1e-4)
    logits.requires_grad_()
    competition_loss(logits, unknown).backward()
    assert logits.grad.isfinite().all() and not logits.grad[1, 5:7].any()


def test_slice_loss_ignores_unknown_slices():
    logits = torch.tensor([[[2.0, -1.0, 5.0]]])
    known = slice_loss(logits[..., :2], torch.tensor([[[1.0, 0.0]]]))
    some = slice_loss(logits, torch.tensor([[[1.0, 0.0, float("nan")]]]))
    assert torch.allclose(known, some)
    assert slice_loss(logits, torch.full_like(logits, float("nan"))).item() == 0


def test_slice_loss_gradient_is_finite_with_unknown_slices():
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    slice_loss(logits, torch.tensor([[[float("nan"), 1.0]]])).backward()
    assert logits.grad.isfinite().all() and logits.grad[0, 0, 0] == 0 and logits.grad[0, 0, 1] < 0


def test_locator_loss_is_nearly_zero_for_the_truth_and_large_for_another_label():
    labels = torch.randint(0, 9, (1, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    right = torch.nn.functional.one_hot(labels, 9).movedim(-1, 1).float() * 40
    assert locator_loss(right, labels).item() < 1e-3
    assert locator_loss(right, (labels + 1) % 9).item() > 1
