"""Small DICOM series and masks, written slice by slice with pydicom and nibabel."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gdcm
import nibabel
import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from cspine.dicom.volume import Volume

UID = "1.2.826.0.1.3680043.101"
SPACING_MM = (2.0, 0.5, 0.75)
"""Of the scans below, (z, y, x)."""
TOP_MM = (100.0, -30.0, -20.0)
"""Patient position (z, y, x) of the first voxel: head, front, right."""


@dataclass
class Slice:
    """What goes into one file; pixels as stored."""

    pixels: np.ndarray
    position: tuple[float, float, float]
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    spacing: tuple[float, float] = SPACING_MM[1:]
    syntax: str = ExplicitVRLittleEndian
    bits_stored: int = 16
    signed: bool = True
    intercept: float | None = -1024.0
    slope: float = 1.0
    more: dict[str, Any] = field(default_factory=dict)
    """Further tags, as values or elements; None removes one."""


def phantom(shape: tuple[int, int, int] = (10, 24, 20), seed: int = 0) -> np.ndarray:
    """HU of air, soft tissue and bone in random places, so that every slice differs, int16 (z, y, x)."""
    random = np.random.default_rng(seed)
    kinds = [random.integers(low, high, shape) for low, high in ((-1010, -900), (-100, 160), (200, 1200))]
    return np.choose(random.choice(3, shape, p=(0.4, 0.5, 0.1)), kinds).astype(np.int16)


def write_slice(path: Path, what: Slice, number: int = 1) -> Path:
    """Write one file as the competition's are: few tags, no Modality."""
    meta = FileMetaDataset()
    compressed = what.syntax.startswith(("1.2.840.10008.1.2.4", RLELossless))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if compressed else what.syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = f"{UID}.{number}"
    big = what.syntax == ExplicitVRBigEndian
    data = FileDataset(
        str(path),
        {},
        file_meta=meta,
        preamble=bytes(128),
        is_little_endian=not big,
        is_implicit_VR=what.syntax == ImplicitVRLittleEndian,
    )
    data.SOPInstanceUID = f"{UID}.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.InstanceNumber = UID, f"{UID}.0", number
    data.ImagePositionPatient, data.ImageOrientationPatient = list(what.position), list(what.orientation)
    data.PixelSpacing = list(what.spacing)
    data.Rows, data.Columns = what.pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, what.bits_stored, what.bits_stored - 1
    data.PixelRepresentation = int(what.signed)
    data.WindowCenter, data.WindowWidth = [400, 40], [2000, 400]
    if what.intercept is not None:
        data.RescaleIntercept, data.RescaleSlope = what.intercept, what.slope
    data.PixelData = what.pixels.astype(f"{'>' if big else '<'}{'i' if what.signed else 'u'}2").tobytes()
    data["PixelData"].VR = "OW"
    for name, value in what.more.items():
        if value is None:
            delattr(data, name)
        elif isinstance(value, DataElement):
            data.add(value)
        else:
            setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    if what.syntax == RLELossless:
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)
    if compressed and what.syntax != RLELossless:
        _compress(path, what.syntax)
    return path


def _compress(path: Path, syntax: str) -> None:
    kinds = {
        "1.2.840.10008.1.2.4.57": gdcm.TransferSyntax.JPEGLosslessProcess14,
        "1.2.840.10008.1.2.4.80": gdcm.TransferSyntax.JPEGLSLossless,
        "1.2.840.10008.1.2.4.70": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        "1.2.840.10008.1.2.4.90": gdcm.TransferSyntax.JPEG2000Lossless,
    }
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(kinds[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def slices_of(hu: np.ndarray, **fields: Any) -> list[Slice]:
    """The slices of a scan, head to feet, in the patient's own axes."""
    intercept = fields.get("intercept", -1024.0)
    return [
        Slice(
            pixels=plane.astype(np.int32) - int(intercept or 0),
            position=(TOP_MM[2], TOP_MM[1], TOP_MM[0] - z * SPACING_MM[0]),
            **fields,
        )
        for z, plane in enumerate(hu)
    ]


def write_series(folder: Path, slices: list[Slice], first: int = 1, names: list[str] | None = None) -> Path:
    """Write slices under the numbers first, first + 1, ... in the order given."""
    for index, one in enumerate(slices):
        name = names[index] if names else f"{first + index}.dcm"
        write_slice(folder / name, one, first + index)
    return folder


def expected_affine() -> np.ndarray:
    """Voxel (z, y, x, 1) -> mm (z, y, x) of every scan made by `slices_of`."""
    affine = np.diag([-SPACING_MM[0], SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = TOP_MM
    return affine


def write_mask(
    path: Path, labels: np.ndarray, affine: np.ndarray, codes: str, dtype: type = np.uint16
) -> Path:
    """Write labels (z, y, x) with `affine` (as a Volume's) as NIfTI whose axes run as `codes`, e.g. "PIR"."""
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[[2, 1, 0, 3]]
    image = nibabel.Nifti1Image(labels.astype(dtype), to_ras)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(to_ras), nibabel.orientations.axcodes2ornt(codes)
    )
    image = image.as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(image.affine)) == codes
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def assert_same(volume: Volume, hu: np.ndarray) -> None:
    """The volume is the scan that `slices_of` wrote, voxel by voxel and millimetre by millimetre."""
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-9)
    assert volume.hu.dtype == np.int16 and volume.hu.flags.c_contiguous
