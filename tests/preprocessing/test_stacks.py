from dataclasses import replace

import numpy as np
import pytest
from helpers.hand_made import column as hand_made_column

from cspine.preprocessing.column import Column, Extent
from cspine.preprocessing.stacks import (
    MASK_OTHER,
    MASK_THIS,
    Jitter,
    slice_positions,
    slice_targets,
    study_stacks,
    vertebra_stack,
)
from cspine.settings.preprocessing import StackSettings

SPACING_MM = (0.8, 0.5, 0.6)
SHAPE = (120, 200, 160)
CENTRE_MM = (50.0, 46.0)
"""y and x of every vertebra."""
SETTINGS = StackSettings(slices=9, neighbours=1, neighbour_mm=2.0, crop_mm=48.0, image_px=96)
PIXEL_MM = 0.5


def column(image=None, labels=None, boxes=None) -> Column:
    """A column of anisotropic voxels, each vertebra 10 mm high in steps of 12 mm."""
    return Column(
        study="1.2.3",
        image=np.zeros(SHAPE, np.uint8) if image is None else image,
        labels=np.zeros((50, 50, 50), np.uint8) if labels is None else labels,
        spacing_mm=SPACING_MM,
        label_origin_mm=(-1.0, 0.5, -0.7),
        label_spacing_mm=(2.0, 2.0, 2.0),
        extents=tuple(Extent(4.0 + 12 * n, 14.0 + 12 * n, *CENTRE_MM) for n in range(7)),
        boxes=np.zeros((0, 6)) if boxes is None else boxes,
    )


def dot(z_mm, y_mm, x_mm, half_mm=(1.0, 2.0, 2.0)):
    """An image with one bright block around a position."""
    image = np.zeros(SHAPE, np.uint8)
    where = [slice(round((c - h) / s), round((c + h) / s) + 1)
             for c, h, s in zip((z_mm, y_mm, x_mm), half_mm, SPACING_MM, strict=True)]  # fmt: skip
    image[tuple(where)] = 240
    return image


def middle(plane):
    """Centre of mass of a crop's plane in mm from its middle: (y, x)."""
    weights = plane.astype(float)
    centre = np.array([(axis * weights).sum() / weights.sum() for axis in np.indices(plane.shape)])
    return (centre - (len(plane) - 1) / 2) * PIXEL_MM


def brightest(stack):
    """The slice, of the middle channel, with the most light in it."""
    return int(stack[..., stack.shape[-1] // 2].sum(axis=(1, 2), dtype=int).argmax())


def test_shapes_and_channels():
    images, masks = study_stacks(column(), SETTINGS)
    assert images.shape == (7, 9, 96, 96, 3) and masks.shape == (7, 9, 96, 96)
    assert images.dtype == masks.dtype == np.uint8
    assert SETTINGS.channels == 4  # a slice, two neighbours, the mask


def test_positions_spread_evenly_within_the_vertebra():
    positions = slice_positions(Extent(10.0, 19.0, 0, 0), SETTINGS)
    assert np.allclose(positions, np.arange(10.5, 19))
    stretched = slice_positions(Extent(10.0, 19.0, 0, 0), SETTINGS, Jitter(z_mm=3, stretch=2))
    assert stretched.mean() == pytest.approx(17.5) and np.allclose(np.diff(stretched), 2)
    assert slice_positions(Extent(10.0, 19.0, 0, 0), StackSettings(slices=1)).tolist() == [14.5]


def test_the_vertebra_is_in_the_middle():
    z = column().extents[2].top_mm + 5
    image, _ = vertebra_stack(column(dot(z, *CENTRE_MM)), 2, SETTINGS)
    assert brightest(image) == 4
    assert np.abs(middle(image[4, ..., 1])).max() < 0.3


@pytest.mark.parametrize("offset_mm", [(0.0, 15.0), (-15.0, 0.0), (8.0, -12.0)])
def test_a_millimetre_is_a_millimetre(offset_mm):
    """Both axes have other spacings than the crop: 15 mm to the back must be 30 pixels down."""
    z = column().extents[2].top_mm + 5
    image_with_dot = dot(z, CENTRE_MM[0] + offset_mm[0], CENTRE_MM[1] + offset_mm[1])
    image, _ = vertebra_stack(column(image_with_dot), 2, SETTINGS)
    assert np.abs(middle(image[4, ..., 1]) - offset_mm).max() < 0.3


def test_a_dot_keeps_its_size():
    z = column().extents[2].top_mm + 5
    image, _ = vertebra_stack(column(dot(z, *CENTRE_MM, half_mm=(1, 6, 6))), 2, SETTINGS)
    bright = image[4, ..., 1] > 120
    assert bright.sum() * PIXEL_MM**2 == pytest.approx(12.5 * 12.6, rel=0.06)


def test_jitter_moves_the_crop_and_so_the_picture_the_other_way():
    z = column().extents[2].top_mm + 5
    one = column(dot(z, *CENTRE_MM))
    image, _ = vertebra_stack(one, 2, SETTINGS, Jitter(y_mm=6, x_mm=-4))
    assert np.abs(middle(image[4, ..., 1]) - [-6, 4]).max() < 0.3
    deeper, _ = vertebra_stack(one, 2, SETTINGS, Jitter(z_mm=10 / 9 * 2))  # two slices towards the feet
    assert brightest(deeper) == 2


@pytest.mark.parametrize(
    ("jitter", "seen_mm"),
    [
        (Jitter(turn_deg=90), (-12.0, 8.0)),
        (Jitter(turn_deg=-90), (12.0, -8.0)),
        (Jitter(turn_deg=30), (8 * np.cos(np.pi / 6) - 12 * 0.5, 12 * np.cos(np.pi / 6) + 8 * 0.5)),
        (Jitter(zoom=1.5), (12.0, 18.0)),
        (Jitter(mirrored=True), (8.0, -12.0)),
        (Jitter(mirrored=True, zoom=0.5, y_mm=2.0), (3.0, -6.0)),
    ],
)
def test_turn_zoom_and_mirror_of_the_crop(jitter, seen_mm):
    """A dot 8 mm to the back and 12 mm to the left of the middle: where does the crop show it?"""
    z = column().extents[2].top_mm + 5
    labels = np.zeros((50, 50, 50), np.uint8)
    one = column(dot(z, CENTRE_MM[0] + 8, CENTRE_MM[1] + 12), labels)
    labels[:, 28:31, 28:31] = 3  # the same place in its voxels of 2 mm from (0.5, -0.7)
    image, mask = vertebra_stack(one, 2, SETTINGS, jitter)
    assert np.abs(middle(image[4, ..., 1]) - seen_mm).max() < 0.4
    assert np.abs(middle(mask[4] == MASK_THIS) - np.array(seen_mm)).max() < 1.6 * jitter.zoom


def test_cutting_the_planes_first_changes_nothing():
    """Only the part that a crop reaches is read; what it shows is what the whole planes would show."""
    random = np.random.default_rng(5)
    one = column(random.integers(0, 255, SHAPE, dtype=np.uint8))
    wide = replace(one, image=np.pad(one.image, ((0, 0), (64, 64), (64, 64))))
    moved = tuple(
        Extent(e.top_mm, e.bottom_mm, e.centre_y_mm + 64 * SPACING_MM[1], e.centre_x_mm + 64 * SPACING_MM[2])
        for e in one.extents
    )
    for number in range(6):
        jitter = Jitter(
            *random.uniform(-12, 12, 3), turn_deg=random.uniform(-60, 60), zoom=random.uniform(0.6, 1.6)
        )
        small, _ = vertebra_stack(one, 3, SETTINGS, jitter)
        large, _ = vertebra_stack(replace(wide, extents=moved), 3, SETTINGS, jitter)
        same = small == large
        assert same.mean() > 0.99, number  # a grey value's rounding, and pixels half outside


def test_slices_run_from_head_to_feet():
    image = np.zeros(SHAPE, np.uint8)
    image[:] = np.arange(SHAPE[0], dtype=np.uint8)[:, None, None] * 2
    stack, _ = vertebra_stack(column(image), 3, SETTINGS)
    heights = stack[:, 48, 48, 1].astype(float)
    wanted = slice_positions(column().extents[3], SETTINGS) / SPACING_MM[0] * 2
    assert (np.diff(heights) > 0).all()
    assert np.abs(heights - wanted).max() <= 0.6  # between two planes: interpolated


@pytest.mark.parametrize("neighbours", [0, 1, 2, 4])
def test_planes_that_are_warped_together_are_what_each_is_alone(neighbours):
    """More planes than go into one picture, and such that lie outside of the column, too."""
    noise = column(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))
    settings = replace(SETTINGS, neighbours=neighbours, neighbour_mm=2.0)
    alone = replace(SETTINGS, neighbours=0)
    jitter = Jitter(z_mm=-8.0, y_mm=3.0, x_mm=-2.0, turn_deg=11.0, zoom=1.1, mirrored=True)
    together, mask = vertebra_stack(noise, 0, settings, jitter)
    outside = 0
    for channel, step in enumerate(range(-neighbours, neighbours + 1)):
        single, same = vertebra_stack(noise, 0, alone, replace(jitter, z_mm=jitter.z_mm + 2.0 * step))
        assert (
            np.abs(together[..., channel].astype(int) - single[..., 0]).max() <= 1
        )  # z is rounded otherwise
        outside += int((~single.any(axis=(1, 2, 3))).sum())
        assert step or (mask == same).all()
    assert outside


def test_neighbours_lie_before_and_behind_by_their_distance():
    image = np.zeros(SHAPE, np.uint8)
    image[:] = np.arange(SHAPE[0], dtype=np.uint8)[:, None, None] * 2
    settings = replace(SETTINGS, neighbours=2, neighbour_mm=1.6)
    stack, _ = vertebra_stack(column(image), 3, settings)
    step = 1.6 / SPACING_MM[0] * 2
    differences = np.diff(stack[:, 48, 48, :].astype(float), axis=1)
    assert np.abs(differences - step).max() <= 1


def test_outside_of_the_column_is_black():
    one = column(np.full(SHAPE, 200, np.uint8))
    high = replace(one, extents=(Extent(-10.0, 3.0, 50.0, 46.0), *one.extents[1:]))
    image, mask = vertebra_stack(high, 0, SETTINGS)
    positions = slice_positions(high.extents[0], SETTINGS)
    middle_channel = image[:, 48, 48, 1]
    assert (middle_channel[positions < -0.4] == 0).all() and (middle_channel[positions >= 0] == 200).all()
    assert not mask.any()
    far, _ = vertebra_stack(one, 2, SETTINGS, Jitter(y_mm=-50))  # its middle lies on the edge of the image
    assert (far[4, :40, 48, 1] == 0).all() and (far[4, 56:, 48, 1] == 200).all()


def test_the_mask_tells_this_vertebra_from_the_others():
    labels = np.zeros((50, 50, 50), np.uint8)
    labels[:, 20:30, 20:30] = 4
    labels[:, 10:20, 20:30] = 3
    labels[:, 30:34, 20:30] = 8
    one = column(labels=labels)
    _, mask = vertebra_stack(one, 3, SETTINGS)
    assert set(np.unique(mask)) == {0, MASK_OTHER, MASK_THIS} == {0, 96, 255}
    this, other = middle(mask[4] == 255), middle(mask[4] == 96)
    # label voxels 20 to 29, 2 mm each, from an origin of (0.5, -0.7) mm
    assert np.abs(this - [24.5 * 2 + 0.5 - CENTRE_MM[0], 24.5 * 2 - 0.7 - CENTRE_MM[1]]).max() < 0.3
    assert other[0] < this[0]
    assert (mask[4] == 255).sum() * PIXEL_MM**2 == pytest.approx(20 * 20, rel=0.05)
    _, above = vertebra_stack(one, 2, SETTINGS)
    assert ((above == 255) == (middle_values(labels, 3, mask) > 0)).mean() > 0.99


def middle_values(labels, level, like):
    """The mask that a label map constant in z gives for one level alone."""
    only = np.where(labels == level, level, 0).astype(np.uint8)
    _, mask = vertebra_stack(column(labels=only), level - 1, SETTINGS)
    return np.where(mask == 255, 1, 0).reshape(like.shape)


def test_mapped_arrays_are_read_like_any_other(tmp_path):
    one = hand_made_column((3,))
    np.save(tmp_path / "image.npy", one.image)
    np.save(tmp_path / "labels.npy", one.labels)
    mapped = replace(
        one,
        image=np.load(tmp_path / "image.npy", mmap_mode="r"),
        labels=np.load(tmp_path / "labels.npy", mmap_mode="r"),
    )
    for here, there in zip(study_stacks(one, SETTINGS), study_stacks(mapped, SETTINGS), strict=True):
        assert (here == there).all()


def test_slice_targets():
    boxes = np.array([[3, z, 0, 0, 9, 9] for z in (30.0, 30.8, 31.6)])
    one = column(boxes=boxes)
    extent = one.extents[2]  # 28 to 38 mm, slices at 28.6, 29.7, 30.8, 31.9, ...
    assert slice_targets(one, 2, True, SETTINGS).tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert (slice_targets(one, 2, False, SETTINGS) == 0).all()  # whole, whatever boxes say
    assert (slice_targets(one, 4, False, SETTINGS) == 0).all()
    assert np.isnan(slice_targets(one, 4, True, SETTINGS)).all()  # broken, but nobody drew where
    labels = np.zeros((50, 50, 50), np.uint8)  # planes of 2 mm, the first at -1 mm
    labels[16:18, 10:20, 10:20], labels[18:19, 10:15, 10:20] = 5, 5  # 31 and 33 mm: whole; 35 mm: half of it
    masked = replace(column(boxes=boxes, labels=labels), extents=(Extent(30.0, 36.0, *CENTRE_MM),) * 7)
    few = replace(SETTINGS, slices=3)  # at 31, 33, 35 mm
    assert slice_targets(masked, 4, True, few, dense=True).tolist() == [1, 1, 0.5]
    assert slice_targets(masked, 4, True, few, Jitter(z_mm=2.0), dense=True).tolist() == [1, 0.5, 0]
    assert (slice_targets(masked, 4, False, few, dense=True) == 0).all()
    assert (slice_targets(one, 2, True, SETTINGS, dense=True) == slice_targets(one, 2, True, SETTINGS)).all()
    moved = slice_targets(one, 2, True, SETTINGS, Jitter(z_mm=(extent.bottom_mm - extent.top_mm) / 9))
    assert moved.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert slice_targets(one, 2, True, SETTINGS).dtype == np.float32


@pytest.mark.parametrize(
    "jitter", [Jitter(), Jitter(z_mm=2.0, y_mm=3.0, x_mm=-2.0, stretch=1.2), Jitter(z_mm=-2.5)]
)
def test_the_fracture_is_seen_where_the_target_says(jitter):
    """A bright fracture is drawn at known heights; the slices that show it are those whose target is 1."""
    extent = column().extents[4]
    heights = np.arange(extent.top_mm + 2, extent.top_mm + 5, SPACING_MM[0])
    image = np.zeros(SHAPE, np.uint8)
    image[np.rint(heights / SPACING_MM[0]).astype(int), 90:110, 70:90] = 255
    boxes = np.array([[5, round(z / SPACING_MM[0]) * SPACING_MM[0], 45, 42, 55, 54] for z in heights])
    one = column(image, boxes=boxes)
    shown = vertebra_stack(one, 4, SETTINGS, jitter)[0][..., 1].max(axis=(1, 2)) > 120
    targets = slice_targets(one, 4, True, SETTINGS, jitter)
    assert shown.any() and not shown.all()
    assert (targets[shown] == 1).all()
    assert abs(int(shown.sum()) - int(targets.sum())) <= 2  # a slice next to it may count as well
