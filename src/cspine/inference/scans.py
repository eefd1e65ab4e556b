"""Any scan, in any form, as a volume with named vertebrae: a folder of DICOM files, one of its files, or NIfTI."""

from dataclasses import dataclass
from pathlib import Path

import torch

from cspine.dicom.reader import read_series
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.networks.locator import Locator
from cspine.networks.precision import best_device
from cspine.networks.pretrained import load_pretrained
from cspine.networks.search import Located, locate
from cspine.preprocessing.nifti import is_nifti, read_nifti
from cspine.preprocessing.resampling import resample


@dataclass(frozen=True)
class NamedScan:
    """A scan at the locator's spacing, and what the locator found in it."""

    small: Volume
    located: Located


def read_scan(path: Path) -> Volume:
    """Read a CT scan.

    Parameters
    ----------
    path : Path
        A folder with the DICOM files of a series, one of these files, or a NIfTI file.

    Returns
    -------
    Volume
        In Hounsfield units, z from head to feet.

    Raises
    ------
    InputError
        If there is no such path, or no scan in it.
    """
    if is_nifti(path):
        return read_nifti(path)
    if path.is_dir():
        return read_series(path)
    if path.is_file():
        return read_series(path.parent)
    raise InputError(f"{path}: no such file or folder; expected a folder of DICOM files or a NIfTI file")


def name_vertebrae(
    volume: Volume, locators: list[Locator] | None = None, device: torch.device | None = None
) -> NamedScan:
    """Find C1-C7 in a scan.

    Parameters
    ----------
    volume : Volume
        The scan.
    locators : list of Locator, optional
        Those of a run; by default the kit's own, which learnt on replicas alone.
    device : torch.device, optional
        Where they are; by default the first GPU, or the CPU.

    Returns
    -------
    NamedScan
        The small scan, its label map and the verdict.
    """
    device = device or best_device()
    locators = locators or [load_pretrained(device)]
    small = resample(volume, locators[0].settings.spacing_mm)
    return NamedScan(small, locate(locators, small.hu, device))
