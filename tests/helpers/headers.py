"""Headers made by hand, without files, for what is decided from positions and directions alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cspine.dicom.header import Series, SliceHeader

PLAIN = SliceHeader(
    file=Path("1.dcm"),
    number=1,
    series=Series("1.2.3", "", ""),
    localizer=False,
    position_mm=(-20.0, -30.0, 100.0),
    row_cosines=(1.0, 0.0, 0.0),
    column_cosines=(0.0, 1.0, 0.0),
    spacing_mm=(0.5, 0.75),
    rows=3,
    columns=4,
    samples=1,
    photometric="MONOCHROME2",
    bits_allocated=16,
    bits_stored=16,
    high_bit=15,
    signed=True,
    padding=None,
    padding_limit=None,
    slope=1.0,
    intercept=0.0,
    rescaled=True,
    syntax="1.2.840.10008.1.2.1",
    bare=False,
    data_start=0,
    data_length=24,
)


def header(number: int, z_mm: float, y_mm: float = -30.0, x_mm: float = -20.0, **fields: Any) -> SliceHeader:
    """A slice at a position, with a number and a file of that name."""
    return replace(PLAIN, file=Path(f"{number}.dcm"), number=number, position_mm=(x_mm, y_mm, z_mm), **fields)


def stack(heights_mm: list[float] | np.ndarray, first: int = 1, **fields: Any) -> list[SliceHeader]:
    """Slices at these heights, numbered one after the other."""
    return [header(first + n, float(z_mm), **fields) for n, z_mm in enumerate(heights_mm)]
