"""A scan must look like its site's: extent, noise with a grain, more of it through the shoulders."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from replica.anatomy import make_anatomy
from replica.scanner import _SITES, choose_protocol, scan
from replica.settings import ReplicaSettings

SETTINGS = ReplicaSettings(out=Path("unused"), size=1.0)


def protocols(count: int):
    """Anatomies and protocols over all sites."""
    for i in range(count):
        rng = np.random.default_rng(i)
        anatomy = make_anatomy("MF"[i % 2], 20 + i % 70, rng)
        yield anatomy, choose_protocol(1 + i % 12, anatomy, SETTINGS, rng)


def test_every_scan_holds_the_neck_and_sizes_are_the_originals():
    slices, extents, feet = [], [], []
    for anatomy, protocol in protocols(240):
        z = protocol.grid.axis(0)
        assert z[0] > anatomy.poses[0].centre[0] + 8
        assert z[-1] < anatomy.poses[6].centre[0] - 20
        slices.append(len(z))
        extents.append(z[0] - z[-1])
        feet.append(protocol.feet_first)
        assert 0.19 <= protocol.grid.spacing_mm[1] <= 0.71
    assert 240 < np.median(slices) < 420
    assert 185 < np.median(extents) < 215
    assert 0.03 < np.mean(feet) < 0.2


def test_smaller_size_keeps_the_field_of_view():
    rng = np.random.default_rng(0)
    anatomy = make_anatomy("M", 50, rng)
    fields = []
    for size in (1.0, 0.5):
        settings = ReplicaSettings(out=Path("unused"), size=size)
        grid = choose_protocol(4, anatomy, settings, np.random.default_rng(5)).grid
        fields.append([n * mm for n, mm in zip(grid.shape, grid.spacing_mm, strict=True)])
    assert np.allclose(*fields, atol=2.0)


def test_noise_has_a_grain_and_grows_at_the_shoulders():
    anatomy, protocol = next(protocols(1))
    grid = replace(protocol.grid, shape=(protocol.grid.shape[0], 96, 96))
    protocol = replace(protocol, grid=grid, sharpness=1.0)
    flat = np.full(grid.shape, 50, np.float32)
    noise = np.stack(list(scan(flat, protocol, anatomy, np.random.default_rng(0)))).astype(float)
    noise += protocol.intercept - 50
    top, bottom = noise[:20], noise[-20:]
    assert abs(top.std() - protocol.noise_hu) < 0.15 * protocol.noise_hu
    assert bottom.std() > 1.5 * top.std()
    assert np.mean(top[:, :, 1:] * top[:, :, :-1]) > 0.3 * top.var()
    assert np.mean(bottom[:, :, 8:] * bottom[:, :, :-8]) > 3 * abs(np.mean(bottom[:, 8:] * bottom[:, :-8]))


def test_every_site_has_steps_that_sum_to_one():
    assert sorted(_SITES) == list(range(1, 13))
    for steps, *_ in _SITES.values():
        assert abs(sum(share for *_, share in steps) - 1) < 1e-9
