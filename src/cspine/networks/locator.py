"""Where are C1-C7? A 3D U-Net that labels every voxel of a small volume."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cspine.networks.settings import LocatorSettings
from cspine.scans.masks import largest_components

CLASSES = 9
"""Background, C1-C7, and the thoracic vertebrae as one."""


class _Block(nn.Sequential):
    """Two convolutions, each with instance norm: batches are one or two volumes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )


class Locator(nn.Module):
    """Volume float (batch, 1, z, y, x) in [-1, 1] -> logits (batch, 9, z, y, x); any size."""

    def __init__(self, settings: LocatorSettings):
        super().__init__()
        self.settings = settings
        widths = settings.channels
        self.down = nn.ModuleList(
            _Block(1 if n == 0 else widths[n - 1], width, stride=1 if n == 0 else 2)
            for n, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _Block(widths[n] + widths[n - 1], widths[n - 1]) for n in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv3d(widths[0], CLASSES, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """Logits of every voxel; see the class."""
        levels = []
        features = volume
        for block in self.down:
            features = block(features)
            levels.append(features)
        for block, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            features = functional.interpolate(
                features, size=skip.shape[2:], mode="trilinear", align_corners=False
            )
            features = block(torch.cat([features, skip], dim=1))
        return self.head(features)


def locator_input(hu: np.ndarray, settings: LocatorSettings) -> Tensor:
    """HU (z, y, x) through the fixed window: float32 (1, z, y, x) in [-1, 1]."""
    values = torch.from_numpy(np.asarray(hu, dtype=np.float32))
    return ((values - settings.window_level_hu) / (settings.window_width_hu / 2)).clamp_(-1, 1)[None]


@torch.inference_mode()
def label_map(
    locators: list[Locator], hu: np.ndarray, device: torch.device, precision: torch.dtype
) -> np.ndarray:
    """Label a small volume with the mean of several locators.

    hu: int16 (z, y, x) at the locators' spacing. Returns uint8 (z, y, x): 0 background, 1-7 = C1-C7,
    8 thoracic; of every level the largest component.
    """
    total = None
    for locator in locators:
        volume = locator_input(hu, locator.settings)[None].to(device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            probability = locator(volume).float().softmax(dim=1)
        total = probability if total is None else total + probability
    return largest_components(total[0].argmax(dim=0).to(torch.uint8).cpu().numpy())
