"""What travels to Kaggle: the code with the wheels that its image lacks, and a run's models, each a dataset."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cspine
from cspine import cli, storage
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration
from cspine.inference.blends import in_words, members_of, read_blend, write_blend
from cspine.inference.ensemble import models_of
from cspine.inference.sound import sound_models
from cspine.kaggle.marker import CODE, MODELS, write_marker
from cspine.kaggle.packages import fits
from cspine.kaggle.wheels import PYTHONS
from cspine.networks.checkpoints import git_hash
from cspine.networks.fold_models import preset_of
from cspine.networks.precision import best_device
from cspine.settings.layout import CLASSIFIER, RunLayout
from cspine.settings.presets import DEFAULT_PRESET, PresetName, for_trying

MEMBER = "member{}"
"""The folder of a blend's member among the bundle's models."""
LIMIT_BYTES = 2_000_000_000
"""What a dataset of five folds of any preset stays below; more is refused, since every upload would take it."""
TRAVELS = ("src", "kernels", "requirements.txt")
"""What of the working tree decides what a kernel does."""


@dataclass(frozen=True)
class BundleSources:
    """What is bundled."""

    run: Path | None
    """The run or blend whose models are bundled; none for the code alone."""
    wheels: Path
    """A folder with the wheels that Kaggle's image lacks."""
    dirty: bool = False
    """Whether changes that are not committed may travel."""
    preset: PresetName = DEFAULT_PRESET
    """The settings of the kernels that prepare and train."""


def make_bundle(sources: BundleSources, out: Path) -> None:
    """Put out/code and out/models together, and say what they hold.

    Parameters
    ----------
    sources : BundleSources
        What is bundled.
    out : Path
        The bundle's folder.

    Raises
    ------
    InputError
        If the run is not complete or holds a network whose answer is not finite, a wheel is missing, the working tree
        has changes that are not committed, or a half is too big.
    """
    if sources.run is not None:
        Calibration.load(sources.run)
    changed = uncommitted()
    if changed and not sources.dirty:
        raise InputError(
            f"{len(changed)} files are not as committed ({', '.join(changed[:3])}), and the bundle's git hash would "
            "not tell what it holds; commit them, or give --dirty"
        )
    _check_wheels(sources.wheels)
    if sources.run is not None:
        check_networks(sources.run)
    with storage.locked(out, "bundle"):
        files = assemble_code(out / "code", sources.wheels, sources.preset)
        shutil.rmtree(out / "models", ignore_errors=True)
        if sources.run is not None:
            files += assemble_models(sources.run, out / "models")
        _check_size(files)
    megabytes = round(sum(path.stat().st_size for path in files) / 1e6, 1)
    cli.log_stage(
        "bundle",
        read=sources.run or "no run",
        wrote=out,
        models=in_words(sources.run) if sources.run else "none",
        files=len(files),
        megabytes=megabytes,
        git=git_words(),
    )


def uncommitted() -> list[str]:
    """Find what travels and is not as committed.

    Returns
    -------
    list of str
        Paths; empty where this is no git checkout.
    """
    if git_hash() == "unknown":
        return []
    asked = ["git", "status", "--porcelain", "--", *TRAVELS]
    root = Path(cspine.__file__).parents[2]
    found = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout
    return [line[3:] for line in found.splitlines()]


def git_words() -> str:
    """Name the state of the code.

    Returns
    -------
    str
        The hash of the commit, with "+" if something is not as committed; "unknown" outside of a git checkout.
    """
    return git_hash() + ("+" if uncommitted() else "")


def assemble_code(
    folder: Path, wheels: Path | None = None, preset: PresetName = DEFAULT_PRESET
) -> list[Path]:
    """Make the half with the code anew: CODE, src/cspine and, if given, wheels/.

    Parameters
    ----------
    folder : Path
        Its folder; what it held before is removed.
    wheels : Path, optional
        A folder with wheels that Kaggle's image lacks.
    preset : str
        The settings of the kernels that prepare and train.

    Returns
    -------
    list of Path
        The files written.
    """
    with _anew(folder) as temporary:
        source = Path(cspine.__file__).parent
        shutil.copytree(source, temporary / "src" / "cspine", ignore=shutil.ignore_patterns("__pycache__"))
        if wheels is not None:
            shutil.copytree(wheels, temporary / "wheels")
        files = write_marker(temporary / CODE, version=cspine.__version__, git=git_words(), preset=preset)
    return [folder / path for path in files]


def assemble_models(run: Path, folder: Path) -> list[Path]:
    """Make the half with the models anew: MODELS and models/.

    Parameters
    ----------
    run : Path
        The run or blend whose models are bundled.
    folder : Path
        Its folder; what it held before is removed.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If the run is not complete; what was there before stays.
    """
    Calibration.load(run)
    members = {member: models_of(member) for member in members_of(run)}
    with _anew(folder) as temporary:
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
        files = write_marker(temporary / MODELS, version=cspine.__version__, run=in_words(run))
    return [folder / path for path in files]


@contextmanager
def _anew(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes the place of `folder` when all went well."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _check_wheels(folder: Path) -> None:
    """Refuse a folder that lacks a package for one of Kaggle's versions of Python."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise InputError(f"--wheels {folder}: no .whl file in it; `make wheels` downloads them")
    names = {wheel.name.split("-")[0] for wheel in wheels}
    for version in PYTHONS:
        major, minor = (int(word) for word in version.split("."))
        lacking = names - {wheel.name.split("-")[0] for wheel in wheels if fits(wheel, (major, minor))}
        if lacking:
            raise InputError(
                f"--wheels {folder}: no wheel of {', '.join(sorted(lacking))} for Python {version}; `make wheels` "
                "downloads them"
            )


def check_networks(run: Path) -> None:
    """Refuse a run with a network that can't be used; warn of one that is not for the competition.

    Parameters
    ----------
    run : Path
        A run or a blend.

    Raises
    ------
    InputError
        If a network is damaged, or its answer to a probe is not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        folds, dropped = sound_models(run, {}, Path(folder) / "sound", best_device())
    if dropped:
        words = "; ".join(f"{name}: {why}" for name, why in dropped.items())
        raise InputError(f"{run}: {words}; delete that fold and train it again, nothing was assembled")
    for member in members_of(run):
        preset = preset_of(models_of(member)[1][0], CLASSIFIER)
        if for_trying(preset):
            print(
                f"WARNING: {member} has the stacks of the presets smoke or demo ({len(folds)} folds): it is for trying "
                "the kit, not for the competition"
            )
    if Calibration.load(run).synthetic:
        print(f"WARNING: {run} learnt from a replica: it is for trying the kit, not for the competition")


def _check_size(files: list[Path]) -> None:
    """Refuse more than every upload should take."""
    size = sum(path.stat().st_size for path in files)
    if size > LIMIT_BYTES:
        biggest = max(files, key=lambda path: path.stat().st_size)
        raise InputError(
            f"the bundle holds {size / 1e9:.1f} GB, expected less than {LIMIT_BYTES / 1e9:.0f}; the biggest file is "
            f"{biggest}; a blend of fewer runs, or a run of fewer folds, is smaller"
        )
