"""Wide coverage shows what its name says, and the truth tells how much of each level is in view."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from replica.anatomy.build import C7, NAMES, USUAL, WIDE, make_anatomy
from replica.anatomy.shapes import Grid
from replica.cohort.published import LEVELS
from replica.injuries.bones import share_in_view
from replica.scanner.coverage import FIELD_MM, RATES, widen
from replica.scanner.protocol import View, choose_protocol
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Four hundred patients with their wide protocols."""
    settings = ReplicaSettings(out=tmp_path_factory.mktemp("none"), size=0.3125, coverage="wide")
    found = []
    for number in range(400):
        rng = np.random.default_rng(number)
        anatomy = make_anatomy("MF"[number % 2], 20 + number % 70, rng, WIDE)
        ordinary = choose_protocol(1 + number % 12, anatomy, settings, rng)
        found.append((anatomy, widen(ordinary, anatomy, settings, rng)))
    return found


def test_the_views_come_at_their_rates(drawn):
    assert sum(RATES.values()) == pytest.approx(1)
    views = [protocol.view for _, protocol in drawn]
    for view, rate in RATES.items():
        assert abs(views.count(view) / len(views) - rate) < 4 * np.sqrt(rate * (1 - rate) / len(views))


def test_fields_go_from_small_to_large(drawn):
    fields = np.array([protocol.grid.spacing_mm[1] * protocol.grid.shape[1] for _, protocol in drawn])
    assert fields.min() > 0.95 * FIELD_MM[0] and fields.max() < 1.05 * FIELD_MM[1]
    assert (fields < 190).mean() > 0.2 and (fields > 400).mean() > 0.1


def test_what_a_view_shows(drawn):
    """In units of the neck: 0 at C1, 1 at C7."""
    for anatomy, protocol in drawn[:200]:
        grid = protocol.grid
        bottom = grid.origin_mm[0] - (grid.shape[0] - 1) * grid.spacing_mm[0]
        top, low = (float(anatomy.level_at(np.array([mm]))[0]) for mm in (grid.origin_mm[0], bottom))
        match protocol.view:
            case View.NECK | View.HEAD_AND_NECK | View.NECK_AND_CHEST | View.HEAD_TO_CHEST:
                assert top < 0 and low > 1
            case View.CUT_BELOW:
                assert top < 0 and 0.02 < low < 1.15
            case View.CUT_ABOVE:
                assert -0.15 < top < 1 and low > 1
            case View.HEAD:
                assert low < 0.35
            case View.CHEST:
                assert top > 1.2


def test_share_in_view():
    anatomy = make_anatomy("M", 40, np.random.default_rng(1), USUAL)
    middle = anatomy.poses[3].centre
    size = (400, 300, 300)

    def grid(top_mm: float, slices: int) -> Grid:
        return Grid((slices, *size[1:]), (1.0, 1.0, 1.0), (top_mm, middle[1] - 150, middle[2] - 150))

    high = float(anatomy.poses[0].centre[0]) + 60
    assert all(share_in_view(grid(high, 400), anatomy, number) == 1 for number in range(C7 + 1))
    half = grid(high, int(high - middle[0]) + 1)  # down to the middle of C4's body
    shares = [share_in_view(half, anatomy, number) for number in range(C7 + 1)]
    assert shares[0] == 1 and 0.15 < shares[3] < 0.85 and shares[C7] == 0
    assert sorted(shares, reverse=True) == shares


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A few wide studies with their masks and truth."""
    out = tmp_path_factory.mktemp("wide") / "replica"
    settings = ReplicaSettings(
        out=out, train=10, public=0, private=0, split="even", size=0.125, seed=5, coverage="wide",
        mask_share=1.0, box_share=0.5, severity=(1.0, 1.0), workers=2,
    )  # fmt: skip
    replicate(settings)
    return out


def test_the_truth_says_what_is_in_view(written):
    views = pd.read_csv(written / "truth" / "views.csv", dtype={"StudyInstanceUID": str}).set_index(
        "StudyInstanceUID"
    )
    assert len(views) == 10 and set(views["view"]) <= {view.value for view in View}
    assert not (written / "truth" / "oddities.csv").read_text().splitlines()[1:]
    masks = 0
    for uid, row in views.iterrows():
        path = written / "competition" / "segmentations" / f"{uid}.nii"
        if not path.is_file():
            assert row[list(LEVELS)].to_numpy(float).max() == 0, "only a scan without a vertebra has no mask"
            continue
        masks += 1
        labels = np.asarray(nibabel.load(path).dataobj)
        for number, level in enumerate(LEVELS, start=1):
            if row[level] > 0.3:
                assert (labels == number).any(), (uid, level)
            if row[level] == 0:
                assert (labels == number).sum() < 60, (uid, level)  # specks alone
    assert masks >= 6


def test_a_published_replica_shows_whole_necks(small):
    views = pd.read_csv(small / "truth" / "views.csv")
    assert (views["view"] == "neck").all() and (views[list(LEVELS)] == 1).all(axis=None)


def test_the_chest_goes_on_to_the_twelfth_rib():
    assert NAMES[C7] == "C7" and NAMES[-1] == "T12"
    anatomy = make_anatomy("F", 60, np.random.default_rng(2), USUAL)
    heights = [pose.centre[0] for pose in anatomy.poses]
    assert len(heights) == 19 and (np.diff(heights) < 0).all()
    assert 240 < heights[C7] - heights[-1] < 330
