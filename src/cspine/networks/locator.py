"""Where are C1-C7? A 3D U-Net that labels every voxel of a small volume."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cspine.networks.precision import autocast
from cspine.preprocessing.masks import largest_components
from cspine.settings.networks import LocatorSettings

CLASSES = 9
"""Background, C1-C7, and the thoracic vertebrae as an eighth level."""


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
    """Volume float (batch, 1, z, y, x) in [-1, 1] -> logits (batch, 9, z, y, x); any size.

    The vertebrae are numbered, so the network says where on the scale from C1 to the thorax a voxel lies, and
    how sure it is: the logit of level k is bone - sharpness * (level - k)^2, background is 0. A voxel that is
    three levels off is then pulled harder than one that is next door, and a few dozen masks are enough. It
    sees each voxel's coordinates in the volume as three more channels (CoordConv: Liu et al., NeurIPS 2018,
    arXiv:1807.03247).
    """

    def __init__(self, settings: LocatorSettings):
        super().__init__()
        self.settings = settings
        widths = settings.channels
        self.down = nn.ModuleList(
            _Block(4 if n == 0 else widths[n - 1], width, stride=settings.stem_stride if n == 0 else 2)
            for n, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _Block(widths[n] + widths[n - 1], widths[n - 1]) for n in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv3d(widths[0] + 1, 3, 3, padding=1)
        self.register_buffer("numbers", torch.arange(1.0, CLASSES).reshape(1, -1, 1, 1, 1), persistent=False)

    def forward(self, volume: Tensor) -> Tensor:
        """Give every voxel its logits; see the class.

        Parameters
        ----------
        volume : Tensor of float, shape (batch, 1, z, y, x)
            In [-1, 1], of any size.

        Returns
        -------
        Tensor of float32, shape (batch, 9, z, y, x)
            Logits of background, C1-C7 and thoracic.
        """
        levels = []
        features = torch.cat([volume, self._coordinates(volume)], dim=1)
        features = features.contiguous(memory_format=torch.channels_last_3d)
        for block in self.down:
            features = block(features)
            levels.append(features)
        for block, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            features = block(torch.cat([_scaled_to(skip, features), skip], dim=1))
        if features.shape[2:] != volume.shape[2:]:
            features = _scaled_to(volume, features)
        bone, level, sharpness = self.head(torch.cat([features, volume], dim=1)).float().split(1, dim=1)
        level = CLASSES / 2 + CLASSES / 2 * level
        distance = (functional.softplus(sharpness) + 0.3) * (level - self.numbers).square()
        bone = bone - 2  # most voxels are background: start near their share
        return torch.cat([torch.zeros_like(bone), bone - distance], dim=1)

    def _coordinates(self, volume: Tensor) -> Tensor:
        """Distance from the volume's centre along z, y and x in decimetres: float (batch, 3, z, y, x)."""
        steps = [torch.arange(n, device=volume.device) - (n - 1) / 2 for n in volume.shape[2:]]
        grid = torch.stack(torch.meshgrid(*steps, indexing="ij")) * (self.settings.spacing_mm / 100)
        return grid.to(volume.dtype).expand(len(volume), -1, -1, -1, -1)


def _scaled_to(like: Tensor, features: Tensor) -> Tensor:
    """Features at the size (z, y, x) of another tensor."""
    return functional.interpolate(features, size=like.shape[2:], mode="trilinear", align_corners=False)


def locator_input(hu: np.ndarray, settings: LocatorSettings) -> Tensor:
    """Map HU through the fixed window to what the locator sees.

    Parameters
    ----------
    hu : ndarray of any real dtype, shape (z, y, x)
        Hounsfield units.
    settings : LocatorSettings
        The window.

    Returns
    -------
    Tensor of float32, shape (1, z, y, x)
        In [-1, 1].
    """
    values = torch.from_numpy(np.asarray(hu, dtype=np.float32))
    return ((values - settings.window_level_hu) / (settings.window_width_hu / 2)).clamp_(-1, 1)[None]


@torch.inference_mode()
def label_map(locators: list[Locator], hu: np.ndarray, device: torch.device) -> np.ndarray:
    """Label a small volume with the mean of several locators.

    Parameters
    ----------
    locators : list of Locator
        At least one.
    hu : ndarray of int16, shape (z, y, x)
        Hounsfield units at the locators' spacing.
    device : torch.device
        Where the locators are.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        0 background, 1-7 = C1-C7, 8 thoracic; of each of C1-C7 the largest component.
    """
    first, *others = locators
    total = _probability(first, hu, device)
    for locator in others:
        total = total + _probability(locator, hu, device)
    return largest_components(total[0].argmax(dim=0).to(torch.uint8).cpu().numpy())


def _probability(locator: Locator, hu: np.ndarray, device: torch.device) -> Tensor:
    """How sure one locator is of each class in each voxel: float32 (1, 9, z, y, x)."""
    volume = locator_input(hu, locator.settings)[None].to(device)
    with autocast(device):
        return locator(volume).float().softmax(dim=1)
