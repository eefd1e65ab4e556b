from dataclasses import replace

import numpy as np
import pytest
from helpers.hand_made import AIR_HU, BONE_HU, HEIGHT_MM, STEP_MM, box_mm, neck, start_mm

from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.execution.store import StudyStore
from cspine.preprocessing.boxes import boxes_with_levels
from cspine.preprocessing.column import Column, cut_column, locate_levels
from cspine.preprocessing.resampling import window
from cspine.preprocessing.verdict import Kind, Verdict
from cspine.settings.preprocessing import ColumnSettings

SETTINGS = ColumnSettings()


def corner_mm(labels, affine, settings=SETTINGS):
    """Where the column begins, mm from the scan's first voxel: the outer faces of C1-C7 less the margin."""
    index = np.argwhere((labels > 0) & (labels < 8)).min(axis=0)
    step = np.abs(np.diag(affine)[:3])
    return np.maximum((index - 0.5) * step + start_mm(affine) - settings.margin_mm, 0)


def mark(volume, index):
    """The volume, all air but for one bright block of 3 x 3 x 3 voxels around an index."""
    hu = np.full_like(volume.hu, AIR_HU)
    hu[tuple(slice(i - 1, i + 2) for i in index)] = 1400
    return replace(volume, hu=hu)


def middle_mm(image, spacing_mm):
    """Centre of mass in mm from the first voxel."""
    weights = image.astype(float)
    return np.array([(axis * weights).sum() / weights.sum() for axis in np.indices(image.shape)]) * spacing_mm


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.5, 0.4), (0.4, 0.7, 0.9)])
@pytest.mark.parametrize("mark_mm", [(40.0, 50.0, 40.0), (100.0, 60.0, 33.0)])
def test_a_mark_stays_where_it_is(spacing_mm, mark_mm):
    volume, labels, affine = neck(spacing_mm)
    index = np.rint(np.array(mark_mm) / spacing_mm).astype(int)
    column = cut_column(mark(volume, index), labels, affine, SETTINGS)
    wanted = index * spacing_mm - corner_mm(labels, affine)
    assert np.abs(middle_mm(column.image, column.spacing_mm) - wanted).max() < 0.06


def test_a_box_lies_where_its_mark_is():
    volume, labels, affine = neck()
    z, y, x = 60, 100, 90
    box = np.array([[3, z, y - 1, x - 1, y + 1, x + 1]])
    column = cut_column(mark(volume, (z, y, x)), labels, affine, SETTINGS, box)
    level, height, top, left, bottom, right = column.boxes[0]
    found = middle_mm(column.image, column.spacing_mm)
    assert level == 3
    assert np.abs(found - [height, (top + bottom) / 2, (left + right) / 2]).max() < 0.06
    assert bottom - top == pytest.approx(2 * 0.5) and right - left == pytest.approx(2 * 0.4)
    assert box[0, 1] == z  # what was handed in is left alone


def test_labels_lie_on_the_image():
    volume, labels, affine = neck((0.5, 0.5, 0.5), label_mm=1.0)
    column = cut_column(volume, labels, affine, SETTINGS)
    bone = middle_mm(column.image > 100, column.spacing_mm)
    labelled = middle_mm(column.labels > 0, column.label_spacing_mm) + column.label_origin_mm
    assert np.abs(bone - labelled).max() < 0.5
    index = np.argwhere(column.labels > 0)
    pixels = (index * column.label_spacing_mm + column.label_origin_mm) / column.spacing_mm
    assert (column.image[tuple(np.rint(pixels).astype(int).T)] > 100).mean() > 0.95


def test_extents_are_the_vertebrae():
    volume, labels, affine = neck()
    column = cut_column(volume, labels, affine, SETTINGS)
    low = corner_mm(labels, affine)
    errors = []
    for level, extent in enumerate(column.extents, start=1):
        first, last = (corner - low for corner in box_mm(level))
        errors.append([extent.top_mm - first[0], extent.bottom_mm - last[0]])
        assert abs(extent.centre_y_mm - (first[1] + last[1]) / 2) < 1.01
        assert abs(extent.centre_x_mm - (first[2] + last[2]) / 2) < 1.01
    assert np.abs(errors).max() < 1.01  # half a voxel of the label map
    heights = [extent.bottom_mm - extent.top_mm for extent in column.extents]
    # From outer face to outer face: no voxel is lost at either end.
    assert np.mean(heights) == pytest.approx(HEIGHT_MM, abs=0.6)


def test_an_oblique_scan_gives_the_same_column():
    volume, labels, affine = neck()
    turn = np.radians(17)
    around = np.eye(4)
    around[:3, :3] = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    straight = cut_column(volume, labels, affine, SETTINGS)
    oblique = cut_column(replace(volume, affine=around @ volume.affine), labels, around @ affine, SETTINGS)
    assert (straight.image == oblique.image).mean() > 0.999
    assert np.allclose(straight.label_origin_mm, oblique.label_origin_mm, atol=1e-6)


def test_a_missing_level_is_placed_between_its_neighbours():
    volume, labels, affine = neck()
    whole = cut_column(volume, labels, affine, SETTINGS)
    column = cut_column(volume, np.where(labels == 4, 0, labels).astype(np.uint8), affine, SETTINGS)
    assert column.notes == ("C4 not found, placed from its neighbours",)
    assert abs(column.extents[3].top_mm - whole.extents[3].top_mm) < 2
    assert abs(column.extents[3].centre_y_mm - whole.extents[3].centre_y_mm) < 2


def test_missing_ends_are_extrapolated_and_inside_the_image():
    volume, labels, affine = neck()
    whole = cut_column(volume, labels, affine, SETTINGS)
    without_ends = np.where(np.isin(labels, [1, 6, 7]), 0, labels).astype(np.uint8)
    column = cut_column(volume, without_ends, affine, SETTINGS)
    steps = [column.extents[n + 1].top_mm - column.extents[n].top_mm for n in range(6)]
    assert np.allclose(steps, STEP_MM, atol=1.5)
    assert len(column.notes) == 3
    assert column.image.shape[0] == pytest.approx(whole.image.shape[0], abs=6)
    assert column.extents[6].bottom_mm < column.image.shape[0] * column.spacing_mm[0]


def test_too_few_levels_name_the_study():
    volume, labels, affine = neck()
    with pytest.raises(InputError, match=r"study 1\.2\.3: found 2 cervical vertebrae"):
        cut_column(volume, np.where(labels > 2, 0, labels).astype(np.uint8), affine, SETTINGS)
    with pytest.raises(InputError, match="found 0 cervical"):
        cut_column(volume, np.where(labels > 0, 8, 0).astype(np.uint8), affine, SETTINGS)


def test_the_verdict_goes_along():
    volume, labels, affine = neck()
    doubtful = Verdict(Kind.DOUBTFUL, ("C3 is uncertain (0.60)",), LEVELS[:6])
    column = cut_column(volume, labels, affine, SETTINGS, verdict=doubtful)
    assert column.verdict == doubtful
    assert column.notes == ("label map doubtful: C7 not in view; C3 is uncertain (0.60)",)
    assert Column.load(column.arrays(), column.meta()).verdict == doubtful
    assert cut_column(volume, labels, affine, SETTINGS).verdict.note == ""
    no_neck = Verdict(Kind.NOT_A_NECK, ("2 cervical vertebrae found, at least 3 expected",), LEVELS[:2])
    with pytest.raises(InputError, match=r"^study 1\.2\.3: not a neck: 2 cervical vertebrae found"):
        cut_column(volume, labels, affine, SETTINGS, verdict=no_neck)


def test_a_stray_voxel_does_not_stretch_the_column():
    volume, labels, affine = neck()
    without = np.where(labels == 7, 0, labels).astype(np.uint8)
    stray = without.copy()
    stray[-1, -1, -1] = 7
    clean, column = (cut_column(volume, found, affine, SETTINGS) for found in (without, stray))
    assert column.image.shape == clean.image.shape
    assert column.extents == clean.extents
    assert not (column.labels == 7).any()


def test_levels_out_of_order_are_noted():
    _, labels, _ = neck()
    swapped = labels.copy()
    swapped[labels == 2], swapped[labels == 5] = 5, 2
    assert locate_levels(swapped, (2.0, 2.0, 2.0), "1.2.3")[1] == [
        "levels do not follow each other from head to feet"
    ]
    assert locate_levels(labels, (2.0, 2.0, 2.0), "1.2.3")[1] == []


def test_shrinking_averages():
    """A checkerboard finer than the column's voxels becomes its mean; single samples would be black or white."""
    volume, labels, affine = neck((0.5, 0.5, 0.5))
    odd = np.indices(volume.hu.shape).sum(axis=0) % 2
    board = replace(volume, hu=np.where(odd, -600, 1400).astype(np.int16))
    settings = ColumnSettings(spacing_mm=(1.5, 1.5, 1.5))
    image = cut_column(board, labels, affine, settings).image[2:-2, 2:-2, 2:-2]
    assert image.min() > 110 and image.max() < 145


def test_a_column_at_the_edge_of_the_scan():
    volume, labels, affine = neck(cut_top_mm=18.0)  # C1 begins above the first slice
    hu = volume.hu.copy()
    hu[0] = 1400
    column = cut_column(replace(volume, hu=hu), labels, affine, SETTINGS)
    assert (column.image[0] > 200).all()  # the column's first plane is the scan's first slice
    low = corner_mm(labels, affine)
    assert low[0] == 0
    assert column.extents[0].top_mm == pytest.approx(0, abs=1.5)
    assert column.extents[1].top_mm == pytest.approx(box_mm(2)[0][0] - 18, abs=1.01)
    index = np.argwhere(column.labels == 2).min(axis=0)[0]
    top_mm = index * column.label_spacing_mm[0] + column.label_origin_mm[0]
    assert top_mm == pytest.approx(box_mm(2)[0][0] - 18, abs=2.01)


def test_grey_values_come_through_the_fixed_window():
    volume, labels, affine = neck()
    column = cut_column(volume, labels, affine, SETTINGS)
    assert column.image.dtype == np.uint8
    assert column.image.min() == 0 and column.image.max() == round((BONE_HU + 600) / 2000 * 255)
    hu = np.array([-3000, -600, 400, 1400, 3000])
    values = window(hu, SETTINGS.window_level_hu, SETTINGS.window_width_hu)
    assert values.tolist() == [0, 0, 128, 255, 255]


def test_a_column_survives_the_cache(tmp_path):
    volume, labels, affine = neck()
    box = np.array([[3, 60, 90, 80, 110, 99]])
    column = cut_column(replace(volume, notes=("mended",)), labels, affine, SETTINGS, box)
    store = StudyStore(tmp_path, {"spacing_mm": 0.5})
    store.write(column.study, column.arrays(), column.meta())
    again = Column.load(*store.read(column.study))
    for name in ("image", "labels", "boxes"):
        assert (getattr(again, name) == getattr(column, name)).all()
        assert getattr(again, name).dtype == getattr(column, name).dtype
    for name in ("study", "spacing_mm", "label_origin_mm", "label_spacing_mm", "extents", "notes"):
        assert getattr(again, name) == getattr(column, name)


def test_a_box_goes_to_the_fractured_level_it_covers_most():
    _, labels, affine = neck()
    volume, _, _ = neck()
    to_labels = np.linalg.inv(affine) @ volume.affine
    first, last = box_mm(3)
    z, top, left = np.rint((first + [2, 0, 0]) / volume.spacing_mm)
    _, bottom, right = np.rint(last / volume.spacing_mm)
    box = np.array([[z, top, left, bottom, right]])
    only = np.zeros(7, bool)
    only[2] = True
    assert boxes_with_levels(box, labels, to_labels, only).tolist() == [[3, z, top, left, bottom, right]]
    two = np.isin(np.arange(7), (2, 6))
    assert boxes_with_levels(box, labels, to_labels, two)[0, 0] == 3
    others = np.isin(np.arange(7), (5, 6))
    assert len(boxes_with_levels(box, labels, to_labels, others)) == 0  # C6 and C7 are the broken ones
    alone = np.arange(7) == 3
    assert boxes_with_levels(box, labels, to_labels, alone)[0, 0] == 4  # only C4 is broken: it must be there
    assert len(boxes_with_levels(np.array([[z, -90, -90, -40, -40]]), labels, to_labels, ~only | only)) == 0
    assert boxes_with_levels(np.zeros((0, 5)), labels, to_labels, only).shape == (0, 6)


def test_a_box_between_two_levels_takes_the_fractured_one():
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[:, :12, :], labels[:, 12:, :] = 3, 4
    box = np.array([[1.0, 2, 2, 17, 17]])
    for level in (3, 4):
        fractured = np.arange(1, 8) == level
        assert boxes_with_levels(box, labels, np.eye(4), fractured)[0, 0] == level
    assert boxes_with_levels(box, labels, np.eye(4), np.ones(7, bool))[0, 0] == 3
