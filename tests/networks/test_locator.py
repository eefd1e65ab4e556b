import numpy as np
import pytest
import torch

from cspine.networks import precision
from cspine.networks.locator import CLASSES, Locator, label_map, locator_input
from cspine.settings.networks import LocatorSettings

SMALL = LocatorSettings(spacing_mm=4.0, channels=(4, 8, 16), crop_vox=(16, 16, 16))
CPU = torch.device("cpu")


def make(seed=0):
    torch.manual_seed(seed)
    return Locator(SMALL).eval()


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 21, 19), (40, 9, 11)])
def test_any_size_comes_back(size):
    assert make()(torch.zeros(2, 1, *size)).shape == (2, CLASSES, *size)


def test_every_parameter_learns():
    model = make().train()
    volume = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 9, (1, 16, 16, 16), generator=torch.Generator().manual_seed(1))
    torch.nn.functional.cross_entropy(model(volume), labels).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


def test_input_window():
    hu = np.array([[[-3000, -600, 400, 900, 1400, 3000]]], np.int16)
    assert locator_input(hu, SMALL)[0, 0, 0].tolist() == [-1, -1, 0, 0.5, 1, 1]
    assert locator_input(hu, SMALL).shape == (1, 1, 1, 6)


class Fixed(torch.nn.Module):
    """Stands in for a trained locator: the same answer whatever it is shown."""

    def __init__(self, logits):
        super().__init__()
        self.settings, self.logits = SMALL, logits

    def forward(self, volume):
        return self.logits


def test_label_map_is_the_mean_of_probabilities():
    """One locator is sure of C2, two lean to C1: on average C2."""
    sure, leaning = torch.zeros(1, 9, 4, 4, 4), torch.zeros(1, 9, 4, 4, 4)
    sure[:, 2], leaning[:, 1] = 20, 0.5
    hu = np.zeros((4, 4, 4), np.int16)
    labels = label_map([Fixed(sure), Fixed(leaning), Fixed(leaning)], hu, CPU)
    assert labels.dtype == np.uint8 and labels.shape == (4, 4, 4) and (labels == 2).all()
    assert (label_map([Fixed(leaning)], hu, CPU) == 1).all()


def test_label_map_keeps_the_largest_piece_of_a_level():
    logits = torch.zeros(1, 9, 8, 4, 4)
    logits[:, 0] = 1
    logits[:, 3, :3], logits[:, 3, 7] = 5, 5
    logits[:, 8, 4], logits[:, 8, 6, 0, 0] = 5, 5
    labels = label_map([Fixed(logits)], np.zeros((8, 4, 4), np.int16), CPU)
    assert (labels[:3] == 3).all() and not (labels[7] == 3).any()
    assert (labels[4] == 8).all() and labels[6, 0, 0] == 8  # thoracic vertebrae are several


def test_label_map_of_a_real_network(monkeypatch):
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.bfloat16)
    hu = np.random.default_rng(0).integers(-1000, 1500, (24, 20, 18)).astype(np.int16)
    labels = label_map([make(1), make(2)], hu, CPU)
    assert labels.shape == hu.shape and labels.max() <= 8
