"""Vertebrae have the measured sizes, and mimics of fractures come to whole and broken spines alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from replica.anatomy.build import NAMES, Anatomy, make_anatomy
from replica.anatomy.shapes import Grid
from replica.anatomy.texture import make_texture
from replica.injuries.bones import Canvas, paint_bone
from replica.injuries.fractures import EVERY_KIND, draw_injuries, draw_injury, kinds_at
from replica.injuries.mimics import EVERY_MIMIC, LEVELS_OF, draw_kinds
from replica.scanner.protocol import choose_protocol
from replica.settings import ReplicaSettings
from replica.study import paint

HEIGHTS_MM = [25.8, 44.7, 26.7, 27.5, 28.4, 29.5, 33.1]  # medians of the 87 masks, C1 to C7
LEVELS = NAMES[:7]
SOFT_HU = 50.0


def patient(seed: int, age: int = 55) -> Anatomy:
    """A man or a woman of that age."""
    return make_anatomy("M" if seed % 3 else "F", age, np.random.default_rng(seed))


def canvas(anatomy: Anatomy, low_mm: float, high_mm: float, step_mm: float) -> Canvas:
    """Soft tissue between two heights, wide enough for every vertebra there."""
    y, x = (np.array([p.centre[i] for p in anatomy.poses[:8]]) for i in (1, 2))
    corners = np.array([high_mm, y.min() - 30, x.min() - 46])
    ends = np.array([low_mm, y.max() + 75, x.max() + 46])
    grid = Grid(tuple(np.abs((ends - corners) / step_mm).astype(int)), (step_mm,) * 3, tuple(corners))
    hu = np.full(grid.shape, SOFT_HU, np.float32)
    return Canvas(hu, np.zeros(grid.shape, np.uint8), grid, anatomy, make_texture(anatomy, grid))


def around(anatomy: Anatomy, level: str, step_mm: float = 1.0) -> Canvas:
    """Soft tissue around one vertebra."""
    z = anatomy.poses[NAMES.index(level)].centre[0]
    return canvas(anatomy, z - 38, z + 30, step_mm)


def test_heights_are_those_of_the_masks():
    heights, overlaps, columns = [], [], []
    for seed in range(9):
        anatomy = patient(seed)
        c = canvas(anatomy, anatomy.poses[6].centre[0] - 50, anatomy.poses[0].centre[0] + 25, 1.2)
        for number in range(7):
            paint_bone(c, number, None, {})
        zs = [np.flatnonzero((c.labels == n).any(axis=(1, 2))) for n in range(1, 8)]
        heights.append([1.2 * len(z) for z in zs])
        overlaps.append([1.2 * (a[-1] - b[0] + 1) for a, b in zip(zs, zs[1:], strict=False)])
        columns.append(1.2 * (zs[6][-1] - zs[0][0] + 1))
    assert np.median(heights, axis=0) == pytest.approx(HEIGHTS_MM, rel=0.12)
    assert np.all(np.abs(np.median(overlaps, axis=0) - 16.5) < 7.5)
    assert np.mean(columns) == pytest.approx(127, abs=12)
    assert min(columns) > 95


def test_neighbours_meet_in_joints_but_do_not_grow_together():
    """Along a pillar bone and joint space take turns, once for every joint."""
    anatomy = patient(1, age=30)
    c = canvas(anatomy, anatomy.poses[6].centre[0] - 30, anatomy.poses[1].centre[0] + 10, 0.7)
    for number in range(1, 8):
        paint_bone(c, number, None, {})
    touching = 0
    for upper in range(2, 7):
        both = ((c.labels[:-1] == upper) & (c.labels[1:] == upper + 1)).sum()
        near = ((c.labels[:-4] == upper) & (c.labels[4:] == upper + 1)).sum()
        touching += both / max(near, 1)
        assert near > 20, upper
    assert touching / 5 < 0.15


@pytest.mark.parametrize("kind", EVERY_MIMIC)
def test_a_mimic_leaves_its_trace_where_it_is_recorded(kind):
    for level in LEVELS_OF[kind]:
        anatomy = patient(5)
        plain, marked = around(anatomy, level), around(anatomy, level)
        number = NAMES.index(level)
        paint_bone(plain, number, None, {})
        wounds, (mark,) = paint_bone(marked, number, None, {level: (kind,)})
        assert not wounds
        assert (mark.kind, mark.level) == (kind, level)
        changed = np.abs(marked.hu - plain.hu)
        assert changed[mark.part][mark.region].max() > 60, level
        outside = changed.copy()
        outside[mark.part][mark.region] = 0
        assert changed.sum() > 0
        if kind != "old_compression":  # there the whole body is lower
            assert (outside > 150).sum() < 0.35 * (changed > 60).sum() + 10, level


def test_mimics_come_to_whole_and_broken_spines_alike():
    settings = ReplicaSettings(out=Path("unused"), size=0.125)
    for seed in (2, 3):
        anatomy = patient(seed, age=80)
        protocol = choose_protocol(4, anatomy, settings, np.random.default_rng(seed))
        injuries = draw_injuries(["C2", "C5", "C6"], (0.0, 1.0), np.random.default_rng(seed))
        whole, broken = (paint(anatomy, protocol, i).mimics for i in ({}, injuries))
        assert len(whole) > 0
        assert [(m.kind, m.level) for m in whole] == [(m.kind, m.level) for m in broken]
        for a, b in zip(whole, broken, strict=True):
            assert np.abs(np.subtract(a.centre_mm, b.centre_mm)).max() < 6


def test_mimics_come_with_age():
    counts = [
        sum(
            len(draw_kinds(patient(n, age), k, np.random.default_rng(n))) for n in range(60) for k in range(7)
        )
        for age in (25, 80)
    ]
    assert counts[0] > 10
    assert counts[1] > 2 * counts[0]


def breakage(level: str, kind: str, severity: float) -> tuple[np.ndarray, np.ndarray]:
    """How far a fracture changes HU in a bone of 1.6 mm voxels, the demo's; and where the fracture lies."""
    anatomy, number = patient(4), NAMES.index(level)
    plain, broken = around(anatomy, level, 1.6), around(anatomy, level, 1.6)
    paint_bone(plain, number, None, {})
    injury = draw_injury(level, severity, np.random.default_rng(1), kind)
    (wound,), _ = paint_bone(broken, number, injury, {})
    return np.abs(broken.hu - plain.hu)[wound.part], wound.region


def test_every_kind_is_a_dark_or_moved_place_in_its_bone():
    for level in LEVELS:
        for kind in kinds_at(level):
            changed, region = breakage(level, kind, 0.9)
            assert changed[region].max() > 300, (level, kind)
            assert (changed > 200).sum() > 20, (level, kind)
            assert (changed[region] > 100).sum() > 0.25 * (changed > 100).sum(), (level, kind)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_hairline_leaves_a_trace_in_thick_voxels_and_a_caricature_a_large_one(kind):
    level = next(level for level in LEVELS if kind in kinds_at(level))
    changed, region = breakage(level, kind, 0.0)
    assert changed[region].max() > 90
    worst, _ = breakage(level, kind, 1.8)
    assert (worst > 250).sum() > 3 * (changed > 250).sum()


def test_levels_of_one_patient_are_broken_by_one_mechanism():
    rng = np.random.default_rng(0)
    drawn = [draw_injuries(["C5", "C6"], (0.0, 1.0), rng) for _ in range(1500)]
    a, b = (np.array([d[level].severity for d in drawn]) for level in ("C5", "C6"))
    assert np.corrcoef(a, b)[0, 1] > 0.6
    assert np.histogram(b, bins=4, range=(0, 1))[0].min() > 300  # uniform all the same
    upper, lower = ([d[level].kind for d in drawn] for level in ("C5", "C6"))
    alike = np.mean([x == y for x, y in zip(upper, lower, strict=True)])
    by_chance = np.mean([x == y for x, y in zip(upper, lower[1:] + lower[:1], strict=True)])
    assert alike > 1.3 * by_chance


def test_a_bad_fall_breaks_a_level_in_more_than_one_place():
    rng = np.random.default_rng(0)
    several = [
        np.mean([len(draw_injuries(["C6"], s, rng)["C6"].parts) > 1 for _ in range(300)])
        for s in ((0.0, 0.1), (0.9, 1.0))
    ]
    assert 0.05 < several[0] < several[1] - 0.1
    (injury,) = draw_injuries(["C6"], (0.95, 1.0), np.random.default_rng(5)).values()
    while len(injury.parts) == 1:
        (injury,) = draw_injuries(["C6"], (0.95, 1.0), rng).values()
    anatomy = patient(4)
    wounds, _ = paint_bone(around(anatomy, "C6"), 5, injury, {})
    assert len(wounds) == len(injury.parts)
    assert len({w.injury.kind for w in wounds}) == len(wounds)


def test_a_fracture_outside_the_picture_is_not_claimed():
    anatomy = patient(4)
    c = around(anatomy, "C3")
    away = replace(c, grid=replace(c.grid, origin_mm=(c.grid.origin_mm[0] + 500, *c.grid.origin_mm[1:])))
    injury = draw_injury("C3", 0.9, np.random.default_rng(0))
    assert paint_bone(away, 2, injury, {"C3": ("limbus",)}) == ([], [])
