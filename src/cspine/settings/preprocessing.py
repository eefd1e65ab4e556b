"""Settings of the column and of the vertebra stacks cut out of it."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT

Millimetres = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class ColumnSettings:
    """How the column is cut and stored."""

    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] = (0.5, 0.5, 0.5)
    """Voxel size (z, y, x)."""
    margin_mm: tuple[float, float, float] = (8.0, 12.0, 12.0)
    """Surroundings kept on every side of the C1-C7 box, for shifts at training time."""
    window_level_hu: float = 400.0
    window_width_hu: Annotated[float, Field(gt=0)] = 2000.0

    @property
    def window_name(self) -> str:
        """The window as radiologists write it, for pictures: L400 W2000."""
        return f"L{self.window_level_hu:g} W{self.window_width_hu:g}"


@dataclass(frozen=True, config=STRICT)
class StackSettings:
    """How many slices of a vertebra are shown, and how."""

    slices: Annotated[int, Field(ge=1)] = 15
    """Slices a vertebra, evenly spread from its top to its bottom."""
    neighbours: Annotated[int, Field(ge=0)] = 2
    """Slices shown above and below each slice, as further channels."""
    neighbour_mm: Millimetres = 1.0
    """Distance from a slice to its next neighbour."""
    crop_mm: Millimetres = 96.0
    """Side of the square that is cut around a vertebra's centre."""
    image_px: Annotated[int, Field(ge=16)] = 256
    """Side of that square in pixels."""

    @property
    def channels(self) -> int:
        """Channels a slice: the slice with its neighbours, and the mask."""
        return 2 * self.neighbours + 2
