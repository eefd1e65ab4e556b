"""A decoded scan as files: whole, the same as what was read, and made without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.series import expected_affine, phantom

from cspine.dicom.reader import read_study
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.inference.decoded import decode_study, load_small, load_volume, save_volume
from cspine.preprocessing.resampling import resample

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def study(competition, studies):
    return competition / "test_images" / studies[0]


def test_a_decoded_study_is_the_study_that_was_read(study, tmp_path):
    decode_study(str(study), str(tmp_path / "0"), 4.0)
    found, wanted = load_volume(tmp_path / "0"), read_study(study, fallback=False)
    np.testing.assert_array_equal(found.hu, wanted.hu)
    np.testing.assert_array_equal(found.affine, wanted.affine)
    np.testing.assert_array_equal(found.file_numbers, wanted.file_numbers)
    assert (found.study, found.notes) == (wanted.study, wanted.notes) and found.study == study.name
    assert isinstance(found.hu, np.memmap) and found.hu.dtype == np.int16, "mapped, not loaded"


def test_the_small_copy_is_what_the_locator_was_trained_on(study, tmp_path):
    decode_study(str(study), str(tmp_path / "0"), 4.0)
    (hu, affine), wanted = load_small(tmp_path / "0"), resample(read_study(study, fallback=False), 4.0)
    np.testing.assert_array_equal(hu, wanted.hu)
    np.testing.assert_array_equal(affine, wanted.affine)
    assert hu.dtype == np.int16 and affine.dtype == np.float64


def test_without_the_fast_decoder_the_voxels_are_the_same(study, tmp_path):
    for number, fallback in enumerate((False, True)):
        decode_study(str(study), str(tmp_path / str(number)), 4.0, fallback)
    fast, slow = (load_volume(tmp_path / str(number)) for number in range(2))
    np.testing.assert_array_equal(fast.hu, slow.hu)


def test_a_second_attempt_replaces_what_the_first_left(study, tmp_path):
    decoded = tmp_path / "0"
    decoded.mkdir()
    (decoded / "hu.npy").write_bytes(b"half")
    (decoded / "left.tmp").write_bytes(b"half")
    decode_study(str(study), str(decoded), 4.0)
    assert load_volume(decoded).hu.shape[1:] == (64, 64)
    assert not (decoded / "left.tmp").exists()


def test_a_study_that_can_not_be_read_leaves_no_folder(damaged, tmp_path):
    with pytest.raises(InputError, match="damaged"):
        decode_study(str(damaged), str(tmp_path / "0"), 4.0)
    assert not (tmp_path / "0").exists()


def test_a_volume_comes_back_with_its_notes_and_gaps(tmp_path):
    volume = Volume(phantom(), expected_affine(), np.arange(10) - 1, "1.2.3", ("one mended", "µ left out"))
    save_volume(volume, tmp_path)
    found = load_volume(tmp_path)
    assert (found.study, found.notes, found.files) == (volume.study, volume.notes, None)
    np.testing.assert_array_equal(found.hu, volume.hu)
    np.testing.assert_array_equal(found.file_numbers, volume.file_numbers)
    assert found.spacing_mm == volume.spacing_mm and found.direction == volume.direction
    with pytest.raises(ValueError, match="read-only"):
        found.hu[0, 0, 0] = 1


def test_a_pickle_among_the_files_is_not_run(tmp_path):
    save_volume(Volume(phantom(), expected_affine(), np.arange(10), "1.2.3"), tmp_path)
    np.save(tmp_path / "affine.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_volume(tmp_path)


def test_decoding_needs_no_torch():
    """Each worker process would spend seconds and half a gigabyte on it."""
    code = "import sys, cspine.inference.decoded; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=SRC, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
