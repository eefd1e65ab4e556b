import io
from dataclasses import replace

import numpy as np
import pytest
from helpers.hand_made import column
from matplotlib import colors
from PIL import Image

from cspine.competition.labels import LEVELS
from cspine.evaluation import figures, study_picture

VALUES = np.array([0.1, 0.9, 0.2, 0.1, 0.6, 0.1, 0.1, 0.95])
TRUTH = np.array([0, 1, 0, 0, 0, 0, 0, 1])


def decoded(figure) -> np.ndarray:
    """The pixels of the PNG that a figure becomes."""
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def test_a_study_picture_shows_the_true_level_and_the_likeliest_other():
    figure = study_picture.study_picture(column((2,)), VALUES, TRUTH, title="a study")
    pixels = decoded(figure)
    assert pixels.shape[0] > 200 and pixels.shape[1] > 600 and pixels.std() > 20
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[3] == f"C2: {0.9 / 1.1:.2f}, fractured\nannotated slice, box dashed"
    assert titles[4] == f"C5: {0.6 / 1.4:.2f}, whole\nmiddle"
    assert figure.get_suptitle() == "a study"
    names = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert set(names) == set(LEVELS) - {"C2"} | {"C2 ×"}
    assert names["C2 ×"] == figures.FRACTURED and figures.FRACTURED not in [
        names[n] for n in names if n != "C2 ×"
    ]
    bars = figure.axes[2].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(VALUES / (2 - VALUES))
    red = colors.to_rgba(figures.FRACTURED)
    assert [bar.get_facecolor() == red for bar in bars] == [bool(there) for there in TRUTH]
    assert [bar.get_hatch() for bar in bars] == ["//" if there else "" for there in TRUTH]
    names = [label.get_text() for label in figure.axes[2].get_yticklabels()]
    assert names[1] == "C2 ×" and names[7] == "overall ×" and names[0] == "C1"
    assert len(figure.axes[3].lines) == 1 and len(figure.axes[4].lines) == 0  # the box of C2
    assert figure.axes[3].lines[0].get_linestyle() == "--"


def test_panels_are_the_pictures_drawings_one_by_one():
    whole = study_picture.study_picture(column((2,)), VALUES, TRUTH)
    panels = study_picture.study_panels(column((2,)), VALUES, TRUTH)
    assert [panel.axes[0].get_title() for panel in panels] == [axes.get_title() for axes in whole.axes]
    assert all(decoded(panel).std() > 10 for panel in panels)


@pytest.mark.parametrize(
    ("truth", "levels"),
    [
        (None, [1, 4]),
        ([0, 0, 0, 0, 0, 0, 0, 0], [1, 4]),
        ([0, 0, 1, 0, 0, 0, 0, 1], [2, 1]),  # the missed one first, then the likeliest
        ([0, 1, 1, 0, 0, 0, 0, 1], [2, 1]),  # both true ones, the lower first
        ([1, 1, 1, 0, 0, 0, 0, 1], [0, 2]),
    ],
)
def test_true_levels_are_shown_before_likely_ones(truth, levels):
    values = np.array([0.1, 0.9, 0.2, 0.1, 0.6, 0.1, 0.1, 0.95])
    assert study_picture.levels_to_show(values, None if truth is None else np.array(truth)) == levels


def test_the_slice_that_decided_is_shown_and_a_box_only_where_it_lies():
    neck = column((2,))
    box = neck.boxes[neck.boxes[:, 0] == 2][0]
    decided = np.array([(extent.top_mm + extent.bottom_mm) / 2 for extent in neck.extents])
    decided[1] = box[1] + 20
    away = study_picture.study_picture(neck, VALUES, TRUTH, decided_mm=decided)
    assert away.axes[3].get_title().endswith("slice that decided, boxes elsewhere") and not away.axes[3].lines
    decided[1] = box[1]
    here = study_picture.study_picture(neck, VALUES, TRUTH, decided_mm=decided)
    assert here.axes[3].get_title().endswith("slice that decided, box dashed")


def test_a_box_that_leaves_the_image_is_drawn_inside_it():
    neck = column((2,))
    boxes = neck.boxes.copy()
    boxes[boxes[:, 0] == 2, 2:] = [-50, -20, 1e4, 1e4]
    figure = study_picture.study_picture(replace(neck, boxes=boxes), VALUES, TRUTH)
    axes = figure.axes[3]
    width, height = (neck.image.shape[axis] * neck.spacing_mm[axis] for axis in (2, 1))
    assert axes.lines[0].get_xdata().min() == 0 and axes.lines[0].get_xdata().max() == width
    assert axes.lines[0].get_ydata().max() == height and axes.get_xlim() == (0, width)


def test_a_study_picture_without_truth_claims_none():
    figure = study_picture.study_picture(column((2,)), VALUES)
    decoded(figure)
    assert not any("fractured" in axes.get_title() or "whole" in axes.get_title() for axes in figure.axes)
    assert {text.get_text() for text in figure.axes[0].texts} == set(LEVELS)


def test_grey_pictures_show_the_fixed_window():
    figure = study_picture.study_picture(column(), VALUES)
    limits = {image.get_clim() for axes in figure.axes for image in axes.images}
    assert limits == {(0, 255)}
