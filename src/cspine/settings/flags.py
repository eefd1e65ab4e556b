"""Flags that several scripts share; a script's own class inherits those that it needs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.execution import available_cpus
from cspine.settings.layout import DEFAULT_CACHE, DEFAULT_RAW, DEFAULT_RUN
from cspine.settings.presets import DEFAULT_PRESET, PresetName
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class RawFlag:
    """Where the competition's files are."""

    raw: Path = DEFAULT_RAW
    """The competition folder as downloaded (train.csv, train_images, ...); never written to."""


@dataclass(frozen=True, config=STRICT)
class CacheFlag:
    """Where the stages before training put their work."""

    cache: Path = DEFAULT_CACHE
    """The cache: folds.csv, volumes, label maps, columns."""


@dataclass(frozen=True, config=STRICT)
class RunFlag:
    """Where a run's models are."""

    run: Path = DEFAULT_RUN
    """The run: checkpoints, out-of-fold predictions, calibration, scores."""


@dataclass(frozen=True, config=STRICT)
class PresetFlag:
    """Which settings shape the cache and the run."""

    preset: PresetName = DEFAULT_PRESET
    """Settings by name."""


@dataclass(frozen=True, config=STRICT)
class LoaderFlag:
    """How training's batches are made."""

    loader_workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that make batches, for each GPU; 0 where /dev/shm is small. Else the preset's, at most one a CPU."""


KernelName = Literal["prepare", "locate", "columns", "train", "inference"]
"""The Kaggle kernels in the order in which they are run; each has a folder in kernels/."""


@dataclass(frozen=True, config=STRICT)
class BundleFlag:
    """Where what travels to Kaggle is put together."""

    bundle: Path = Path("data/kaggle/bundle")
    """The bundle: code/ and models/, each sent as a dataset."""


@dataclass(frozen=True, config=STRICT)
class KaggleFlag:
    """In whose name Kaggle is asked, and how often."""

    owner: str = ""
    """Your Kaggle user name."""
    name: str = "cspine"
    """What the names of datasets and kernels begin with."""
    poll_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between two questions to Kaggle while something is awaited."""


@dataclass(frozen=True, config=STRICT)
class KernelFlag:
    """Which Kaggle kernel."""

    kernel: KernelName = "inference"
    """The kernel."""


@dataclass(frozen=True, config=STRICT)
class DoctorFlags(PresetFlag, RunFlag, CacheFlag, RawFlag):
    """Flags of doctor.py."""


@dataclass(frozen=True, config=STRICT)
class PredictFlags:
    """Flags of predict.py and of `cspine predict`."""

    input: Path
    """What to look through: a DICOM file, a folder with folders, a zip, or a NIfTI file."""
    out: Path = Path("data/predictions")
    """The folder for predictions.csv, index.html, and a JSON file and a picture a series."""
    run: Path = DEFAULT_RUN
    """The run or blend whose models are asked."""
    labels: bool = False
    """Write the label map of each scan as NIfTI, too."""
    names: bool = False
    """Tell the patients' names, not their IDs alone."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that read series on this machine, or threads of a scheduler on it."""
    scheduler: str = ""
    """Address of a Dask scheduler whose workers predict instead, or `local` to try that on this machine."""


@dataclass(frozen=True, config=STRICT)
class LocateScanFlags:
    """Flags of locate_scan.py and of `cspine locate-scan`."""

    input: Path
    """A folder with the DICOM files of a CT series, one of these files, or a NIfTI file."""
    out: Path = Path("data/predictions")
    """The folder for <name>-levels.nii.gz, .json and .png."""
