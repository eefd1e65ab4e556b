"""Memory of a worker on the longest study that there is, and of the whole stage on many."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import series, stages, tasks

from cspine.execution.engine import run_tasks
from cspine.execution.store import StudyStore
from cspine.execution.worker import Job
from cspine.inference.decoded import decode_study
from cspine.preprocessing.columns import ColumnsStage, cut_study
from cspine.preprocessing.prepare import prepare_study
from cspine.preprocessing.verdict import WHOLE
from cspine.settings.preprocessing import ColumnSettings

SLICES, SIZE = 1082, 512
LOST = 500
"""Number of a slice that is taken away, so that the stack has to be interpolated anew."""
MOST_KB = 1_500_000
UID = "1.2.826.0.1.3680043.31"


def write_long_study(folder: Path) -> None:
    """1,082 slices of 512 x 512, 0.3 mm apart, from feet to head, alike but for their position."""
    pixels = np.random.default_rng(0).integers(0, 2000, (SIZE, SIZE)).astype(np.int32)
    one = series.write_slice(
        folder / "one", series.Slice(pixels, (-100.0, -100.0, 100000.0), spacing=(0.4, 0.4))
    )
    content = one.read_bytes()
    one.unlink()
    assert content.count(b"100000.0") == 1
    for number in range(1, SLICES + 1):
        height = f"{100 - 0.3 * (SLICES - number):8.2f}".encode()
        (folder / f"{number}.dcm").write_bytes(content.replace(b"100000.0", height))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    write_long_study(folder / "train_images" / UID)
    (folder / "train_images" / UID / f"{LOST}.dcm").unlink()
    affine = np.diag([-0.3, 0.4, 0.4, 1.0])
    affine[:3, 3] = (100.0, -100.0, -100.0)
    labels = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    labels[100:900, 150:350, 150:350] = np.repeat(np.arange(1, 9), 100)[:, None, None]
    series.write_mask(folder / "segmentations" / f"{UID}.nii", labels, affine, "PIR")
    yield folder
    shutil.rmtree(folder)  # 1.1 GB


def label_map(folder: Path) -> StudyStore:
    """Seven levels on top of each other through the long study, at 4 mm."""
    labels = np.zeros((81, 51, 51), np.uint8)
    labels[5:75, 15:35, 15:35] = np.repeat(np.arange(1, 8), 10)[:, None, None]
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (100.0, -100.0, -100.0)
    store = StudyStore(folder, {})
    description = {"affine": affine.tolist(), "verdict": WHOLE.as_json()}
    store.write(UID, {"labels": labels}, description)
    return store


@pytest.mark.slow
def test_a_worker_stays_below_one_and_a_half_gigabytes(raw, tmp_path):
    cut = ColumnsStage(
        raw, label_map(tmp_path / "labels"), StudyStore(tmp_path / "columns", {}), ColumnSettings()
    )
    calls = {
        "prepare": (prepare_study, (str(raw), UID, str(tmp_path / "volumes"), {}, 2.0)),
        "columns": (cut_study, (cut, UID, (False,) * 7, [])),
        "scratch": (decode_study, (str(raw / "train_images" / UID), str(tmp_path / "scratch"), 2.0)),
    }
    most_kb = {}
    for name, call in calls.items():  # a new process for each
        (outcome,) = run_tasks(Job(tasks.memory_of, 120.0), [(name, call)], workers=1)
        assert outcome.error is None, outcome.error
        most_kb[name] = outcome.value
    shutil.rmtree(tmp_path / "scratch")
    print(most_kb)
    assert max(most_kb.values()) < MOST_KB, most_kb
    assert min(most_kb.values()) > SLICES * SIZE * SIZE * 2 / 1024, "the whole scan was read"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_studies(tmp_path):
    template = series.write_series(tmp_path / "one", series.slices_of(series.phantom((12, 128, 128))))
    uids = [f"1.2.826.0.1.3680043.{number}" for number in range(1000, 1060)]
    for uid in uids:
        folder = tmp_path / "raw" / "train_images" / uid
        folder.mkdir(parents=True)
        for file in template.iterdir():
            os.link(file, folder / file.name)
    most_kb = {}
    for count in (10, 60):
        raw = stages.write_train(tmp_path / "raw", uids[:count])
        command = stages.prepare_command(raw, tmp_path / f"cache{count}", "--workers", 2)
        told = stages.measured(command)
        assert f"done {count} (reused 0, failed 0)" in told["out"], told["err"]
        most_kb[count] = told["most_kb"]
    print(most_kb)
    assert most_kb[60] < most_kb[10] + 20_000, most_kb
