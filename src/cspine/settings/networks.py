"""Settings of the two networks."""

from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class LocatorSettings:
    """The 3D U-Net that finds C1-C7 in a small volume."""

    spacing_mm: Annotated[float, Field(gt=0)] = 3.0
    """Voxel size of the small volume, the same on all axes."""
    channels: Annotated[tuple[int, ...], Field(min_length=1)] = (16, 32, 64, 128)
    """Channels a level of the U-Net; each level halves the resolution."""
    stem_stride: Annotated[int, Field(ge=1, le=4)] = 2
    """The first block's stride; its features are scaled up to the volume's voxels at the end."""
    window_vox: tuple[int, int, int] = (72, 56, 56)
    """The box (z, y, x) that it sees at once, in training as at inference; larger scans are searched."""
    window_level_hu: float = 400.0
    window_width_hu: Annotated[float, Field(gt=0)] = 2000.0
    pretrained: bool = True
    """Start from the weights that come with the kit, which learnt on replicas alone."""


@dataclass(frozen=True, config=STRICT)
class ClassifierSettings:
    """The network that looks at the seven vertebra stacks of a study."""

    encoder: str = "tf_efficientnetv2_s.in21k_ft_in1k"
    """Any timm model that takes images and gives a feature vector."""
    encoder_options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of timm.create_model."""
    pretrained: bool = True
    """Start the encoder from timm's weights."""
    hidden: Annotated[int, Field(ge=8, multiple_of=2)] = 256
    """Width of the sequence model in each direction; even, for the four heads of the attention."""
    context_layers: Annotated[int, Field(ge=0)] = 2
    """Transformer layers over the seven levels and the patient."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the samples for which a residual branch of the encoder is left out, rising to this at its end."""
