"""What travels to Kaggle: the code, the wheels that its image lacks, and a run's models, in one folder."""

import shutil
from pathlib import Path

import cspine
from cspine import storage
from cspine.evaluation.calibration import Calibration
from cspine.inference.ensemble import models_of
from cspine.settings.layout import RunLayout

MARKER = "cspine-bundle.json"
"""The file by which the kernel recognises the bundle among its inputs."""


def assemble(run: Path, folder: Path, wheels: Path | None = None) -> list[Path]:
    """Make the bundle anew: MARKER, src/cspine, models/ and, if given, wheels/.

    Parameters
    ----------
    run : Path
        The run whose models are bundled.
    folder : Path
        The bundle's folder; what it held before is removed.
    wheels : Path, optional
        A folder with wheels that Kaggle's image lacks.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If the run is not complete.
    """
    Calibration.load(run)
    locators, classifiers = models_of(run)
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    source = Path(cspine.__file__).parent
    shutil.copytree(source, temporary / "src" / "cspine", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*locators, *classifiers, RunLayout(Path(run)).calibration]:
        target = temporary / "models" / path.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if wheels is not None:
        shutil.copytree(wheels, temporary / "wheels")
    files = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
    storage.write_json(
        temporary / MARKER, {"version": cspine.__version__, "files": [path.as_posix() for path in files]}
    )
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return [folder / path for path in files]
