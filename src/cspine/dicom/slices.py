"""The slices of one series in one block of memory, decoded as their files come."""

from collections import Counter
from pathlib import Path

import numpy as np

from cspine.dicom.decoding import decode
from cspine.dicom.grid import file_grid
from cspine.dicom.header import SliceHeader, Unreadable
from cspine.dicom.hounsfield import to_hu
from cspine.dicom.order import heights_of
from cspine.dicom.volume import FileGrid


class Slices:
    """Decoded slices of one series, each file read once, before the order of all is known.

    headers: of the slices that could be decoded. failed: file -> why it could not. decoders: how many slices
    each decoder took. grid: which way the files' rows and columns run.
    """

    def __init__(self, capacity: int, use_dicomsdl: bool) -> None:
        self.headers: list[SliceHeader] = []
        self.failed: dict[Path, Unreadable] = {}
        self.decoders: Counter[str] = Counter()
        self.grid = FileGrid(False, False, False, {}, np.zeros(0))
        self._capacity, self._use_dicomsdl = capacity, use_dicomsdl
        self._block = np.empty((0, 0, 0), np.int16)
        self._positions: list[int] = []
        self._step = 1

    def add(self, header: SliceHeader, content: bytes) -> None:
        """Decode a slice; one that can't be decoded is entered in `failed`.

        Parameters
        ----------
        header : SliceHeader
            The slice's header.
        content : bytes
            The bytes that `read_header` returned with the header.
        """
        try:
            stored, decoder = decode(content, header, self._use_dicomsdl)
        except Unreadable as error:
            self.failed[header.file] = error
            return
        if not self.headers:
            self._allocate(header)
        elif len(self.headers) == 1:
            self._choose_direction(header)
        position = self._positions[-1] + self._step if self._positions else 0
        to_hu(stored, header, self._as_in_files[position])
        self.headers.append(header)
        self._positions.append(position)
        self.decoders[decoder] += 1

    def take(self, order: list[int]) -> np.ndarray:
        """The slices in an order, without gaps; to be called once.

        Parameters
        ----------
        order : list of int
            Indices of the slices wanted among `headers`.

        Returns
        -------
        ndarray of int16, shape (z, y, x)
            Their Hounsfield units, a part of the block.
        """
        positions = np.array([self._positions[n] for n in order])
        if (np.diff(positions) == 1).all():
            return self._block[positions[0] : positions[-1] + 1]
        inside = list(range(self._capacity))  # which slice lies at a position
        where = list(range(self._capacity))  # at which position a slice lies
        for z, wanted in enumerate(positions.tolist()):
            found = where[wanted]
            if found != z:
                self._block[[z, found]] = self._block[[found, z]]
                moved = inside[z]
                inside[z], inside[found] = wanted, moved
                where[wanted], where[moved] = z, found
        return self._block[: len(positions)]

    def _allocate(self, header: SliceHeader) -> None:
        """Set the block aside; memory is taken only where slices are written to it."""
        self.grid = file_grid(header)
        shape = (header.rows, header.columns)
        shape = shape[::-1] if self.grid.transposed else shape
        self._block = np.empty((self._capacity, *shape), np.int16)
        y_step, x_step = (-1 if flipped else 1 for flipped in (self.grid.flipped_y, self.grid.flipped_x))
        turned = self._block[:, ::y_step, ::x_step]
        self._as_in_files = turned.transpose(0, 2, 1) if self.grid.transposed else turned

    def _choose_direction(self, second: SliceHeader) -> None:
        """Fill the block from its end where files run from feet to head, so that nothing is moved later."""
        heights = heights_of([self.headers[0], second])
        if heights[1] > heights[0]:
            self._block[-1] = self._block[0]
            self._positions, self._step = [self._capacity - 1], -1
