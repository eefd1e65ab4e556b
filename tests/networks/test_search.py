"""A whole scan is searched in windows; the outcome lies on its own voxels, and is judged."""

import numpy as np
import pytest
import torch

from cspine.competition.labels import LEVELS
from cspine.networks import search
from cspine.networks.locator import CLASSES, Locator
from cspine.networks.search import AT_ONCE, LARGER, STEP_VOX, STRIDE, _cover, locate, one_column
from cspine.preprocessing.verdict import Kind
from cspine.settings.networks import LocatorSettings

CPU = torch.device("cpu")
SMALL = LocatorSettings(spacing_mm=3.0, channels=(4, 8), window_vox=(48, 24, 24), pretrained=False)
STEP_HU = 250  # of the window's 2,000


class Reader(torch.nn.Module):
    """Stands in for a trained locator: a voxel's label is written in its grey value. Counts what it is shown."""

    def __init__(self, shift: int = 0, sure: float = 20.0):
        super().__init__()
        self.settings, self.shift, self.sure, self.windows = SMALL, shift, sure, []

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        assert len(volume) <= AT_ONCE
        self.windows.append(tuple(volume.shape[2:]))
        labels = (volume[:, 0] * 8).round().long()
        labels = torch.where(labels > 0, (labels + self.shift).clamp(1, 8), labels)
        return self.sure * torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 1).float()


def scan(shape, top=10, levels=8, height=6, at=None) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels of a column of blocks, one under the other, `height` voxels apart."""
    labels = np.zeros(shape, np.uint8)
    y, x = at or (shape[1] // 2, shape[2] // 2)
    for level in range(1, levels + 1):
        start = top + (level - 1) * height
        labels[start : start + height - 1, y - 4 : y + 4, x - 6 : x + 6] = level
    return (labels.astype(np.int16) * STEP_HU - 600), labels


@pytest.mark.parametrize(
    "shape", [(60, 30, 30), (70, 24, 24), (62, 20, 18), (140, 90, 110)], ids=["some", "one", "small", "large"]
)
def test_the_map_lies_on_the_scan_whatever_its_size(shape):
    hu, labels = scan(shape)
    reader = Reader()
    found = locate([reader], hu, CPU)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, labels)
    assert reader.windows[-1] == SMALL.window_vox, "the closer look is at the size that the locator learnt"
    for window in reader.windows:
        for length, usual in zip(window, SMALL.window_vox, strict=True):
            assert usual <= length <= LARGER * usual + 0.5 and (length - usual) % STEP_VOX == 0


@pytest.mark.parametrize("size", [*range(56, 200, 8), 504])
def test_windows_cover_an_axis_and_overlap_with_no_more_to_compute_than_need_be(size):
    parts = _cover(size, 56)
    length = parts[0].stop - parts[0].start
    assert parts[0].start == 0 and parts[-1].stop == size
    for part, following in zip(parts, parts[1:], strict=False):
        assert part.stop - part.start == following.stop - following.start == length
        assert following.start - part.start <= STRIDE * length + 1
    usual = -(-(size - 56) // (STRIDE * 56)) + 1
    assert 56 <= length <= LARGER * 56 + 0.5 and length * len(parts) <= 56 * usual
    assert length % STEP_VOX == 0


def test_a_little_more_than_a_window_is_seen_at_once():
    assert len(_cover(72, 56)) == 1 and len(_cover(80, 56)) == 2


def test_a_column_in_the_corner_of_a_large_field():
    hu, labels = scan((150, 120, 120), top=90, at=(100, 15))
    assert (locate([Reader()], hu, CPU).labels == labels).all()


def test_several_locators_are_asked_as_one():
    """One is sure of the levels, two lean to their neighbours: on average the sure one wins, and is doubted."""
    hu, labels = scan((60, 30, 30), levels=7)
    found = locate([Reader(sure=20), Reader(1, 0.5), Reader(1, 0.5)], hu, CPU)
    assert (found.labels == labels).all()
    assert found.verdict.kind is not Kind.SURE
    assert any("opinions differ" in r or "certain" in r for r in found.verdict.reasons)


def test_a_piece_of_the_skull_is_no_c1():
    """A small piece far from the column is named C1 and all else one too low: counted anew, and still doubted."""
    hu, labels = scan((46, 30, 60), levels=6)
    one_too_low = np.where(labels > 0, labels + 1, 0)
    one_too_low[12:16, 13:17, 39:44] = 1
    found = locate([Reader()], one_too_low.astype(np.int16) * STEP_HU - 600, CPU)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.verdict.kind is Kind.DOUBTFUL and found.verdict.levels == LEVELS[:6]
    reason, other = found.verdict.reasons
    assert "the scan ends within C6" in other
    assert "what was named C1 first is 0.1 times as large as expected and 35 mm from the next" in reason
    # with C7 and thoracic vertebrae below, the count from there speaks against it
    hu, labels = scan((70, 30, 60))
    labels[12:16, 13:17, 39:44] = 1
    labels[10:15, :, 24:36] = 0
    kept = locate([Reader()], (labels.astype(np.int16) * STEP_HU - 600), CPU)
    np.testing.assert_array_equal(kept.labels, labels)
    assert kept.verdict.kind is Kind.DOUBTFUL and "counted anew" not in kept.verdict.note


def test_windows_without_bone_are_not_looked_at():
    reader = Reader()
    found = locate([reader], np.full((100, 80, 80), -1000, np.int16), CPU)
    assert not reader.windows and not found.labels.any()
    assert found.verdict.kind is Kind.NOT_A_NECK


def test_one_column_stays():
    """Pieces of a level elsewhere, larger ones too, are no part of it; thoracic vertebrae are several."""
    hu, labels = scan((110, 60, 60), top=20)
    hu[2:10, 2:10, 2:40] = 3 * STEP_HU - 600  # a skull that looks like C3
    hu[70:74, 26:34, 26:34] = 8 * STEP_HU - 600
    labels[70:74, 26:34, 26:34] = 8
    hu[50, 30, 42] = 2 * STEP_HU - 600  # a speck beside the column
    found = locate([Reader()], hu, CPU).labels
    np.testing.assert_array_equal(found, labels)


def test_one_column_by_hand():
    labels = np.zeros((40, 12, 12), np.uint8)
    labels[2:6, 4:8, 4:8], labels[8:12, 4:8, 4:8], labels[14:18, 4:8, 4:8] = 6, 7, 8
    labels[30:34, :, :] = 2
    largest = one_column(labels, 3.0)
    assert (largest[30:34] == 2).all() and not largest[:20].any()
    labels[30:34] = 0
    labels[30:34, 4:8, 4:8] = 1
    kept = one_column(labels, 3.0)
    assert (kept[:20] == labels[:20]).all() and not kept[20:].any()
    nothing = np.full((4, 4, 4), 8, np.uint8)
    assert one_column(nothing, 3.0) is nothing


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_arm_is_no_column(mirrored):
    """A larger piece beside the neck, whose levels lie as they never do in a spine; the small map and the search."""
    hu, labels = scan((110, 60, 110), top=20, at=(30, 30))
    for place, level in enumerate((5, 3, 6, 4)):  # 54 mm apart, in a wrong order
        hu[14 + 18 * place : 30 + 18 * place, 26:34, 74:86] = level * STEP_HU - 600
    seen = np.rint((hu + 600) / STEP_HU).clip(0).astype(np.uint8)
    seen[hu < -600] = 0
    arms = np.where(seen != labels, seen, 0)
    assert (arms > 0).sum() > ((labels > 0) & (labels < 8)).sum()
    if mirrored:
        hu, labels, seen = (np.ascontiguousarray(one[:, :, ::-1]) for one in (hu, labels, seen))
    np.testing.assert_array_equal(one_column(seen, 3.0), labels)
    np.testing.assert_array_equal(locate([Reader()], hu, CPU).labels, labels)


def test_of_two_columns_the_larger_one_stays():
    labels = np.zeros((70, 12, 60), np.uint8)
    for level in range(1, 8):
        labels[8 * level : 8 * level + 5, 2:10, 4:12] = level
        labels[8 * level : 8 * level + 5, 2:10, 40:50] = level
    kept = one_column(labels, 3.0)
    assert not kept[:, :, :30].any() and (kept[:, :, 30:] == labels[:, :, 30:]).all()


def test_a_real_network_in_half_precision(monkeypatch):
    monkeypatch.setattr(search, "autocast", lambda device, volumes: torch.autocast("cpu", torch.bfloat16))
    torch.manual_seed(1)
    hu = np.random.default_rng(0).integers(-1000, 1500, (60, 30, 28)).astype(np.int16)
    found = locate([Locator(SMALL).eval(), Locator(SMALL).eval()], hu, CPU)
    assert found.labels.shape == hu.shape and found.labels.max() <= 8
