"""Files, geometry and annotations of a study, read back with readers that the writer did not use."""

from dataclasses import replace
from pathlib import Path

import dicomsdl
import nibabel as nib
import numpy as np
import pydicom
import pytest

from replica.anatomy import make_anatomy
from replica.annotators import draw_boxes
from replica.dicom import slice_header, write_slice
from replica.injuries import EVERY_KIND, KINDS, draw_injury
from replica.masks import write_mask
from replica.scanner import EXPLICIT_LE, IMPLICIT_LE, JPEG_LOSSLESS, choose_protocol
from replica.settings import ReplicaSettings
from replica.study import Study, paint
from replica.writer import write_series

UID = "1.2.826.0.1.3680043.4711"
SETTINGS = ReplicaSettings(out=Path("unused"), size=0.25)


def make(
    feet_first: bool = False, syntax: str = EXPLICIT_LE, kinds: dict | None = None, seed: int = 7
) -> Study:
    """A study with the wanted file order, syntax and fractures (level -> kind)."""
    rng = np.random.default_rng(seed)
    anatomy = make_anatomy("F", 40, rng)
    protocol = choose_protocol(4, anatomy, SETTINGS, rng)
    protocol = replace(protocol, feet_first=feet_first, syntax=syntax, first_number=2)
    injuries = {level: draw_injury(level, 0.9, rng, kind) for level, kind in (kinds or {}).items()}
    return paint(anatomy, protocol, injuries)


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
    mm = nib.affines.apply_affine(image.affine, ijk) * [
        -1,
        -1,
        1,
    ]  # NIfTI's right and front to DICOM's left and back
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


def test_every_kind_is_a_dark_or_moved_place_in_its_bone():
    plan = [(level, kind) for level, kinds in KINDS.items() for kind in kinds]
    assert {kind for _, kind in plan} == set(EVERY_KIND)
    whole = make()
    for level, kind in plan:
        broken = make(kinds={level: kind})
        (wound,) = broken.wounds
        changed = np.abs(broken.hu - whole.hu)
        number = int(level[1])
        near = (whole.labels == number) | (broken.labels == number)
        assert changed[wound.part][wound.region].max() > 300, (level, kind)
        assert (changed[near] > 200).sum() > 20, (level, kind)


@pytest.mark.parametrize("feet_first", [False, True])
def test_boxes_lie_on_the_slices_of_the_fracture(feet_first):
    study = make(feet_first, kinds={"C5": "body_line"})
    numbers = study.protocol.file_numbers()
    boxes = draw_boxes(study, UID, np.random.default_rng(0))
    assert len({b["slice_number"] for b in boxes}) == len(boxes) > 2
    rows = {int(n): k for k, n in enumerate(numbers)}
    for box in boxes:
        k = rows[box["slice_number"]]
        level = study.labels[k] == 5
        assert level.any()
        y, x = int(box["y"]), int(box["x"])
        inside = level[y : y + int(box["height"]) + 2, x : x + int(box["width"]) + 2]
        assert inside.any()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= study.hu.shape[2]
        assert box["y"] + box["height"] <= study.hu.shape[1]
    wound = study.wounds[0]
    cut = {int(numbers[wound.part[0].start + z]) for z in np.flatnonzero(wound.region.any(axis=(1, 2)))}
    assert cut <= {b["slice_number"] for b in boxes}
