"""Masks on the voxels of a scan, whatever way round their files are stored."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from scans.series import expected_affine, phantom, write_mask

from cspine.errors import InputError
from cspine.scans.masks import largest_components, read_mask
from cspine.scans.volume import Volume, resample

CODES = [
    "".join(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
]


@pytest.fixture
def volume():
    hu = phantom()
    return Volume(hu, expected_affine(), np.arange(1, 11), "1.2.3")


def drawn(shape=(10, 24, 20)):
    """Labels without any symmetry."""
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 2:9, 3:8] = 1
    labels[4:6, 11:14, 9:18] = 2
    labels[6:9, 1:20, 15:17] = 7
    labels[9, 5, 2] = 8
    return labels


@pytest.mark.parametrize("codes", CODES)
def test_all_48_axis_orders_give_the_labels_that_were_drawn(tmp_path, volume, codes):
    path = write_mask(tmp_path / "m.nii", drawn(), volume.affine, codes)
    np.testing.assert_array_equal(read_mask(path, volume), drawn())


def test_thoracic_levels_are_one_label(tmp_path, volume):
    labels = drawn()
    labels[9, 5:9, 2] = 8, 12, 19, 8
    path = write_mask(tmp_path / "m.nii", labels, volume.affine, "PSR")
    np.testing.assert_array_equal(read_mask(path, volume), np.minimum(labels, 8))


def test_a_mask_of_part_of_the_scan(tmp_path, volume):
    labels = drawn()
    affine = volume.affine.copy()
    affine[:3, 3] = volume.mm_of([1, 2, 3])
    path = write_mask(tmp_path / "m.nii", labels[1:8, 2:20, 3:], affine, "LAS")
    expected = np.zeros_like(labels)
    expected[1:8, 2:20, 3:] = labels[1:8, 2:20, 3:]
    np.testing.assert_array_equal(read_mask(path, volume), expected)


def test_on_a_resampled_volume_labels_lie_at_the_same_millimetres(tmp_path, volume):
    path = write_mask(tmp_path / "m.nii", drawn(), volume.affine, "PIR")
    small = resample(volume, (1.3, 0.9, 0.4))
    labels = read_mask(path, small)
    index = np.argwhere(np.ones(small.hu.shape))
    nearest = np.rint(volume.index_of(small.mm_of(index))).astype(int)
    inside = (nearest >= 0).all(axis=1) & (nearest < volume.hu.shape).all(axis=1)
    np.testing.assert_array_equal(labels[tuple(index[inside].T)], drawn()[tuple(nearest[inside].T)])


def test_an_oblique_mask_over_a_straight_scan(tmp_path, volume):
    """A grid turned by 30 degrees takes the general path; it must agree with asking voxel by voxel."""
    angle = np.deg2rad(30)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([-2.0, 0.6, 0.6, 1.0])
    affine[:3, 3] = volume.mm_of([0, -8, 5])
    labels = np.random.default_rng(0).integers(0, 8, (10, 40, 40)).astype(np.uint8)
    path = write_mask(tmp_path / "m.nii", labels, affine, "LPS")
    found = read_mask(path, volume)
    index = np.argwhere(np.ones(volume.hu.shape))
    at = Volume(labels.astype(np.int16), affine, np.arange(10), "m").index_of(volume.mm_of(index))
    clear = (np.abs(at - np.floor(at) - 0.5) > 0.01).all(axis=1)
    inside = clear & (np.rint(at) >= 0).all(axis=1) & (np.rint(at) < labels.shape).all(axis=1)
    assert inside.sum() > 500
    np.testing.assert_array_equal(
        found[tuple(index[inside].T)], labels[tuple(np.rint(at[inside]).astype(int).T)]
    )


def save(path, data):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)


def test_masks_that_can_not_be_used(tmp_path, volume):
    path = tmp_path / "m.nii"
    labels = drawn().astype(np.uint16)
    with pytest.raises(InputError, match="no such file"):
        read_mask(path, volume)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="no readable NIfTI"):
        read_mask(path, volume)
    save(path, labels)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code: nothing says where the voxels lie
    path.write_bytes(content)
    with pytest.raises(InputError, match="no usable sform or qform"):
        read_mask(path, volume)
    save(path, labels[..., None].repeat(2, axis=-1))
    with pytest.raises(InputError, match="three axes"):
        read_mask(path, volume)
    save(path, labels * 30)
    with pytest.raises(InputError, match="from 0 to 240; expected whole numbers from 0 to 19"):
        read_mask(path, volume)
    save(path, labels / np.float32(2))
    with pytest.raises(InputError, match="expected whole numbers"):
        read_mask(path, volume)
    save(path, labels * 0)
    with pytest.raises(InputError, match="no label above 0"):
        read_mask(path, volume)
    away = volume.affine.copy()
    away[0, 3] += 5000
    write_mask(path, labels, away, "LPS")
    with pytest.raises(InputError, match=r"no label inside study 1\.2\.3"):
        read_mask(path, volume)
    write_mask(path, labels, volume.affine, "LPS")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="no readable NIfTI"):
        read_mask(path, volume)


def test_stray_voxels_are_removed_level_by_level():
    labels = drawn()
    clean = labels.copy()
    labels[9, 23, 19] = 1
    labels[0, 0, 0:2] = 7
    labels[9, 20, 10] = 8
    clean[9, 20, 10] = 8
    before = labels.copy()
    np.testing.assert_array_equal(largest_components(labels), clean)
    np.testing.assert_array_equal(labels, before)
    assert not largest_components(np.zeros((2, 2, 2), np.uint8)).any()
