"""The gallery shows every fracture and mimic, and its outlines lie where these are."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import replica_views as views

from replica.cohort.studies import make_cohort
from replica.injuries.fractures import EVERY_KIND
from replica.injuries.mimics import EVERY_MIMIC
from replica.settings import ReplicaSettings
from replica.study import draw_protocol

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_quick_gallery_shows_every_kind_and_writes_the_picture(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "replica_gallery.py", "--quick", "--workers", "1"]
    paths = ["--out", tmp_path / "page", "--picture", tmp_path / "docs" / "replica.png"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page" / "index.html").read_text()
    assert [kind for kind in EVERY_KIND if f"<h2>Fracture: {kind}</h2>" not in page] == []
    assert [kind for kind in EVERY_MIMIC if f"<h2>No fracture: {kind}</h2>" not in page] == []
    shown = re.findall(r"<img src='([^']+)'", page)
    assert sorted(shown) == sorted(path.name for path in (tmp_path / "page").glob("*.png"))
    for name in shown:
        image = cv2.imread(str(tmp_path / "page" / name))
        assert image.max() > image.min(), name
        if not name.startswith("patient"):
            plain, outlined = image[:, : views.CROP_PX], image[:, views.CROP_PX : 2 * views.CROP_PX]
            changed = (plain != outlined).any(axis=2)
            assert 0 < changed.mean() < 0.25, name
    picture = cv2.imread(str(tmp_path / "docs" / "replica.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (1000, 1600) and picture.dtype == np.uint8


def test_planes_keep_their_proportions():
    image = views.square(np.zeros((100, 200), np.uint8), (1.5, 0.5), 0.5)
    assert image.shape == (300, 200)
    image = views.framed(np.full((300, 200), 7, np.uint8), 100, 400)
    assert image.shape == (100, 400) and (image[:, 100:300] == 7).all() and image.sum() == 7 * 100 * 200


def test_windows_are_those_of_the_reading_room():
    hu = np.array([-600, 400, 1400, -150, 50, 250])
    assert views.grey(hu[:3], views.BONE).tolist() == [0, 128, 255]
    assert views.grey(hu[3:], views.SOFT).tolist() == [0, 128, 255]


def test_a_thin_stack_lies_where_its_slices_lie_in_the_whole_scan():
    settings = ReplicaSettings(out=Path(), train=1, public=0, private=0)
    anatomy, protocol = draw_protocol(make_cohort(settings).iloc[0], settings)
    thin = views.around_level(protocol, anatomy, "C4").grid
    whole = protocol.grid
    first = (whole.origin_mm[0] - thin.origin_mm[0]) / whole.spacing_mm[0]
    assert first == pytest.approx(round(first), abs=1e-6) and first > 0
    heights = thin.axis(0)
    middle = anatomy.poses[3].centre[0]
    assert heights[0] - middle > views.CROP_MM / 2 and middle - heights[-1] > views.CROP_MM / 2
    assert thin.shape[0] < whole.shape[0] and thin.shape[1:] == whole.shape[1:]
