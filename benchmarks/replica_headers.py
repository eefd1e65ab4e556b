"""What the headers of a series say: as a protocol has it, and as the files on disk have it."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1

from replica.scanner.protocol import Protocol

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
    one_stack = protocol.file_numbers()
    numbers = np.concatenate([one_stack + stack * len(one_stack) for stack in range(protocol.stacks)])
    positions = np.array([protocol.position_mm(k) for k in range(len(one_stack))] * protocol.stacks)
    geometry = (protocol.thickness_mm, protocol.grid.spacing_mm[1], tuple(protocol.grid.shape[1:]))
    storage = (16 if protocol.signed else 12, protocol.signed, protocol.intercept)
    positioned = (numbers, positions, np.cross(*protocol.row_and_column()))
    return _series(positioned, geometry, protocol.syntax, storage)


def as_written(folder: Path) -> Series:
    """A series as its files have it."""
    heads = {int(path.stem): pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")}
    one = heads[min(heads)]
    positions = np.array([head.ImagePositionPatient for head in heads.values()], float)
    turn = np.array(one.ImageOrientationPatient, float)
    positioned = (np.array(list(heads)), positions, np.cross(turn[:3], turn[3:]))
    geometry = (float(one.SliceThickness), float(one.PixelSpacing[0]), (int(one.Rows), int(one.Columns)))
    storage = (int(one.BitsStored), bool(one.PixelRepresentation), int(one.RescaleIntercept))
    return _series(positioned, geometry, str(one.file_meta.TransferSyntaxUID), storage)


def _series(positioned: tuple, geometry: tuple, syntax: str, storage: tuple) -> Series:
    """positioned: file numbers (n,), positions (n, 3) x, y, z in mm, and the slices' normal (3,)."""
    numbers, positions, normal = positioned
    up = positions @ normal
    steps = np.diff(np.unique(np.round(up, 3)))
    step_mm = float(np.median(steps)) if len(steps) else 0.0
    bits, signed, intercept = storage
    return Series(
        len(numbers), step_mm, float(np.ptp(up)) + step_mm, *geometry,
        feet_first=bool(np.all(np.diff(up[numbers.argsort()][:2]) > 0)),
        first_number=int(numbers.min()),
        syntax=SYNTAX_NAMES.get(syntax, syntax),
        stored=f"{bits} bits {'signed' if signed else 'unsigned'}, intercept {intercept}",
        missing=int(np.ptp(numbers)) + 1 - len(numbers),
    )  # fmt: skip
