"""Figures that are laid out in pixels, from the top left, and written as they are laid out."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cspine import storage
from cspine.errors import InputError

TEXT_PX, SMALL_PX = 21, 20
INK, GREY = "#222222", "#555555"


def blank_figure(size_px: tuple[int, int]) -> Figure:
    """A white figure of so many pixels (width, height); one point is one pixel."""
    return Figure(figsize=(size_px[0] / 72, size_px[1] / 72), dpi=72, facecolor="white")


def axes_at(figure: Figure, panel: tuple[int, int, int, int]) -> Axes:
    """Black axes without ticks at (left, top, width, height)."""
    width, height = figure.bbox.width, figure.bbox.height
    left, top, across, down = panel
    place = (left / width, 1 - (top + down) / height, across / width, down / height)
    axes = figure.add_axes(place, facecolor="black")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def write_text(figure: Figure, left: float, top: float, text: str, size_px: float, **options: Any) -> None:
    """Text whose middle line is `top` pixels below the upper edge."""
    options = {"ha": "left", "va": "center", "color": INK, **options}
    figure.text(left / figure.bbox.width, 1 - top / figure.bbox.height, text, fontsize=size_px, **options)


def write_picture(path: Path, figure: Figure, most_bytes: int) -> None:
    """Write a figure as a PNG, pixel by pixel as it was laid out, grey if it has no colour.

    Parameters
    ----------
    path : Path
        The file; whole or absent.
    figure : Figure
        What is drawn.
    most_bytes : int
        A page that loads quickly has no room for more.

    Raises
    ------
    InputError
        If the file would be larger.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    if not np.ptp(pixels, axis=2).any():
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", optimize=True)
    size = len(buffer.getvalue())
    if size > most_bytes:
        raise InputError(f"{path}: {size} bytes; expected at most {most_bytes}; choose another study or seed")
    storage.write_bytes(path, buffer.getvalue())
