"""What a batch tells: the index's rows, the summary, the second attempt after a crash."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import stages
from helpers.series import phantom, slices_of, write_series
from helpers.tasks import write_and_die, write_for_long_or_find_the_disk_full

from cspine import storage
from cspine.dicom.reader import READ_AGAIN, read_series
from cspine.execution.batch import Batch, StudyWork, run_batch
from cspine.execution.engine import run_tasks
from cspine.execution.sources import Sources
from cspine.execution.store import StudyStore
from cspine.execution.worker import DIED, Job
from cspine.inference.decoded import decode_study, load_volume
from cspine.preprocessing.columns import ColumnsStage, cut_study
from cspine.preprocessing.prepare import prepare
from cspine.preprocessing.resampling import resample
from cspine.preprocessing.verdict import WHOLE
from cspine.settings.execution import ExecutionSettings
from cspine.settings.preprocessing import ColumnSettings

GOOD, ODD = (f"1.2.826.0.1.3680043.{number}" for number in (61, 62))
JPEG = "1.2.840.10008.1.2.4.70"
DEADLY = '''"""dicomsdl, but for one slice, at which it ends the process as it really does at some damaged ones."""
import ctypes, importlib.machinery, importlib.util, sys
from pathlib import Path

here = Path(__file__).parent
found = importlib.machinery.PathFinder.find_spec("dicomsdl", [p for p in sys.path if Path(p) != here])
real = importlib.util.module_from_spec(found)
sys.modules["dicomsdl"] = real
found.loader.exec_module(real)
open_memory = real.open_memory

def deadly(content, *more):
    if (here / "deadly slice").read_bytes() in content:
        ctypes.string_at(0)
    return open_memory(content, *more)

real.open_memory = deadly
'''


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Two studies; dicomsdl can't stand one slice of the second."""
    before = tmp_path / "before"
    before.mkdir()
    (before / "dicomsdl.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(before)  # workers take over this process's path
    for seed, uid in enumerate((GOOD, ODD)):
        slices = slices_of(phantom((10, 64, 64), seed), syntax=JPEG)
        folder = write_series(tmp_path / "raw" / "train_images" / uid, slices)
    content = (folder / "7.dcm").read_bytes()
    frame = content[content.index(b"\xff\xd8\xff") :]
    (before / "deadly slice").write_bytes(frame[100:-100])
    return stages.write_train(tmp_path / "raw", [GOOD, ODD])


@pytest.mark.slow
def test_a_study_that_crashed_the_fast_decoder_is_read_by_the_other_one(raw, tmp_path):
    store = StudyStore(tmp_path / "volumes", {"spacing_mm": 2.0})
    batch = prepare(raw, store, 2.0, ExecutionSettings(workers=2))
    assert (batch.done, batch.retried, batch.failed) == (2, 1, {})
    index = store.read_index().set_index("StudyInstanceUID")
    assert READ_AGAIN in index.loc[ODD, "notes"] and READ_AGAIN not in index.loc[GOOD, "notes"]
    assert READ_AGAIN in store.meta(ODD)["notes"]
    right = resample(read_series(raw / "train_images" / ODD, use_dicomsdl=False), 2.0)
    np.testing.assert_array_equal(store.read(ODD)[0]["volume"], right.hu)


@pytest.mark.slow
def test_inference_reads_such_a_study_too(raw, tmp_path):
    job = Job(decode_study, 60.0, fallback=partial(decode_study, fallback=True))
    items = [
        (uid, (str(raw / "train_images" / uid), str(tmp_path / "scratch" / uid), 2.0)) for uid in (GOOD, ODD)
    ]
    outcomes = {outcome.key: outcome for outcome in run_tasks(job, items, workers=2)}
    assert {uid: (o.error, o.attempts) for uid, o in outcomes.items()} == {GOOD: (None, 1), ODD: (None, 2)}
    good, odd = (load_volume(tmp_path / "scratch" / uid) for uid in (GOOD, ODD))
    np.testing.assert_array_equal(odd.hu, phantom((10, 64, 64), 1))
    assert READ_AGAIN in odd.notes and READ_AGAIN not in good.notes
    (outcome,) = run_tasks(Job(decode_study, 60.0), items[1:], workers=1)
    assert outcome.kind == DIED and "SIGSEGV" in outcome.error, "without the second attempt it is lost"


def test_a_column_is_cut_at_the_second_attempt_too(tmp_path):
    hu = phantom((20, 64, 64))
    write_series(tmp_path / "raw" / "train_images" / GOOD, slices_of(hu, syntax=JPEG))
    labels = StudyStore(tmp_path / "labels", {})
    drawn = np.repeat(np.arange(1, 8), 3)[:20].astype(np.uint8)[:, None, None] * np.ones(
        (1, 40, 40), np.uint8
    )
    affine = np.diag([-2.0, 0.5, 0.75, 1.0])
    affine[:3, 3] = (100.0, -30.0, -20.0)
    labels.write(GOOD, {"labels": drawn}, {"affine": affine.tolist(), "verdict": WHOLE.as_json()})
    cut = ColumnsStage(tmp_path / "raw", labels, StudyStore(tmp_path / "columns", {}), ColumnSettings())
    first = cut_study(cut, GOOD, (False,) * 7, [])
    column = cut.columns.read(GOOD, mmap=False)[0]
    second = cut_study(cut, GOOD, (False,) * 7, [], fallback=True)
    again = cut.columns.read(GOOD, mmap=False)[0]
    assert READ_AGAIN in second["notes"] and READ_AGAIN not in first["notes"]
    for name, array in column.items():
        np.testing.assert_array_equal(again[name], array)


def test_the_index_keeps_where_the_slices_truly_lay(tmp_path):
    slices = slices_of(phantom((12, 32, 32)))
    del slices[5]
    write_series(tmp_path / "raw" / "train_images" / GOOD, slices)
    store = StudyStore(tmp_path / "volumes", {"spacing_mm": 2.0})
    prepare(stages.write_train(tmp_path / "raw", [GOOD]), store, 2.0, ExecutionSettings(workers=1))
    row = store.read_index().iloc[0]
    assert row[["slices_read", "step_min_mm", "step_max_mm", "z"]].tolist() == ["11", "2.0", "4.0", "12"]
    heights = np.array(store.meta(GOOD)["slice_heights_mm"])
    np.testing.assert_allclose(heights, [100.0 - 2 * z for z in range(12) if z != 5])


def batch_of(function: Callable, tasks: dict[str, tuple], store: StudyStore) -> Batch:
    work = StudyWork("stage", function, "", (), lambda _: {}, lambda *_: Sources([]))
    return run_batch(work, tasks, store, ExecutionSettings(workers=2))


def test_a_run_that_ends_early_leaves_nothing_half_written(tmp_path):
    store = StudyStore(tmp_path / "store", {"spacing_mm": 1.0})
    tasks = {uid: (str(store.folder), uid, uid == ODD) for uid in (GOOD, ODD)}
    with pytest.raises(storage.DiskFull, match=f"study {ODD}: no room"):
        batch_of(write_for_long_or_find_the_disk_full, tasks, store)
    assert not list(store.folder.glob(".*.tmp")) and not store.uids()
    assert store.read_index().empty


def test_nor_does_one_whose_workers_were_killed(tmp_path):
    store = StudyStore(tmp_path / "store", {"spacing_mm": 1.0})
    batch = batch_of(write_and_die, {GOOD: (str(store.folder), GOOD)}, store)
    assert "worker died (signal 9, SIGKILL) 3 times" in batch.failed[GOOD]
    assert not list(store.folder.glob(".*.tmp")) and not store.uids()


def rows(failed: dict[str, str]) -> dict[str, dict]:
    return {uid: {"status": "failed", "reason": reason, "notes": ""} for uid, reason in failed.items()}


def test_the_summary_groups_failures_and_names_a_few(capsys):
    failed = {
        f"1.{n}": f"study 1.{n}: found {n} unreadable files of 40 ({n}.dcm: empty file)" for n in range(5)
    }
    failed["2.1"] = "stopped after 600 s"
    read = {"status": "done", "reason": "", "notes": "", "slices_read": 900}
    batch = Batch({**rows(failed), "3.1": read}, tried=[*failed, "3.1"], seconds=2.0)
    batch.print_summary("prepare", read="raw", wrote="cache", counted=("slices", "slices_read"))
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == f"failed 1.0: {failed['1.0']} (and 4 more alike: 1.1, 1.2, ...)"
    assert second == "failed 2.1: stopped after 600 s"
    assert "done 1 (reused 0, failed 6)" in last and "slices per s 450" in last


def test_what_damaged_files_say_does_not_damage_the_index(tmp_path):
    slices = slices_of(phantom((12, 32, 32)))
    slices[3].more["SeriesInstanceUID"] = "1.2\x00\r\n3"
    write_series(tmp_path / "raw" / "train_images" / GOOD, slices)
    store = StudyStore(tmp_path / "volumes", {"spacing_mm": 2.0})
    prepare(stages.write_train(tmp_path / "raw", [GOOD]), store, 2.0, ExecutionSettings(workers=1))
    text = (Path(store.folder) / "index.csv").read_bytes()
    assert text.count(b"\n") == 2 and b"\0" not in text and b"\r" not in text
    assert "left out" in store.read_index()["notes"][0]
    assert storage.read_json(store.folder / GOOD / "meta.json")["notes"]
