"""Competition folders full of CT for benchmarks: a replica's slices, in the syntaxes asked for."""

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from replica.cohort.studies import make_cohort
from replica.scanner.protocol import Protocol
from replica.scanner.scan import scan
from replica.settings import ReplicaSettings
from replica.study import Purpose, draw_protocol, make_study, study_rng
from replica.writer.dicom import slice_header, write_slice

UID = "1.2.826.0.1.3680043."


def write_competition(
    raw: Path, protocol: Protocol, stored: list[np.ndarray], syntax: str, studies: int
) -> None:
    """Write one study and its further copies as hard links, train_images/UID1, UID2, ..., and train.csv.

    stored: slices from head to feet, as `draw_slices` gives them. syntax: transfer syntax UID.
    """
    protocol = replace(protocol, syntax=syntax)
    uids = [f"{UID}{number}" for number in range(1, studies + 1)]
    folders = [raw / "train_images" / uid for uid in uids]
    for folder in folders:
        folder.mkdir(parents=True)
    header = slice_header(uids[0], protocol)
    for k, pixels in enumerate(stored):
        write_slice(folders[0], header, protocol, k, k + 1, pixels)
        for folder in folders[1:]:
            os.link(folders[0] / f"{k + 1}.dcm", folder / f"{k + 1}.dcm")
    write_train(raw, uids)


def write_train(raw: Path, uids: list[str]) -> None:
    """Write the labels that name a competition's studies."""
    labels = dict.fromkeys(("patient_overall", *(f"C{n}" for n in range(1, 8))), 0)
    pd.DataFrame({"StudyInstanceUID": uids, **labels}).to_csv(raw / "train.csv", index=False)


def draw_slices(slices: int, size: float) -> tuple[Protocol, list[np.ndarray]]:
    """Scan a replica's first patient whose series is long enough, signed, and numbered from the head.

    size: scale of the 512 x 512 matrix. Returns the protocol and the stored slices, int16 (y, x), head first.
    """
    settings = ReplicaSettings(out=Path(), train=100, public=0, private=0, size=size)
    for _, row in make_cohort(settings).iterrows():
        _, protocol = draw_protocol(row, settings)
        usual = protocol.signed and not protocol.feet_first and not row["oddity"]
        if usual and protocol.grid.shape[0] >= slices:
            study = make_study(row, settings)
            scanned = scan(
                study.hu, study.protocol, study.anatomy, study_rng(settings, int(row["index"]), Purpose.SCAN)
            )
            return study.protocol, [pixels.copy() for pixels in islice(scanned, slices)]
    raise ValueError(f"no patient of the replica has {slices} slices; ask for fewer")
