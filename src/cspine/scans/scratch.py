"""A decoded scan handed from a worker process to its parent, as files; workers load no torch for it."""

import shutil
from pathlib import Path

import numpy as np

from cspine import storage
from cspine.scans.reading import read_study
from cspine.scans.volume import Volume, resample


def decode_to_scratch(folder: str, scratch: str, spacing_mm: float, careful: bool = False) -> None:
    """Read a series in a worker process and leave the volume and its small copy as files in `scratch`.

    careful: without the fast decoder, which crashed.
    """
    volume = read_study(folder, careful)
    target = Path(scratch)
    shutil.rmtree(target, ignore_errors=True)  # what an earlier attempt left when its process died
    target.mkdir(parents=True)
    save_volume(volume, target)
    small = resample(volume, (spacing_mm,) * 3)
    np.save(target / "small.npy", small.hu, allow_pickle=False)
    np.save(target / "small_affine.npy", small.affine, allow_pickle=False)


def save_volume(volume: Volume, folder: Path) -> None:
    """Write a volume into a folder of its own; `load_volume` reads it."""
    np.save(folder / "hu.npy", volume.hu, allow_pickle=False)
    np.save(folder / "affine.npy", volume.affine, allow_pickle=False)
    np.save(folder / "file_numbers.npy", volume.file_numbers, allow_pickle=False)
    storage.write_json(folder / "volume.json", {"study": volume.study, "notes": list(volume.notes)})


def load_volume(folder: Path) -> Volume:
    """The volume that `save_volume` wrote, its voxels mapped from disk."""
    words = storage.read_json(folder / "volume.json")
    return Volume(
        hu=np.load(folder / "hu.npy", mmap_mode="r", allow_pickle=False),
        affine=np.load(folder / "affine.npy", allow_pickle=False),
        file_numbers=np.load(folder / "file_numbers.npy", allow_pickle=False),
        study=words["study"],
        notes=tuple(words["notes"]),
    )
