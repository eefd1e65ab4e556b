import pytest
import torch

from cspine.networks.locator import CLASSES, Locator, grey_values
from cspine.settings.networks import LocatorSettings

SMALL = LocatorSettings(spacing_mm=4.0, channels=(4, 8, 16), window_vox=(16, 16, 16), pretrained=False)
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
    hu = torch.tensor([-3000.0, -600, 400, 900, 1400, 3000])
    assert grey_values(hu, SMALL).tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_where_in_the_scan_a_voxel_lies_plays_no_part():
    """The same neighbourhood gives the same answer anywhere: nothing tells the network its place."""
    model = make(3)
    for module in model.modules():
        if isinstance(module, torch.nn.InstanceNorm3d):  # its statistics are those of the whole window
            module.track_running_stats, module.running_mean, module.running_var = (
                True, torch.zeros(module.num_features), torch.ones(module.num_features),
            )  # fmt: skip
    ball = torch.zeros(1, 1, 96, 64, 64)
    ball[0, 0, 28:36, 28:36, 28:36] = 1
    moved = ball.roll((32,), dims=(2,))
    first, second = model(ball), model(moved)
    middle = (slice(None), slice(None), slice(24, 40), slice(24, 40), slice(24, 40))
    there = (slice(None), slice(None), slice(56, 72), slice(24, 40), slice(24, 40))
    torch.testing.assert_close(first[middle], second[there], atol=1e-3, rtol=1e-3)
