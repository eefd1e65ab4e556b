"""The gallery shows every fracture and mimic, says of each picture what it shows, and outlines it where it lies."""

import html
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import replica_gallery as gallery
import replica_views as views

from replica.cohort.published import LEVELS
from replica.cohort.studies import make_cohort
from replica.injuries.fractures import EVERY_KIND, draw_injury, kinds_at
from replica.injuries.mimics import EVERY_MIMIC, LEVELS_OF, Mimic
from replica.settings import ReplicaSettings
from replica.study import Study, draw_protocol, make_study

ROOT = Path(__file__).parents[2]
BONE, SOFT = "Window bone L400 W2000; ", "Window soft tissue L50 W400; "
FOUND = "axial and sagittal, each plain and outlined, 72 mm across. "
PLANES = "sagittal and coronal through C4, axial at C1, C2, C3, C5, C7, T1. "
WHO = re.compile(
    r"Study (\d+) of seed (\d+): site (\d+), (man|woman) of (\d+), step [\d.]+ mm, pixel [\d.]+ mm\."
)


def below_heads(image: np.ndarray, heads: int) -> np.ndarray:
    """A picture without its strips of text, each of which must hold some."""
    for i in range(heads):
        assert image[i * views.HEAD_PX : (i + 1) * views.HEAD_PX].max() > 100
    return image[heads * views.HEAD_PX :]


def pairs(finding: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Plain and outlined pictures of a finding's axial and sagittal plane."""
    axial, axial_outlined, sagittal, sagittal_outlined = np.hsplit(finding, 4)
    return [(axial, axial_outlined), (sagittal, sagittal_outlined)]


@pytest.mark.slow
def test_a_quick_gallery_shows_every_kind_and_says_what_it_shows(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "replica_gallery.py", "--quick", "--workers", "1"]
    paths = ["--out", tmp_path / "page", "--picture", tmp_path / "docs" / "replica.png"]
    done = subprocess.run([*command, *paths, "--seed", "4"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page" / "index.html").read_text()
    assert [kind for kind in EVERY_KIND if f"<h2>Fracture: {kind}</h2>" not in page] == []
    assert [kind for kind in EVERY_MIMIC if f"<h2>Mimic of a fracture: {kind}</h2>" not in page] == []
    figures = re.findall(r"<figure><img src='([^']+)'[^>]*><figcaption>(.+?)</figcaption></figure>", page)
    assert page.count("<img") == len(figures)
    assert sorted(name for name, _ in figures) == sorted(
        path.name for path in (tmp_path / "page").glob("*.png")
    )
    cohort = make_cohort(ReplicaSettings(out=tmp_path, seed=4, size=0.125)).set_index("index")
    for name, escaped in figures:
        caption, image = html.unescape(escaped), cv2.imread(str(tmp_path / "page" / name))
        number, seed, site, sex, age = WHO.search(caption).groups()
        row = cohort.loc[int(number)]
        who = {"M": "man", "F": "woman"}[row["sex"]]
        assert (seed, int(site), sex, int(age)) == ("4", row["site"], who, row["age"])
        kind, *_, last = name.removesuffix(".png").split("-")
        if kind == "patient":
            assert caption.startswith((SOFT if last == "soft" else BONE) + PLANES)
            broken = re.findall(r"(C\d) \w+, severity \d\.\d\d", caption)
            assert set(broken) == {level for level in LEVELS if row[level]}
            assert "Mimics of fractures: " in caption
            assert below_heads(image, 2).max() > 200
            continue
        assert last == number
        if kind == "fracture":
            found = re.match(r"Fracture: (C\d) (\w+), severity (\d\.\d\d)\. ", caption)
            level, what, severity = found.groups()
            assert what in kinds_at(level) and name.startswith(f"fracture-{what}-{float(severity):g}-")
        else:
            level, what = re.match(r"Mimic of a fracture: (C\d) (\w+)\. ", caption).groups()
            assert level in LEVELS_OF[what] and name.startswith(f"mimic-{what}-{level}-")
        assert BONE + FOUND in caption
        image = below_heads(image, 2)
        assert image.shape == (views.CROP_PX, 4 * views.CROP_PX, 3)
        for plain, outlined in pairs(image):
            changed = (plain != outlined).any(axis=2)
            assert 0 < changed.mean() < 0.25, name
    picture = cv2.imread(str(tmp_path / "docs" / "replica.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (1000, 1600) and picture.dtype == np.uint8


@pytest.fixture(scope="module")
def study() -> Study:
    """A small study with a broken level."""
    settings = ReplicaSettings(out=Path(), train=8, public=0, private=0, size=0.125)
    cohort = make_cohort(settings)
    return make_study(cohort[cohort["patient_overall"] == 1].iloc[0], settings)


def test_a_finding_is_outlined_around_its_voxels_in_both_planes(study):
    """A block of bright voxels: every plane is cut through it, and the line runs along its edge."""
    grid = study.protocol.grid
    hu = np.full(grid.shape, -1000, np.int16)
    part = tuple(slice(n // 2, n // 2 + 8) for n in grid.shape)
    hu[part] = 1400
    place = tuple(float(grid.axis(dim)[part[dim]].mean()) for dim in range(3))
    block = Mimic("limbus", "C4", part, np.ones((8, 8, 8), bool), place)
    image = below_heads(views.finding(study, hu, block), 1)
    z_mm, y_mm, x_mm = grid.spacing_mm
    for (plain, outlined), (high_mm, wide_mm) in zip(pairs(image), ((y_mm, x_mm), (z_mm, y_mm)), strict=True):
        rows, columns = np.nonzero((plain != outlined).any(axis=2))
        for found, size_mm in ((rows, high_mm), (columns, wide_mm)):
            wanted_px = min(8 * size_mm / views.CROP_MM * views.CROP_PX, views.CROP_PX)
            assert np.ptp(found) == pytest.approx(wanted_px, abs=0.25 * wanted_px / 8 + 4)
        bright = np.argwhere(plain[:, :, 0] > 128)
        assert np.abs(bright.mean(axis=0) - np.mean([rows, columns], axis=1)).max() < 4


def test_two_patients_with_one_mimic_have_two_pictures(tmp_path):
    settings = gallery.Settings(out=tmp_path, seed=1)
    replica = ReplicaSettings(out=tmp_path, seed=1)
    patients = gallery.choose_patients(make_cohort(replica), 12)
    jobs = gallery.findings(settings, replica, patients)
    for heading, these in jobs.items():
        shown = {(row["index"], what) for _, _, _, row, what in these}
        assert len(shown) == len(these) >= 2, heading
        assert len({row["index"] for _, _, _, row, _ in these}) == len(these), heading


def test_planes_are_named_for_a_reader(study):
    names = [views.plane_name(name) for name in views.planes(study, study.hu)]
    assert names[:3] == ["sagittal C4", "coronal C4", "axial C1"] and names[-1] == "axial T1"


def test_a_fracture_is_named_by_level_kind_and_severity():
    injury = draw_injury("C5", 0.625, np.random.default_rng(0), "facet")
    assert gallery.fracture_name(replace(injury, severity=0.6249)) == "C5 facet, severity 0.62"


def test_text_stands_above_a_picture_and_fits_into_it():
    picture = np.full((50, 60), 7, np.uint8)
    headed = views.headed(picture, "a text that is far longer than sixty pixels")
    assert (headed[views.HEAD_PX :] == picture).all() and headed.shape == (50 + views.HEAD_PX, 60)
    strip = headed[: views.HEAD_PX]
    assert strip.max() > 60 and strip[:, -3:].max() == 0


def test_planes_keep_their_proportions():
    image = views.square(np.zeros((100, 200), np.uint8), (1.5, 0.5), 0.5)
    assert image.shape == (300, 200)
    image = views.framed(np.full((300, 200), 7, np.uint8), 100, 400)
    assert image.shape == (100, 400) and (image[:, 100:300] == 7).all() and image.sum() == 7 * 100 * 200


def test_windows_are_those_that_their_names_say():
    hu = np.array([-600, 400, 1400, -150, 50, 250])
    assert views.grey(hu[:3], views.BONE).tolist() == [0, 128, 255]
    assert views.grey(hu[3:], views.SOFT).tolist() == [0, 128, 255]
    for (level, width), name in views.WINDOW_NAMES.items():
        assert name.endswith(f" L{level} W{width}")


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
