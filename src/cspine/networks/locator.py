"""Where are C1-C7? A 3D U-Net that labels every voxel of a small volume."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cspine.settings.networks import LocatorSettings

CLASSES = 9
"""Background, C1-C7, and the thoracic vertebrae as an eighth level."""
AIR_HU = -1000.0


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
    """Volume float (batch, 1, z, y, x) in [0, 1] -> logits (batch, 9, z, y, x); any size.

    The vertebrae are numbered, so the network says where on the scale from C1 to the thorax a voxel lies, and
    how sure it is: the logit of level k is bone - sharpness * (level - k)^2, background is 0. A voxel that is
    three levels off is then pulled harder than one that is next door, and a few dozen masks are enough. It is
    told nothing of where in the scan a voxel lies: what a scan shows differs too much.
    """

    def __init__(self, settings: LocatorSettings):
        super().__init__()
        self.settings = settings
        widths = settings.channels
        self.down = nn.ModuleList(
            _Block(1 if n == 0 else widths[n - 1], width, stride=settings.stem_stride if n == 0 else 2)
            for n, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _Block(widths[n] + widths[n - 1], widths[n - 1]) for n in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv3d(widths[0], 3, 3, padding=1)
        self.edge = nn.Conv3d(1, 3, 3, padding=1)
        self.register_buffer("numbers", torch.arange(1.0, CLASSES).reshape(1, -1, 1, 1, 1), persistent=False)

    def forward(self, volume: Tensor) -> Tensor:
        """Give every voxel its logits; see the class.

        Parameters
        ----------
        volume : Tensor of float, shape (batch, 1, z, y, x)
            Grey values in [0, 1], of any size.

        Returns
        -------
        Tensor of float32, shape (batch, 9, z, y, x)
            Logits of background, C1-C7 and thoracic.
        """
        levels = []
        features = volume.contiguous(memory_format=torch.channels_last_3d)
        for block in self.down:
            features = block(features)
            levels.append(features)
        for block, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            features = block(torch.cat([_scaled_to(skip, features), skip], dim=1))
        # scaled up when it is three channels, not many: the same at a fraction of the work
        found = _scaled_to(volume, self.head(features).float()) + self.edge(volume).float()
        bone, level, sharpness = found.split(1, dim=1)
        level = CLASSES / 2 + CLASSES / 2 * level
        distance = (functional.softplus(sharpness) + 0.3) * (level - self.numbers).square()
        bone = bone - 2  # most voxels are background: start near their share
        return torch.cat([torch.zeros_like(bone), bone - distance], dim=1)


def _scaled_to(like: Tensor, features: Tensor) -> Tensor:
    """Features at the size (z, y, x) of another tensor."""
    return functional.interpolate(features, size=like.shape[2:], mode="trilinear", align_corners=False)


def grey_values(hu: Tensor, settings: LocatorSettings) -> Tensor:
    """Map HU through the fixed window to what the locator sees.

    Parameters
    ----------
    hu : Tensor of float, any shape
        Hounsfield units.
    settings : LocatorSettings
        The window.

    Returns
    -------
    Tensor of float, shape as `hu`
        In [0, 1]; air is 0, as is everything outside of a scan.
    """
    low = settings.window_level_hu - settings.window_width_hu / 2
    return ((hu - low) / settings.window_width_hu).clamp(0, 1)
