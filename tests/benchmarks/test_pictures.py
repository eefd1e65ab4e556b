"""The README's pictures show the study that they promise, in the size that they promise."""

import io

import numpy as np
import pytest
from helpers import hand_made
from matplotlib.figure import Figure
from PIL import Image
from pipeline_picture import PANELS, PIPELINE_PX, draw_pipeline
from pipeline_study import ShownStudy, choose_study, deciding_slices, show
from pixel_figures import write_picture
from replica_picture import REPLICA_PX, VIEW_PX, ShownPatient, draw_replica

from cspine.errors import InputError
from cspine.preprocessing.column import Column, cut_column
from cspine.settings.preprocessing import ColumnSettings


def case(values: dict[int, float], broken: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth of one study, levels 0-6; what is not named is 0.1 and whole."""
    probability, truth = np.full(8, 0.1), np.zeros(8)
    for level, value in values.items():
        probability[level] = value
    truth[list(broken)] = 1
    truth[7] = truth[:7].max()
    return probability, truth


def chosen(**cases: tuple[np.ndarray, np.ndarray]) -> tuple[str, int]:
    probability, truth = (np.stack(rows) for rows in zip(*cases.values(), strict=True))
    return choose_study(list(cases), probability, truth)


def test_the_study_with_one_broken_level_and_the_widest_margin_is_chosen():
    found = chosen(
        narrow=case({4: 0.8, 5: 0.7}, (4,)),
        wide=case({2: 0.7}, (2,)),
        two=case({1: 0.99, 3: 0.2}, (1, 3)),
        whole=case({0: 0.99}, ()),
        wrong=case({6: 0.99}, (5,)),
        patient_only=case({7: 0.99}, (3,)),
    )
    assert found == ("wide", 2)


def test_the_patients_own_value_is_no_level():
    assert chosen(one=case({5: 0.6, 7: 0.9}, (5,))) == ("one", 5)


@pytest.mark.parametrize(
    "only",
    [case({}, ()), case({1: 0.9, 2: 0.8}, (1, 2)), case({6: 0.9}, (5,)), case({}, (3,))],
    ids=["whole", "two levels", "another level first", "no level first"],
)
def test_no_fitting_study_is_an_error_that_says_so(only):
    with pytest.raises(InputError, match=r"of 1 test studies \d have exactly one broken level"):
        chosen(only=only)


def test_the_slice_with_the_highest_logit_is_shown():
    images = np.arange(7 * 4 * 3, dtype=np.uint8).reshape(7, 4, 1, 1, 3)
    logits = np.zeros((7, 4))
    logits[:, 1], logits[5, 3] = 1.0, 2.0
    found = deciding_slices(images, logits)
    expected = [(12 * level + 3 * (3 if level == 5 else 1)) + 1 for level in range(7)]
    assert found.reshape(7).tolist() == expected


def shown(cut_top_mm: float = 0.0) -> tuple[ShownStudy, Column]:
    volume, labels, affine = hand_made.neck(cut_top_mm=cut_top_mm)
    column = cut_column(volume, labels, affine, ColumnSettings(spacing_mm=(1.0, 1.0, 1.0)))
    slices = np.full((7, 32, 32), 128, np.uint8)
    probability = np.linspace(0.02, 0.97, 8)
    return show(volume, labels, affine, column, slices, probability, broken=4), column


def test_the_same_plane_is_cut_out_of_scan_label_map_and_column():
    """C3's front upper edge, in mm of the scan, lies in the same place of all three."""
    found, column = shown()
    top, front, _ = hand_made.box_mm(3)[0]
    for image, step, start, bone in (
        (found.series, found.series_mm, (0.0, 0.0), found.series > 60),
        (found.labels, found.labels_mm, found.labels_start_mm, found.labels == 3),
        (found.column, found.column_mm, found.column_start_mm, found.column > 60),
    ):
        z = start[0] + np.arange(len(image)) * step[0]
        y = start[1] + np.arange(image.shape[1]) * step[1]
        here = bone[(z > top - 1.5) & (z < top + 16)]
        rows, columns = np.nonzero(here)
        assert y[columns.min()] == pytest.approx(front, abs=max(step[1], 0.5) + 0.1)
        assert z[z > top - 1.5][rows.min()] == pytest.approx(top, abs=max(step[0], 0.8) + 0.6)
    assert found.column.shape == column.image.shape[:2]


def as_image(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return Image.open(buffer)


@pytest.mark.parametrize("cut_top_mm", [0.0, 40.0])
def test_the_pipelines_picture_has_the_promised_size_and_five_titles(cut_top_mm):
    """40 mm: C1 is missing from the scan."""
    figure = draw_pipeline(shown(cut_top_mm)[0])
    assert as_image(figure).size == PIPELINE_PX
    assert PIPELINE_PX[0] <= 1600 and PIPELINE_PX[1] <= 700
    words = [text.get_text() for text in figure.texts]
    assert [word for word in words if word in PANELS] == list(PANELS)
    assert [word for word in words if "the level that is broken (C5)" in word]
    bars = [text.get_text() for text in figure.axes[-1].texts]
    assert bars[::2] == ["C1", "C2", "C3", "C4", "C5 ×", "C6", "C7", "overall"]
    assert bars[1::2] == [f"{value:.2f}" for value in np.linspace(0.02, 0.97, 8)]


def test_no_words_of_the_pipelines_picture_leave_it():
    figure = draw_pipeline(shown()[0])
    figure.canvas.draw()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) <= PIPELINE_PX[0]
    assert min(box.y0 for box in boxes) >= 0 and max(box.y1 for box in boxes) <= PIPELINE_PX[1]


def test_the_replicas_picture_names_planes_windows_and_patients():
    tiles = [np.full(VIEW_PX, grey, np.uint8) for grey in range(0, 240, 40)]
    patients = [ShownPatient(f"no. {n}", "no fracture", "through C5", tiles) for n in range(4)]
    figure = draw_replica(patients)
    assert as_image(figure).size == REPLICA_PX
    words = [text.get_text() for text in figure.texts]
    assert words[:3] == ["sagittal", "axial", "coronal"]
    assert words[3:9] == ["bone, L400 W2000", "soft tissue, L50 W400"] * 3
    assert [word for word in words if word.startswith("no. ")] == ["no. 0", "no. 1", "no. 2", "no. 3"]


def test_a_picture_that_is_too_large_is_not_written(tmp_path):
    path = tmp_path / "large.png"
    with pytest.raises(InputError, match="expected at most 10"):
        write_picture(path, draw_pipeline(shown()[0]), 10)
    assert not path.exists()
