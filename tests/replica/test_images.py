"""Files, geometry and annotations of a study, read back with readers that the writer did not use."""

from dataclasses import replace
from pathlib import Path

import dicomsdl
import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from replica.anatomy.build import make_anatomy
from replica.annotators.boxes import draw_boxes
from replica.annotators.masks import write_fractures, write_mask
from replica.injuries.fractures import draw_injury
from replica.scanner.protocol import choose_protocol
from replica.scanner.sites import EXPLICIT_LE, IMPLICIT_LE, JPEG_LOSSLESS
from replica.settings import ReplicaSettings
from replica.study import Study, paint
from replica.writer.dicom import slice_header, write_slice
from replica.writer.folder import write_series

UID = "1.2.826.0.1.3680043.4711"
SETTINGS = ReplicaSettings(out=Path("unused"), size=0.25)


def make(
    feet_first: bool = False, syntax: str = EXPLICIT_LE, kinds: dict | None = None, seed: int = 7,
    size: float = SETTINGS.size,
) -> Study:  # fmt: skip
    """A study with the wanted file order, syntax and fractures (level -> kind)."""
    rng = np.random.default_rng(seed)
    anatomy = make_anatomy("F", 40, rng)
    protocol = choose_protocol(4, anatomy, replace(SETTINGS, size=size), rng)
    protocol = replace(protocol, feet_first=feet_first, syntax=syntax, first_number=2)
    injuries = {level: draw_injury(level, 0.9, rng, kind) for level, kind in (kinds or {}).items()}
    return paint(anatomy, protocol, injuries, {})


def read_hu(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """HU (file number order, y, x) and the 4 x 4 from (column, row, slice) to DICOM's millimetres."""
    slices = [pydicom.dcmread(p) for p in sorted(folder.iterdir(), key=lambda p: int(p.stem))]
    hu = np.stack([s.pixel_array.astype(int) * int(s.RescaleSlope) + int(s.RescaleIntercept) for s in slices])
    first, last = (np.array(s.ImagePositionPatient, float) for s in (slices[0], slices[-1]))
    affine = np.eye(4)
    affine[:3, 0] = np.array(slices[0].ImageOrientationPatient[:3], float) * slices[0].PixelSpacing[1]
    affine[:3, 1] = np.array(slices[0].ImageOrientationPatient[3:], float) * slices[0].PixelSpacing[0]
    affine[:3, 2] = (last - first) / (len(slices) - 1)
    affine[:3, 3] = first
    return hu, affine


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, JPEG_LOSSLESS])
@pytest.mark.parametrize(("signed", "intercept"), [(True, -1024), (True, 0), (False, -1024)])
def test_two_readers_see_the_stored_pixels(tmp_path, syntax, signed, intercept):
    rng = np.random.default_rng(0)
    anatomy = make_anatomy("M", 50, rng)
    protocol = choose_protocol(1, anatomy, SETTINGS, rng)
    protocol = replace(protocol, syntax=syntax, signed=signed, intercept=intercept)
    hu = rng.integers(-1024, 3072, protocol.grid.shape[1:])
    stored = (hu - intercept).astype(np.int16 if signed else np.uint16)
    write_slice(tmp_path, slice_header(UID, protocol), protocol, 0, 1, stored)
    ds = pydicom.dcmread(tmp_path / "1.dcm")
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(ds.pixel_array, stored)
    assert np.array_equal(dicomsdl.open(str(tmp_path / "1.dcm")).pixelData(storedvalue=True), stored)
    assert np.array_equal(ds.pixel_array.astype(int) + int(ds.RescaleIntercept), hu)


def test_tags_are_those_of_the_original(tmp_path):
    study = make()
    write_series(tmp_path, study, UID, SETTINGS, 0)
    ds = pydicom.dcmread(tmp_path / "2.dcm")
    for absent in ("Modality", "SOPClassUID", "FrameOfReferenceUID", "Manufacturer", "ConvolutionKernel",
                   "KVP", "GantryDetectorTilt", "PatientSex", "PatientAge", "InstitutionName"):  # fmt: skip
        assert absent not in ds, absent
    assert ds.StudyInstanceUID == UID
    assert ds.InstanceNumber == 2
    assert sorted(int(p.stem) for p in tmp_path.iterdir()) == list(range(2, study.hu.shape[0] + 2))


@pytest.mark.parametrize("feet_first", [False, True])
def test_mask_lies_on_bone_through_the_affines(tmp_path, feet_first):
    study = make(feet_first)
    series = tmp_path / "series"
    series.mkdir()
    write_series(series, study, UID, SETTINGS, 0)
    write_mask(tmp_path / "m.nii", study, np.random.default_rng(1))
    image = nib.load(tmp_path / "m.nii")
    assert image.get_data_dtype() == np.uint16
    hu, affine = read_hu(series)
    assert (affine[2, 2] > 0) == feet_first
    stored = np.asanyarray(image.dataobj)
    ijk = np.argwhere((stored >= 1) & (stored <= 7))
    # NIfTI's right and front to DICOM's left and back
    mm = nib.affines.apply_affine(image.affine, ijk) * [-1, -1, 1]
    xyz = np.rint(nib.affines.apply_affine(np.linalg.inv(affine), mm)).astype(int)
    values = hu[xyz[:, 2], xyz[:, 1], xyz[:, 0]]
    assert values.mean() > 350
    around = np.roll(hu, 25, axis=0)[xyz[:, 2], xyz[:, 1], xyz[:, 0]]
    assert values.mean() > around.mean() + 150
    # the public recipe holds for slices from head to feet
    from_head = hu[::-1] if feet_first else hu
    assert from_head[stored[:, ::-1, ::-1].transpose(2, 1, 0) == 3].mean() > 350


@pytest.mark.parametrize("feet_first", [False, True])
def test_labels_run_from_the_head_to_the_feet(feet_first):
    study = make(feet_first)
    found = [np.nonzero(study.labels == level) for level in range(1, 8)]
    heights = [z.mean() for z, _, _ in found]
    assert np.all(np.diff(heights) > 0)
    step = study.protocol.grid.spacing_mm[0]
    column = (found[6][0].max() - found[0][0].min() + 1) * step
    assert 90 < column < 170
    for z, _, _ in found:
        assert 15 < (z.max() - z.min() + 1) * step < 60
        assert z.min() > 0
        assert z.max() < study.labels.shape[0] - 1


@pytest.mark.parametrize("feet_first", [False, True])
def test_boxes_lie_on_the_fracture(feet_first):
    study = make(feet_first, kinds={"C5": "body_line"})
    wound, grid = study.wounds[0], study.protocol.grid
    rows = {int(n): k for k, n in enumerate(study.protocol.file_numbers())}
    whole = np.zeros(grid.shape, bool)
    whole[wound.part] = wound.region
    slices = whole.any(axis=(1, 2))
    shares = []
    for seed in range(8):
        boxes = draw_boxes(study, UID, np.random.default_rng(seed))
        assert len({b["slice_number"] for b in boxes}) == len(boxes) >= 2
        for box in boxes:
            k = rows[box["slice_number"]]
            assert slices[k]
            y0, x0, y1, x1 = (box["y"], box["x"], box["y"] + box["height"], box["x"] + box["width"])
            ys, xs = np.nonzero(whole[k])
            assert y0 <= ys.min() < ys.max() + 1 <= y1 <= grid.shape[1]
            assert x0 <= xs.min() < xs.max() + 1 <= x1 <= grid.shape[2]
            assert (y1 - y0) * (x1 - x0) * grid.spacing_mm[1] ** 2 < 60**2
        shares.append(len(boxes) / slices.sum())
    assert min(shares) < 0.8 < max(shares) + 0.2  # some annotators box it all, some the worst of it


def test_truth_masks_number_the_fractures_where_they_are(tmp_path):
    study = make(feet_first=True, kinds={"C2": "dens", "C6": "facet"})
    write_fractures(tmp_path / "a.nii.gz", study)
    header = (tmp_path / "a.nii.gz").read_bytes()[:8]
    assert header[3:] == bytes(5)  # neither a name nor a time, so that the same study gives the same bytes
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.uint8
    numbers = np.asanyarray(image.dataobj)[:, ::-1, ::-1].transpose(2, 1, 0)
    assert set(np.unique(numbers)) == {0, 1, 2}
    grid, offset = study.protocol.grid, study.protocol.offset_mm
    for n, wound in enumerate(study.wounds, start=1):
        bone = ndimage.binary_dilation(study.labels == int(wound.injury.level[1]), iterations=2)
        assert bone[numbers == n].mean() > 0.9
        stored = np.argwhere(np.asanyarray(image.dataobj) == n)
        x, y, z = nib.affines.apply_affine(image.affine, stored).mean(axis=0)
        centre = np.array(wound.centre_mm) + offset
        assert np.abs([z - centre[0], -y - centre[1], -x - centre[2]]).max() < max(grid.spacing_mm)


def test_masks_are_edited_networks(tmp_path):
    study = make(size=0.5)
    write_mask(tmp_path / "m.nii", study, np.random.default_rng(1))
    stored = np.asanyarray(nib.load(tmp_path / "m.nii").dataobj)[:, ::-1, ::-1].transpose(2, 1, 0)
    for level in range(1, 8):
        found, truth = stored == level, study.labels == level
        assert 0.8 < 2 * (found & truth).sum() / (found.sum() + truth.sum()) < 0.999
    far = ~ndimage.binary_dilation(study.labels > 0, iterations=3)
    assert 0 < (stored[far] > 0).sum() < 200  # stray specks
