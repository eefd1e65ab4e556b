"""A scan stored in any orientation becomes the same volume; a label map lies where the scan lies."""

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from cspine.errors import InputError
from cspine.preprocessing.nifti import is_nifti, read_nifti, write_label_map

SHAPE, SPACING = (12, 9, 7), (2.0, 0.8, 0.9)  # (z, y, x)


def scan() -> np.ndarray:
    """HU (z, y, x) that tell every direction apart."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return (-1000 + 80 * z + 9 * y + x).astype(np.int16)


def write(path, axes: str = "LPI", hu=None, code: int = 1, **header):
    """The scan as NIfTI, its axes stored in the wanted directions."""
    hu = scan() if hu is None else hu
    affine = np.diag(
        [-SPACING[2], -SPACING[1], -SPACING[0], 1.0]
    )  # of (x, y, z) as stored in a Volume, in RAS
    affine[:3, 3] = (30.0, 40.0, 500.0)
    stored = hu.transpose(2, 1, 0)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes)))
    image = nibabel.Nifti1Image(apply_orientation(stored, turn), affine @ inv_ornt_aff(turn, stored.shape))
    image.set_sform(image.affine, code=code)
    image.set_qform(image.affine, code=code)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("axes", ["LPI", "RAS", "PIR", "ASL", "LAS", "IPL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_orientation_gives_the_same_volume(tmp_path, axes, suffix):
    volume = read_nifti(write(tmp_path / f"scan{suffix}", axes))
    np.testing.assert_array_equal(volume.hu, scan())
    assert volume.hu.dtype == np.int16 and volume.study == "scan"
    assert np.allclose(volume.spacing_mm, SPACING)
    # the first voxel: to the right, in front, on top; in DICOM's millimetres x = -30, y = -40, z = 500
    assert np.allclose(volume.mm_of(np.zeros(3)), (500.0, -40.0, -30.0))
    assert np.allclose(volume.mm_of(np.array([1, 1, 1])), (498.0, -39.2, -29.1))


def test_a_label_map_lies_on_its_scan(tmp_path):
    volume = read_nifti(write(tmp_path / "scan.nii.gz", "RAS"))
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 2, 5] = 4
    write_label_map(tmp_path / "levels.nii.gz", labels, volume.affine)
    image = nibabel.load(tmp_path / "levels.nii.gz")
    where = np.argwhere(np.asarray(image.dataobj) == 4)[0]
    right, front, up = image.affine @ np.append(where, 1.0) @ np.eye(4)[:, :3]
    z, y, x = volume.mm_of(np.array([3, 2, 5]))
    assert np.allclose((right, front, up), (-x, -y, z))
    write_label_map(tmp_path / "again.nii.gz", labels, volume.affine)
    assert (tmp_path / "again.nii.gz").read_bytes() == (tmp_path / "levels.nii.gz").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_names():
    from pathlib import Path

    assert is_nifti(Path("A.NII.GZ")) and is_nifti(Path("b.nii")) and not is_nifti(Path("c.gz"))


def test_what_is_no_ct_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_nifti(tmp_path / "none.nii")
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(InputError, match="no readable NIfTI file"):
        read_nifti(tmp_path / "text.nii")
    whole = write(tmp_path / "whole.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no readable NIfTI file"):
        read_nifti(tmp_path / "cut.nii")
    with pytest.raises(InputError, match="no usable sform or qform"):
        read_nifti(write(tmp_path / "nowhere.nii", code=0))
    with pytest.raises(InputError, match="expected Hounsfield units"):
        read_nifti(write(tmp_path / "mr.nii", hu=np.abs(scan())))
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(InputError, match="expected a CT with three axes"):
        read_nifti(tmp_path / "four.nii")
