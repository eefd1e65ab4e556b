"""Settings of the column and of the vertebra stacks cut out of it."""

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class ColumnSettings:
    """How the column is cut and stored."""

    spacing_mm: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Voxel size (z, y, x)."""
    margin_mm: tuple[float, float, float] = (8.0, 12.0, 12.0)
    """Surroundings kept on every side of the C1-C7 box, for shifts at training time."""
    window_level_hu: float = 400.0
    window_width_hu: float = Field(2000.0, gt=0)


@dataclass(frozen=True, config=STRICT)
class StackSettings:
    """How many slices of a vertebra are shown, and how."""

    slices: int = Field(15, ge=1)
    """Slices a vertebra, evenly spread from its top to its bottom."""
    neighbours: int = Field(2, ge=0)
    """Slices shown above and below each slice, as further channels."""
    neighbour_mm: float = Field(1.0, gt=0)
    """Distance from a slice to its next neighbour."""
    crop_mm: float = Field(96.0, gt=0)
    """Side of the square that is cut around a vertebra's centre."""
    image_px: int = Field(256, ge=16)
    """Side of that square in pixels."""

    @property
    def channels(self) -> int:
        """Channels a slice: the slice with its neighbours, and the mask."""
        return 2 * self.neighbours + 2
