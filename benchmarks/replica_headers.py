"""What the headers of a series say: as a protocol has it, and as the files on disk have it."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1

from replica.protocol import Protocol

SYNTAX_NAMES = {
    ExplicitVRLittleEndian: "explicit LE",
    ImplicitVRLittleEndian: "implicit LE",
    JPEGLosslessSV1: "JPEG Lossless SV1",
}


@dataclass(frozen=True)
class Series:
    """One series, by its headers alone."""

    slices: int
    step_mm: float  # median distance between neighbours in ImagePositionPatient
    extent_mm: float  # of the slices' centres along z, and one step
    thickness_mm: float
    pixel_mm: float
    matrix: tuple[int, int]
    feet_first: bool  # file numbers rise towards the head
    first_number: int
    syntax: str
    stored: str  # bits, sign and intercept
    missing: int  # numbers left out between the first and the last

    def differences(self, other: "Series") -> str:
        """Names of what differs by more than rounding."""
        found = []
        for field in fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            same = abs(mine - its) <= 1e-3 * abs(its) + 1e-3 if isinstance(mine, float) else mine == its
            found += [] if same else [f"{field.name} {mine} drawn, {its} written"]
        return ", ".join(found)

    def like(self, other: "Series") -> bool:
        """Whether nothing differs."""
        return not self.differences(other)


def as_drawn(protocol: Protocol) -> Series:
    """A series as its protocol has it."""
    numbers = protocol.file_numbers()
    z = np.array([protocol.position_mm(k)[2] for k in range(len(numbers))])
    bits = 16 if protocol.signed else 12
    return _series(
        numbers, z, (protocol.thickness_mm, protocol.grid.spacing_mm[1], tuple(protocol.grid.shape[1:])),
        protocol.syntax, (bits, protocol.signed, protocol.intercept),
    )  # fmt: skip


def as_written(folder: Path) -> Series:
    """A series as its files have it."""
    heads = {int(path.stem): pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")}
    numbers = np.array(sorted(heads))
    z = np.array([float(heads[n].ImagePositionPatient[2]) for n in numbers])
    one = heads[numbers[0]]
    geometry = (float(one.SliceThickness), float(one.PixelSpacing[0]), (int(one.Rows), int(one.Columns)))
    storage = (int(one.BitsStored), bool(one.PixelRepresentation), int(one.RescaleIntercept))
    return _series(numbers, z, geometry, str(one.file_meta.TransferSyntaxUID), storage)


def _series(numbers: np.ndarray, z: np.ndarray, geometry: tuple, syntax: str, storage: tuple) -> Series:
    order = np.argsort(numbers)
    steps = np.abs(np.diff(np.sort(z)))
    step_mm = float(np.median(steps)) if len(steps) else 0.0
    bits, signed, intercept = storage
    return Series(
        len(numbers), step_mm, float(np.ptp(z)) + step_mm, *geometry,
        feet_first=bool(z[order[-1]] > z[order[0]]),
        first_number=int(numbers.min()),
        syntax=SYNTAX_NAMES.get(syntax, syntax),
        stored=f"{bits} bits {'signed' if signed else 'unsigned'}, intercept {intercept}",
        missing=int(np.ptp(numbers)) + 1 - len(numbers),
    )  # fmt: skip
