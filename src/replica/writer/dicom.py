"""One stored slice becomes one Part-10 file with the tags the original has, and without those it lacks."""

import io
from pathlib import Path

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage

from replica.scanner.protocol import Protocol
from replica.scanner.sites import JPEG_LOSSLESS

IMPLEMENTATION = UID("1.2.826.0.1.3680043.8.498.1")


def slice_header(uid: str, protocol: Protocol) -> Dataset:
    """Everything that the slices of a series share (no Modality, no sex, no age: the original has none).

    Parameters
    ----------
    uid : str
        StudyInstanceUID.
    protocol : Protocol
        The study's.

    Returns
    -------
    pydicom.dataset.Dataset
        With file meta information, without pixels.
    """
    ds = Dataset()
    ds.ContentDate, ds.ContentTime = "20220727", "181937.317513"
    ds.PatientName = ds.PatientID = uid.rsplit(".", 1)[-1]
    ds.SliceThickness = f"{protocol.thickness_mm:.6g}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, f"{uid}.1"
    row, column = protocol.row_and_column()
    ds.ImageOrientationPatient = [f"{cosine:.8g}" for cosine in (*row, *column)]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = protocol.grid.shape[1:]
    ds.PixelSpacing = [f"{mm:.6g}" for mm in protocol.grid.spacing_mm[1:]]
    ds.BitsAllocated, ds.BitsStored = 16, 16 if protocol.signed else 12
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(protocol.signed)
    centres, widths = protocol.window
    ds.WindowCenter = list(centres) if len(centres) > 1 else centres[0]
    ds.WindowWidth = list(widths) if len(widths) > 1 else widths[0]
    ds.RescaleIntercept, ds.RescaleSlope = protocol.intercept, 1
    ds.file_meta = FileMetaDataset()
    ds.file_meta.FileMetaInformationVersion = b"\x00\x01"
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.TransferSyntaxUID = UID(protocol.syntax)
    ds.file_meta.ImplementationClassUID = IMPLEMENTATION
    return ds


def write_slice(
    folder: Path, header: Dataset, protocol: Protocol, k: int, number: int, stored: np.ndarray
) -> None:
    """Write one slice as `<number>.dcm`.

    Parameters
    ----------
    folder : Path
        Of the series.
    header : pydicom.dataset.Dataset
        From `slice_header`; it is reused, and changed, from slice to slice.
    protocol : Protocol
        The study's.
    k : int
        The slice's index from the top.
    number : int
        In its file name, and its InstanceNumber.
    stored : ndarray of int16 or uint16, shape (y, x)
        Stored values.

    Raises
    ------
    RuntimeError
        If a slice can't be encoded as JPEG Lossless.
    """
    instance = UID(f"{header.SeriesInstanceUID}.{number}")
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = instance
    header.InstanceNumber = number
    header.ImagePositionPatient = [f"{mm:.8g}" for mm in protocol.position_mm(k)]
    if protocol.syntax == JPEG_LOSSLESS:
        header.PixelData = encapsulate([jpeg_lossless(stored)])
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
    else:
        header.PixelData = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<")).tobytes()
        header["PixelData"].VR = "OW"
    file = io.BytesIO()  # pydicom's own errors would hide that a disk is full
    header.save_as(file, enforce_file_format=True)
    (folder / f"{number}.dcm").write_bytes(file.getvalue())


def jpeg_lossless(stored: np.ndarray) -> bytes:
    """Encode a slice as JPEG Lossless, process 14, first-order prediction.

    Parameters
    ----------
    stored : ndarray of int16 or uint16, shape (y, x)
        16 bits signed, or 12 bits unsigned.

    Returns
    -------
    bytes
        One JPEG stream.

    Raises
    ------
    RuntimeError
        If gdcm could not encode it.

    References
    ----------
    DICOM PS3.5 A.4.2, transfer syntax 1.2.840.10008.1.2.4.70.
    """
    signed = stored.dtype.kind == "i"
    pixel_format = gdcm.PixelFormat(1, 16, 16 if signed else 12, 15 if signed else 11, int(signed))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    raw = np.ascontiguousarray(stored).tobytes()
    element.SetByteStringValue(raw)
    owner = gdcm.ImageWriter()  # gdcm counts references: an image of Python's own would be freed twice
    image = owner.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimension(0, stored.shape[1])
    image.SetDimension(1, stored.shape[0])
    image.SetPixelFormat(pixel_format)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    if not change.Change():
        raise RuntimeError("gdcm could not encode a slice as JPEG Lossless")
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    return fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")
