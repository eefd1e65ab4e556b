"""How a replica's studies are scanned, without painting one: for its statistics and for the room it takes."""

from collections.abc import Iterable

import pandas as pd

from replica.scanner.protocol import Protocol
from replica.scanner.sites import JPEG_LOSSLESS
from replica.settings import ReplicaSettings
from replica.study import draw_protocol

HEADER_BYTES = 700  # of a slice's file
SMALLEST_JPEG = 0.35  # share of its plain size that a JPEG Lossless slice takes at least


def census(cohort: pd.DataFrame, settings: ReplicaSettings) -> pd.DataFrame:
    """Draw every study's protocol and tabulate it.

    Returns one row a study: StudyInstanceUID, site, oddity, slices (files), step_mm, thickness_mm, extent_mm
    (first to last slice), spacing_mm, rows, columns, feet_first, first_number, signed, intercept, syntax,
    noise_hu.
    """
    rows = []
    for _, row in cohort.iterrows():
        anatomy, protocol = draw_protocol(row, settings)
        grid = protocol.grid
        extent = (grid.shape[0] - 1) * grid.spacing_mm[0]
        rows.append(
            {"StudyInstanceUID": row["StudyInstanceUID"], "site": row["site"], "oddity": row["oddity"],
             "slices": grid.shape[0] * protocol.stacks, "step_mm": grid.spacing_mm[0],
             "thickness_mm": protocol.thickness_mm, "extent_mm": extent, "spacing_mm": grid.spacing_mm[1],
             "rows": grid.shape[1], "columns": grid.shape[2], "feet_first": protocol.feet_first,
             "first_number": protocol.first_number, "signed": protocol.signed,
             "intercept": protocol.intercept, "syntax": protocol.syntax, "noise_hu": protocol.noise_hu}
        )  # fmt: skip
    return pd.DataFrame(rows)


def bytes_needed(rows: Iterable[pd.Series], settings: ReplicaSettings) -> int:
    """The least that the images and masks of these studies take on disk."""
    return sum(_study_bytes(draw_protocol(row, settings)[1], bool(row["masked"])) for row in rows)


def _study_bytes(protocol: Protocol, masked: bool) -> int:
    slices, rows, columns = protocol.grid.shape
    share = SMALLEST_JPEG if protocol.syntax == JPEG_LOSSLESS else 1.0
    image = int(2 * rows * columns * share) + HEADER_BYTES
    return slices * (protocol.stacks * image + 2 * rows * columns * masked)
