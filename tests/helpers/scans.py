"""Scans of a replica's patients in any extent, as arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from replica.anatomy.build import USUAL, make_anatomy
from replica.anatomy.shapes import Grid
from replica.scanner.protocol import choose_protocol
from replica.scanner.scan import scan
from replica.settings import ReplicaSettings
from replica.study import paint

MM = 3.0
"""Voxels of these scans."""


def replica_scan(seed: int, top_mm: float, bottom_mm: float, field_mm: float, off_mm: float = 0.0):
    """A patient in a given extent (mm above C1's and below C7's centre), at 3 mm: HU and labels."""
    rng = np.random.default_rng(seed)
    anatomy = make_anatomy("MF"[seed % 2], 30 + 7 * seed, rng, USUAL)
    settings = ReplicaSettings(out=Path("unused"), size=0.25)
    protocol = choose_protocol(1 + seed, anatomy, settings, rng)
    first, last = (float(anatomy.poses[n].centre[0]) for n in (0, 6))
    middle = anatomy.poses[3].centre
    count = int(field_mm / MM)
    grid = Grid(
        (int((first + top_mm - last - bottom_mm) / MM), count, count), (MM, MM, MM),
        (first + top_mm, middle[1] - field_mm / 2 + off_mm, middle[2] - field_mm / 2),
    )  # fmt: skip
    study = paint(anatomy, replace(protocol, grid=grid, thickness_mm=MM), {})
    stored = scan(study.hu, study.protocol, anatomy, rng)
    hu = np.stack([image.astype(np.int32) for image in stored]) + protocol.intercept
    return hu.astype(np.int16), study.labels
