"""The store of studies: whole or absent, and never mixed."""

import multiprocessing
import os

import numpy as np
import pytest
from helpers import tasks

from cspine import storage
from cspine.errors import InputError
from cspine.execution.store import FORMAT_VERSION, INDEX_END, INDEX_START, StudyStore

UID = "1.2.826.0.1.3680043.7"


@pytest.fixture
def store(tmp_path):
    return StudyStore(tmp_path / "volumes", {"spacing_mm": 2.0, "window": (1, 2)})


def test_what_is_written_is_read(store):
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    store.write(UID, {"volume": volume, "labels": volume > 3}, {"affine": np.eye(4).tolist()})
    arrays, meta = StudyStore(store.folder, store.settings).read(UID)
    np.testing.assert_array_equal(arrays["volume"], volume)
    np.testing.assert_array_equal(arrays["labels"], volume > 3)
    assert isinstance(arrays["volume"], np.memmap) and arrays["volume"].dtype == np.int16
    assert meta == {"affine": np.eye(4).tolist()} == store.meta(UID)
    assert not isinstance(store.read(UID, mmap=False)[0]["volume"], np.memmap)
    assert store.uids() == [UID] and store.has(UID)
    assert store.holds(UID, "labels") and not store.holds(UID, "boxes")


def test_opening_creates_nothing(store):
    assert store.uids() == [] and not store.has(UID) and not store.folder.exists()


def test_writing_again_replaces_all(store):
    store.write(UID, {"a": np.zeros(3), "b": np.zeros(3)}, {"n": 1})
    store.write(UID, {"a": np.ones(2)}, {"n": 2})
    arrays, meta = store.read(UID)
    assert arrays.keys() == {"a"} and (arrays["a"] == 1).all() and meta == {"n": 2}
    assert store.clean_temporaries() == 0


@pytest.mark.slow
@pytest.mark.parametrize("there_before", [False, True])
def test_an_interrupted_write_is_never_a_study(store, there_before):
    store = StudyStore(store.folder, {"spacing_mm": 1.0})
    if there_before:
        store.write(UID, {"first": np.full(3, 7)}, {"a": 0})
    process = multiprocessing.get_context("spawn").Process(
        target=tasks.write_and_die, args=(str(store.folder), UID)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    left = [path.name for path in store.folder.glob(".*.tmp")]
    assert len(left) == 1, "the process was meant to die halfway"
    assert store.has(UID) == there_before and store.uids() == [UID] * there_before
    if there_before:
        arrays, meta = store.read(UID)
        assert (arrays["first"] == 7).all() and meta == {"a": 0}
    assert store.clean_temporaries() == 1 and not list(store.folder.glob(".*.tmp"))


def test_other_settings_are_refused_with_their_names(store):
    store.write(UID, {}, {})
    StudyStore(store.folder, {"window": [1, 2], "spacing_mm": 2.0})
    with pytest.raises(
        InputError, match=r"found spacing_mm = 2\.0; expected spacing_mm = 3\.0; name another CACHE"
    ):
        StudyStore(store.folder, {"window": [1, 2], "spacing_mm": 3.0})
    with pytest.raises(InputError, match="found window = "):
        StudyStore(store.folder, {"spacing_mm": 2.0})


@pytest.mark.parametrize("version", [0, FORMAT_VERSION - 1, FORMAT_VERSION + 1, None])
def test_another_format_version_is_refused_and_nothing_is_added(store, version):
    store.write(UID, {"a": np.zeros(3)}, {"n": 1})
    stamp = storage.read_json(store.folder / "settings.json")
    storage.write_json(store.folder / "settings.json", {**stamp, "format_version": version})
    with pytest.raises(InputError, match=f"found format version {version}, expected {FORMAT_VERSION}; name"):
        StudyStore(store.folder, store.settings)
    with pytest.raises(InputError, match="format version"):  # also if it was opened before
        store.write(f"{UID}.1", {"a": np.ones(3)}, {"n": 2})
    assert store.uids() == [UID] and not list(store.folder.glob(".*.tmp"))


def test_studies_without_a_word_on_their_settings_are_refused(store):
    store.write(UID, {"a": np.zeros(3)}, {})
    (store.folder / "settings.json").unlink()
    with pytest.raises(InputError, match="settings.json: found studies beside it, but not the file"):
        StudyStore(store.folder, store.settings)


def test_two_that_finish_the_same_study_at_once_leave_one_of_them_whole(store, monkeypatch):
    """A Dask scheduler may give a study to a second worker while the first one still writes."""
    rename = os.rename
    other = StudyStore(store.folder, store.settings)

    def late(source, target):
        monkeypatch.setattr("os.rename", rename)
        other.write(UID, {"a": np.ones(3)}, {"by": "other"})
        rename(source, target)

    monkeypatch.setattr("os.rename", late)
    store.write(UID, {"a": np.zeros(3)}, {"by": "first"})
    arrays, meta = store.read(UID)
    assert meta == {"by": "first"} and (arrays["a"] == 0).all()
    assert not list(store.folder.glob(".*.tmp"))


def test_a_failed_write_leaves_the_older_study(store):
    store.write(UID, {"a": np.zeros(3)}, {"n": 1})
    with pytest.raises(ValueError, match="allow_pickle"):
        store.write(UID, {"a": np.array([{}], dtype=object)}, {"n": 2})
    assert store.meta(UID) == {"n": 1} and not list(store.folder.glob(".*.tmp"))


@pytest.mark.parametrize("uid", ["../../etc", "1.2/3", "", "1..2", ".1", "a" * 65, "1" * 65, "uid"])
def test_bad_uids_never_become_paths(store, uid):
    for use in (store.has, store.read, lambda u: store.write(u, {}, {})):
        with pytest.raises(InputError, match="StudyInstanceUID"):
            use(uid)


def test_a_missing_or_damaged_study_says_so(store):
    with pytest.raises(InputError, match="no such file"):
        store.read(UID)
    store.write(UID, {"a": np.arange(100)}, {})
    path = store.folder / UID / "a.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="run the stage again"):
        store.read(UID)


def test_objects_are_not_written(store):
    with pytest.raises(ValueError, match="allow_pickle"):
        store.write(UID, {"a": np.array([{}], dtype=object)}, {})
    assert not store.has(UID)


def test_index(store):
    store.folder.mkdir()
    assert len(store.read_index()) == 0
    store.write_index(
        [{"StudyInstanceUID": "2", "status": "done", "boxes": 3}, {"StudyInstanceUID": "1", "z": 5}], ["z"]
    )
    frame = store.read_index()
    assert tuple(frame.columns) == (*INDEX_START, "z", *INDEX_END, "boxes")
    assert frame["StudyInstanceUID"].tolist() == ["1", "2"] and frame["z"].tolist() == ["5", ""]
    (store.folder / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="found columns a, b"):
        store.read_index()
