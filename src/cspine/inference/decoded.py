"""A decoded scan handed from a worker process to its parent, as files; workers load no torch for it."""

import shutil
from pathlib import Path

import numpy as np

from cspine import storage
from cspine.dicom.reader import read_study
from cspine.dicom.volume import Volume
from cspine.preprocessing.resampling import resample


def decode_study(folder: str, target: str, spacing_mm: float, fallback: bool = False) -> None:
    """Read a series in a worker process and leave the volume and its small copy as files in `target`.

    Parameters
    ----------
    folder : str
        The study's folder with its DICOM files, or a NIfTI file.
    target : str
        A folder for the files; what an earlier attempt left there is deleted.
    spacing_mm : float
        Voxel size of the small copy on all axes.
    fallback : bool
        Read without the fast decoder, which crashed.

    Raises
    ------
    InputError
        If the series can't be read.
    """
    if Path(folder).is_file():
        from cspine.preprocessing.nifti import read_nifti  # Kaggle's kernel gets along without nibabel

        volume = read_nifti(Path(folder))
    else:
        volume = read_study(folder, fallback)
    small = resample(volume, spacing_mm)
    shutil.rmtree(target, ignore_errors=True)  # what an earlier attempt left when its process died
    Path(target).mkdir(parents=True)
    save_volume(volume, Path(target))
    np.save(Path(target) / "small.npy", small.hu, allow_pickle=False)
    np.save(Path(target) / "small_affine.npy", small.affine, allow_pickle=False)


def load_small(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Load the small copy that `decode_study` left.

    Parameters
    ----------
    folder : Path
        Its `target`.

    Returns
    -------
    hu : ndarray of int16, shape (z, y, x)
        Hounsfield units.
    affine : ndarray of float64, shape (4, 4)
        From (z, y, x) index to patient mm.
    """
    hu = np.load(folder / "small.npy", allow_pickle=False)
    return hu, np.load(folder / "small_affine.npy", allow_pickle=False)


def save_volume(volume: Volume, folder: Path) -> None:
    """Write a volume into a folder of its own; `load_volume` reads it.

    Parameters
    ----------
    volume : Volume
        The scan; how its voxels lie in the files (`files`) is not kept.
    folder : Path
        The folder, which exists.
    """
    np.save(folder / "hu.npy", volume.hu, allow_pickle=False)
    np.save(folder / "affine.npy", volume.affine, allow_pickle=False)
    np.save(folder / "file_numbers.npy", volume.file_numbers, allow_pickle=False)
    storage.write_json(folder / "volume.json", {"study": volume.study, "notes": list(volume.notes)})


def load_volume(folder: Path) -> Volume:
    """Load the volume that `save_volume` wrote, its voxels mapped from disk.

    Parameters
    ----------
    folder : Path
        The volume's folder.

    Returns
    -------
    Volume
        The scan, without `files`.
    """
    words = storage.read_json(folder / "volume.json")
    return Volume(
        hu=np.load(folder / "hu.npy", mmap_mode="r", allow_pickle=False),
        affine=np.load(folder / "affine.npy", allow_pickle=False),
        file_numbers=np.load(folder / "file_numbers.npy", allow_pickle=False),
        study=words["study"],
        notes=tuple(words["notes"]),
    )
