"""Sites' habits: each its own, together the original's shares; every ordinary scan holds the neck."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from replica.anatomy.build import make_anatomy
from replica.cohort.studies import make_cohort
from replica.scanner.protocol import choose_protocol, column_ends_mm
from replica.scanner.sites import JPEG_LOSSLESS, SITES
from replica.settings import ReplicaSettings
from replica.study import draw_protocol

SETTINGS = ReplicaSettings(out=Path("unused"), train=1000, public=0, private=0)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """How the studies of a cohort are scanned, one row each."""
    rows = []
    for _, row in make_cohort(SETTINGS).iterrows():
        protocol = draw_protocol(row, SETTINGS)[1]
        slices, height, width = protocol.grid.shape
        step, pixel, _ = protocol.grid.spacing_mm
        size = {"slices": slices * protocol.stacks, "rows": height, "columns": width, "step_mm": step,
                "extent_mm": (slices - 1) * step, "spacing_mm": pixel}  # fmt: skip
        names = ("thickness_mm", "feet_first", "signed", "intercept", "syntax", "noise_hu")
        rows.append({"site": row["site"], **size, **{name: getattr(protocol, name) for name in names}})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("column", "quantiles"),
    [
        ("slices", {0.05: 198, 0.25: 257, 0.5: 314, 0.75: 429, 0.95: 626}),
        ("extent_mm", {0.05: 154, 0.5: 198, 0.95: 248}),
    ],
)
def test_quantiles_are_the_originals(table, column, quantiles):
    for share, wanted in quantiles.items():
        assert table[column].quantile(share) == pytest.approx(wanted, rel=0.1), share


@pytest.mark.parametrize(
    ("column", "counts"),
    [
        ("thickness_mm", {0.625: 1041, 1.0: 618, 0.5: 176, 0.6: 147, 0.9: 24}),
        ("step_mm", {0.625: 869, 0.4: 322, 1.0: 269, 0.8: 218, 0.3125: 146, 0.5: 114, 0.45: 50}),
        ("feet_first", {True: 197}),
    ],
)
def test_shares_are_the_originals(table, column, counts):
    for value, count in counts.items():
        assert (table[column] == value).mean() == pytest.approx(count / 2019, abs=0.035), value


def test_pixels_and_matrix_are_the_originals(table):
    assert table["spacing_mm"].between(0.19, 0.71).all()
    assert table["spacing_mm"].quantile(0.1) > 0.33 and table["spacing_mm"].quantile(0.9) < 0.52
    assert ((table["rows"] == 512) & (table["columns"] == 512)).mean() > 0.99
    assert table["slices"].mean() == pytest.approx(711_601 / 2019, rel=0.1)
    assert 0.05 < (table["syntax"] == JPEG_LOSSLESS).mean() < 0.2
    assert set(zip(table["signed"], table["intercept"], strict=True)) == {
        (True, -1024),
        (True, 0),
        (False, -1024),
    }


def test_sites_differ(table):
    noise = table.groupby("site")["noise_hu"].median()
    assert noise.max() > 1.6 * noise.min()
    assert table.groupby("site")["step_mm"].median().nunique() > 3


def test_an_ordinary_scan_holds_the_neck():
    for i in range(240):
        rng = np.random.default_rng(i)
        anatomy = make_anatomy("MF"[i % 2], 20 + i % 70, rng)
        grid = choose_protocol(1 + i % 12, anatomy, SETTINGS, rng).grid
        (z, y, x), (top, bottom) = (grid.axis(dim) for dim in range(3)), column_ends_mm(anatomy)
        assert z[0] > top and z[-1] < bottom
        for pose in anatomy.poses[:7]:
            assert y[0] < pose.centre[1] - 15 and y[-1] > pose.centre[1] + 50
            assert x[0] < pose.centre[2] - 30 and x[-1] > pose.centre[2] + 30


def test_smaller_size_keeps_the_field_of_view():
    rng = np.random.default_rng(0)
    anatomy = make_anatomy("M", 50, rng)
    fields = []
    for size in (1.0, 0.5):
        settings = ReplicaSettings(out=Path("unused"), size=size)
        grid = choose_protocol(4, anatomy, settings, np.random.default_rng(5)).grid
        fields.append([n * mm for n, mm in zip(grid.shape, grid.spacing_mm, strict=True)])
    assert np.allclose(*fields, atol=2.0)


def test_every_site_has_steps_that_sum_to_one():
    assert sorted(SITES) == list(range(1, 13))
    for site in SITES.values():
        assert sum(share for *_, share in site.steps) == pytest.approx(1)
