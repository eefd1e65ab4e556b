"""What travels to Kaggle: the code, the wheels that its image lacks, and a run's models, in one folder."""

import shutil
from dataclasses import replace
from pathlib import Path

import cspine
from cspine import storage
from cspine.evaluation.calibration import Calibration
from cspine.inference.blends import members_of, read_blend, write_blend
from cspine.inference.ensemble import models_of
from cspine.kaggle.marker import MARKER
from cspine.settings.layout import RunLayout

MEMBER = "member{}"
"""The folder of a blend's member among the bundle's models."""


def assemble(run: Path, folder: Path, wheels: Path | None = None) -> list[Path]:
    """Make the bundle anew: MARKER, src/cspine, models/ and, if given, wheels/.

    Parameters
    ----------
    run : Path
        The run or blend whose models are bundled.
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
    members = {member: models_of(member) for member in members_of(run)}
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    source = Path(cspine.__file__).parent
    shutil.copytree(source, temporary / "src" / "cspine", ignore=shutil.ignore_patterns("__pycache__"))
    models, blend = temporary / "models", read_blend(run)
    for number, (member, (locators, classifiers)) in enumerate(members.items()):
        folder_of = models if blend is None else models / MEMBER.format(number)
        for path in [*locators, *classifiers]:
            target = folder_of / path.relative_to(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.copyfile(RunLayout(Path(run)).calibration, RunLayout(models).calibration)
    if blend is not None:
        names = tuple(Path(MEMBER.format(number)) for number in range(len(members)))
        write_blend(models, replace(blend, runs=names))
    if wheels is not None:
        shutil.copytree(wheels, temporary / "wheels")
    files = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
    storage.write_json(
        temporary / MARKER,
        {
            "version": cspine.__version__,
            "files": {path.as_posix(): storage.sha256_of(temporary / path) for path in files},
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return [folder / path for path in files]
