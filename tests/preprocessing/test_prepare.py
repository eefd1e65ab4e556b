"""The first stage over a small competition: what is made, resumed, refused and told."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.series import expected_affine, phantom, slices_of, write_mask, write_series

from cspine.errors import InputError
from cspine.execution.store import StudyStore
from cspine.preprocessing.prepare import prepare
from cspine.settings.execution import ExecutionSettings

GOOD, REVERSED, ABSENT, BROKEN = (f"1.2.826.0.1.3680043.{number}" for number in (11, 12, 13, 14))
LEVELS = [f"C{number}" for number in range(1, 8)]
SCRIPT = Path(__file__).parents[2] / "src" / "prepare.py"


def labels():
    drawn = np.zeros((10, 24, 20), np.uint8)
    drawn[2:7, 4:20, 4:16] = 3
    drawn[8, 1, 1] = 3
    return drawn


def competition(folder, uids):
    train = pd.DataFrame({"StudyInstanceUID": uids, "patient_overall": 0, **dict.fromkeys(LEVELS, 0)})
    folder.mkdir(exist_ok=True)
    train.to_csv(folder / "train.csv", index=False)
    for uid in uids:
        slices = slices_of(phantom())
        if uid != ABSENT:
            write_series(folder / "train_images" / uid, slices[::-1] if uid == REVERSED else slices)
    for path in (folder / "train_images").glob(f"{BROKEN}/[1-5].dcm"):
        path.write_bytes(b"")
    write_mask(folder / "segmentations" / f"{REVERSED}.nii", labels(), expected_affine(), "PIR")
    return folder


def open_store(tmp_path, spacing_mm=2.0):
    return StudyStore(tmp_path / "volumes", {"spacing_mm": spacing_mm})


@pytest.mark.slow
def test_good_studies_are_kept_and_bad_ones_are_listed(tmp_path):
    raw = competition(tmp_path / "raw", [GOOD, REVERSED, ABSENT, BROKEN])
    store = open_store(tmp_path)
    result = prepare(raw, store, 2.0, ExecutionSettings(workers=2))
    assert (result.done, result.reused, result.total("slices_read")) == (2, 0, 20)
    assert result.failed.keys() == {ABSENT, BROKEN}
    assert "found no folder" in result.failed[ABSENT] and "5 unreadable files of 10" in result.failed[BROKEN]
    assert store.uids() == [GOOD, REVERSED]

    arrays, meta = store.read(GOOD)
    other, other_meta = store.read(REVERSED)
    np.testing.assert_array_equal(arrays["volume"], other["volume"])
    assert arrays["volume"].shape == (10, 6, 8) == tuple(meta["shape"]) and arrays["volume"].dtype == np.int16
    np.testing.assert_allclose(np.linalg.norm(np.array(meta["affine"])[:3, :3], axis=0), 2.0)
    assert (meta["direction"], other_meta["direction"]) == ("head-to-feet", "feet-to-head")
    assert "labels" not in arrays and set(np.unique(other["labels"])) == {0, 3}
    assert not other["labels"][8].any(), "a stray voxel is no vertebra"
    assert "mask" not in meta and set(other_meta["mask"]["levels"]) == {"C3"}
    assert other_meta["mask"]["levels"]["C3"]["height_mm"] == 10.0 and "C1" in other_meta["mask"]["missing"]
    assert any("stray voxel" in note for note in other_meta["notes"])
    assert other["labels"][4].sum() == 3 * 4 * 4, "8 x 9 mm at 2 mm a voxel"

    index = store.read_index().set_index("StudyInstanceUID")
    assert index["status"].tolist() == ["done", "done", "failed", "failed"]
    told = index.loc[GOOD, ["z", "y", "x", "spacing_z_mm", "direction"]]
    assert told.tolist() == ["10", "24", "20", "2.0", "head-to-feet"]
    assert index.loc[ABSENT, "reason"] == result.failed[ABSENT]


@pytest.mark.slow
def test_running_again_goes_on_where_it_stopped(tmp_path):
    raw = competition(tmp_path / "raw", [GOOD, ABSENT])
    store = open_store(tmp_path)
    prepare(raw, store, 2.0, ExecutionSettings(workers=1))
    written = (store.folder / GOOD / "volume.npy").stat().st_mtime_ns
    competition(raw, [GOOD, ABSENT, REVERSED])
    write_series(raw / "train_images" / ABSENT, slices_of(phantom()))
    (store.folder / ".left.1.tmp").mkdir()

    again = prepare(raw, store, 2.0, ExecutionSettings(workers=1))
    assert (again.done, again.reused, list(again.failed)) == (2, 1, [ABSENT])
    assert not (store.folder / ".left.1.tmp").exists()

    (store.folder / "index.csv").unlink()  # as if killed before the index was written
    retried = prepare(raw, store, 2.0, ExecutionSettings(workers=1, retry_failed=True))
    assert (retried.done, retried.reused, retried.failed) == (3, 2, {})
    assert (store.folder / GOOD / "volume.npy").stat().st_mtime_ns == written
    index = store.read_index().set_index("StudyInstanceUID")
    assert index.loc[GOOD, "z"] == "10" and index.loc[REVERSED, "direction"] == "feet-to-head"


def test_a_bad_mask_costs_the_mask(tmp_path):
    raw = competition(tmp_path / "raw", [REVERSED])
    (raw / "segmentations" / f"{REVERSED}.nii").write_bytes(b"no mask")
    store = open_store(tmp_path)
    result = prepare(raw, store, 2.0, ExecutionSettings(workers=1))
    assert result.done == result.noted == 1 and not store.holds(REVERSED, "labels")
    assert "mask left out" in store.read_index()["notes"][0]


@pytest.mark.slow
def test_what_changed_since_is_done_anew_and_nothing_else(tmp_path):
    raw = competition(tmp_path / "raw", [GOOD, REVERSED])
    mask = raw / "segmentations" / f"{REVERSED}.nii"
    kept = mask.read_bytes()
    mask.unlink()
    store = open_store(tmp_path)

    def again():
        batch = prepare(raw, store, 2.0, ExecutionSettings(workers=1))
        return batch.reused, batch.changed, batch.done

    assert again() == (0, 0, 2) and not store.holds(REVERSED, "labels")
    assert again() == (2, 0, 2)
    with gzip.open(f"{mask}.gz", "wb") as file:
        file.write(kept)
    assert again() == (1, 1, 2) and store.holds(REVERSED, "labels"), "a mask came, compressed"
    (raw / "segmentations" / f"{REVERSED}.nii.gz").unlink()
    assert again() == (1, 1, 2) and not store.holds(REVERSED, "labels"), "and went"
    files = sorted((raw / "train_images" / GOOD).iterdir())
    files[4].unlink()
    assert again() == (1, 1, 2) and "between 9 slices" in str(store.meta(GOOD)["notes"]), (
        "a series lost a slice"
    )
    whole = (raw / "train_images" / REVERSED / "1.dcm").read_bytes()
    for file in (raw / "train_images" / REVERSED).iterdir():
        file.write_bytes(whole[:100])
    assert again() == (1, 1, 1) and not store.has(REVERSED), "what it was is not gone on with"
    competition(tmp_path / "raw", [GOOD, REVERSED])
    files = sorted((raw / "train_images" / GOOD).iterdir())
    assert prepare(raw, store, 2.0, ExecutionSettings(workers=1, retry_failed=True)).done == 2
    for number, file in enumerate(files[:4]):
        os.utime(file, ns=(number, number))
    assert again() == (2, 0, 2), "times alone are no change"
    shutil.rmtree(raw / "train_images" / GOOD)
    assert again() == (2, 0, 2), "what is prepared stays when the series is taken away"


def test_no_usable_study(tmp_path):
    raw = competition(tmp_path / "raw", [BROKEN])
    with pytest.raises(InputError, match="no usable study among 1.*unreadable"):
        prepare(raw, open_store(tmp_path), 2.0, ExecutionSettings(workers=1))
    assert open_store(tmp_path).read_index()["status"].tolist() == ["failed"]


def run_script(*flags):
    command = [sys.executable, str(SCRIPT), *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)


@pytest.mark.slow
def test_the_script_tells_what_it_did(tmp_path):
    raw = competition(tmp_path / "raw", [GOOD, BROKEN])
    flags = ("--raw", raw, "--cache", tmp_path / "cache", "--preset", "demo", "--workers", 1)
    done = run_script(*flags)
    assert done.returncode == 0, done.stderr
    assert "done 1 (reused 0, failed 1)" in done.stdout and f"failed {BROKEN}: " in done.stdout
    assert (tmp_path / "cache" / "volumes" / GOOD / "meta.json").is_file()
    again = run_script(*flags[:-3], "t4")  # the locator's spacing is the same in all presets
    assert again.returncode == 0 and "done 1 (reused 1, failed 1)" in again.stdout
    settings = tmp_path / "cache" / "volumes" / "settings.json"
    settings.write_text(settings.read_text().replace("3.0", "2.0"))
    other = run_script(*flags)
    assert other.returncode == 2 and "spacing_mm" in other.stderr and "another CACHE" in other.stderr
    assert run_script("--raw", tmp_path / "nowhere").returncode == 2
    none = run_script("--raw", raw, "--workers", 0)
    assert none.returncode == 2 and "workers" in none.stderr and "greater than or equal to 1" in none.stderr
