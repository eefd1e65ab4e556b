import os
import shutil

import pytest

from cspine.execution.sources import MADE_FROM, SAMPLED, Sources, digest_of, of_folder


@pytest.fixture
def folder(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    for number in range(20):
        (series / f"{number}.dcm").write_bytes(bytes([number]) * 20_000)
    (series / ".hidden").touch()
    return series


def sources(folder, values=None):
    mask = folder.parent / "mask.nii"
    return Sources(of_folder(folder), [mask] if mask.exists() else [], values)


def test_nothing_changed(folder):
    before = sources(folder, {"boxes": [[1, 2.5]]}).describe()
    assert not sources(folder, {"boxes": [[1, 2.5]]}).differ_from(before)
    assert len(of_folder(folder)) == 20, "hidden files play no part"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "3.dcm").unlink(),
        lambda folder: (folder / "20.dcm").write_bytes(b"new"),
        lambda folder: (folder / "3.dcm").rename(folder / "30.dcm"),
        lambda folder: (folder / "3.dcm").write_bytes(b"shorter"),
        lambda folder: (folder.parent / "mask.nii").write_bytes(b"a mask"),
        lambda folder: [path.write_bytes(b"x" * 20_000) for path in folder.glob("*.dcm")],
    ],
)
def test_what_changed_is_noticed(folder, change):
    before = sources(folder).describe()
    change(folder)
    assert sources(folder).differ_from(before)


def test_a_mask_is_read_as_a_whole(folder):
    mask = folder.parent / "mask.nii"
    mask.write_bytes(bytes(100_000))
    before = sources(folder).describe()
    content = bytearray(bytes(100_000))
    content[30_000] = 1
    mask.write_bytes(content)
    os.utime(mask, ns=(1, 1))
    assert sources(folder).differ_from(before)


def test_values_count(folder):
    before = sources(folder, [1, 2]).describe()
    assert sources(folder, [1, 3]).differ_from(before)
    assert sources(folder, [1, 2]).differ_from(None), "made by a version that did not say"


def test_a_copy_is_the_same_although_its_times_are_others(folder, tmp_path):
    before = sources(folder).describe()
    shutil.move(folder, tmp_path / "moved" / "series")
    for number, path in enumerate(of_folder(tmp_path / "moved" / "series")):
        os.utime(path, ns=(number, number))
    assert not Sources(of_folder(tmp_path / "moved" / "series")).differ_from(before)
    now = Sources(of_folder(tmp_path / "moved" / "series")).describe()
    assert now["times"] != before["times"]
    assert digest_of({MADE_FROM: now}) == digest_of({MADE_FROM: before})
    assert digest_of({}) != digest_of({MADE_FROM: before})


def test_what_is_made_is_kept_where_its_files_are_gone(folder):
    now = sources(folder)
    before = now.describe()
    shutil.rmtree(folder)
    assert not now.differ_from(before)


def test_slices_are_sampled_evenly_and_few_of_them(folder, monkeypatch):
    opened = []
    real = type(folder).open

    def count(path, *args, **options):
        opened.append(path.name)
        return real(path, *args, **options)

    monkeypatch.setattr(type(folder), "open", count)
    sources(folder).describe()
    assert len(set(opened)) == SAMPLED
