import shutil
import zipfile

import numpy as np
import pytest

from cspine.errors import InputError
from cspine.execution.archives import Archives, pack
from cspine.execution.store import StudyStore

SETTINGS = {"spacing_mm": 2.0}
UIDS = [f"1.2.{number}" for number in range(6)]


@pytest.fixture
def store(tmp_path) -> StudyStore:
    made = StudyStore(tmp_path / "loose", SETTINGS)
    random = np.random.default_rng(0)
    for number, uid in enumerate(UIDS):
        arrays = {"volume": random.integers(-1000, 2000, (5, 6, 7), dtype=np.int16)}
        if number % 2:
            arrays["labels"] = random.integers(0, 8, (5, 6, 7), dtype=np.uint8)
        made.write(uid, arrays, {"number": number, "affine": np.eye(4).tolist()})
    made.write_index([{"StudyInstanceUID": uid, "status": "done", "reason": "", "notes": ""} for uid in UIDS])
    return made


def assert_same(one: StudyStore, other: StudyStore) -> None:
    assert one.uids() == other.uids()
    for uid in one.uids():
        (arrays, meta), (others, other_meta) = one.read(uid), other.read(uid)
        assert meta == other_meta == other.meta(uid)
        assert set(arrays) == set(others)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, others[name])
            assert array.dtype == others[name].dtype and other.holds(uid, name)
        assert not other.holds(uid, "nothing")


def test_a_packed_store_is_read_like_the_loose_one(store, tmp_path):
    store.pack_into(tmp_path / "packed", {"fold0": UIDS[:3], "fold1": [*UIDS[3:], "1.2.77"]})
    names = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert names == ["fold0.zip", "fold1.zip", "index.csv", "settings.json"]
    packed = StudyStore(tmp_path / "packed", SETTINGS)
    assert_same(store, packed)
    assert packed.has(UIDS[0]) and not packed.has("1.2.77")
    assert packed.read_index().equals(store.read_index())
    with pytest.raises(InputError, match="spacing_mm"):
        StudyStore(tmp_path / "packed", {"spacing_mm": 3.0})


def test_what_is_written_later_counts_and_is_packed_with_the_rest(store, tmp_path):
    store.pack_into(tmp_path / "one", {"fold0": UIDS[:2], "fold1": UIDS[2:4]})
    later = StudyStore(tmp_path / "one", SETTINGS)
    later.write(UIDS[4], store.read(UIDS[4])[0], store.meta(UIDS[4]))
    later.write(UIDS[0], {"volume": np.zeros((1, 1, 1), np.int16)}, {"number": "anew"})
    assert later.uids() == UIDS[:5] and later.meta(UIDS[0]) == {"number": "anew"}
    assert not later.holds(UIDS[1], "nothing") and later.holds(UIDS[1], "labels")
    later.pack_into(tmp_path / "two", {"fold0": [*UIDS[:2], UIDS[4]], "fold1": UIDS[2:4]})
    assert_same(later, StudyStore(tmp_path / "two", SETTINGS))
    unchanged = [(tmp_path / folder / "fold1.zip").read_bytes() for folder in ("one", "two")]
    assert unchanged[0] == unchanged[1]


def test_a_study_that_moved_to_another_group_is_in_one_archive(store, tmp_path):
    store.pack_into(tmp_path / "one", {"fold0": UIDS})
    once = StudyStore(tmp_path / "one", SETTINGS)
    once.pack_into(tmp_path / "two", {"a": UIDS[:1], "b": UIDS[1:]})
    assert_same(store, StudyStore(tmp_path / "two", SETTINGS))
    assert len(zipfile.ZipFile(tmp_path / "two" / "a.zip").namelist()) == 2


def test_the_same_studies_give_the_same_file(store, tmp_path):
    for name in ("one", "two"):
        store.pack_into(tmp_path / name, {"all": UIDS})
    assert (tmp_path / "one" / "all.zip").read_bytes() == (tmp_path / "two" / "all.zip").read_bytes()


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_damaged_archive_is_named_and_never_read_as_something_else(store, tmp_path, where):
    store.pack_into(tmp_path / "packed", {"all": UIDS})
    path = tmp_path / "packed" / "all.zip"
    content = bytearray(path.read_bytes())
    place = {"start": 60, "middle": len(content) // 2, "end": len(content) - 10}[where]
    content[place : place + 8] = bytes(255 - byte for byte in content[place : place + 8])
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"all\.zip: expected packed studies"):
        packed = StudyStore(tmp_path / "packed", SETTINGS)
        for uid in UIDS:
            packed.read(uid)


def test_a_cut_archive_is_named(store, tmp_path):
    store.pack_into(tmp_path / "packed", {"all": UIDS})
    path = tmp_path / "packed" / "all.zip"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"all\.zip: expected packed studies"):
        StudyStore(tmp_path / "packed", SETTINGS)


def test_a_name_in_an_archive_that_is_no_uid_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../../evil/meta.json", "{}")
    with pytest.raises(InputError):
        Archives(tmp_path)


def test_what_can_not_be_read_leaves_no_archive(store, tmp_path):
    shutil.rmtree(store.folder / UIDS[1])

    def files(uid):
        return {"meta.json": (store.folder / uid / "meta.json").read_bytes()}

    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "new" / "all.zip", UIDS, files)
    assert list((tmp_path / "new").iterdir()) == []
