"""The wheels of the bundle, installed where a kernel has no network. Needs nothing but Python and pip."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def fits(wheel: Path, python: tuple[int, int]) -> bool:
    """Whether a wheel is for a version of Python, by its name.

    Parameters
    ----------
    wheel : Path
        A .whl file.
    python : tuple of int
        Major and minor version.

    Returns
    -------
    bool
        True for a wheel of that version or of any Python 3.
    """
    tags, abi = wheel.stem.split("-")[-3:-1]
    return f"cp{python[0]}{python[1]}" in tags.split(".") or abi in ("none", "abi3")


def install(wheels: Path, packages: Path) -> list[str]:
    """Unpack the wheels that fit this Python into a folder, each by itself.

    Parameters
    ----------
    wheels : Path
        The folder of wheels, which need not exist.
    packages : Path
        The folder to unpack them into.

    Returns
    -------
    list of str
        What went wrong, one line a wheel.
    """
    problems = []
    for wheel in sorted(wheels.glob("*.whl")):
        if not fits(wheel, sys.version_info[:2]):
            continue
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade"]
        try:
            done = subprocess.run(
                [*pip, "--target", str(packages), str(wheel)],
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            why = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]
        except (OSError, subprocess.SubprocessError) as error:
            why = str(error)
        if why:
            problems.append(f"wheel {wheel.name} can't be installed: {why}")
    return problems


def start(stage: str, code: Path, inputs: Path, rest: list[str]) -> int:
    """Install the wheels, and run a stage with the attached code in a process of its own.

    Parameters
    ----------
    stage : str
        As "prepare".
    code : Path
        The folder with src/ and wheels/.
    inputs : Path
        The folder of the kernel's inputs.
    rest : list of str
        Hours and processes, to try it elsewhere.

    Returns
    -------
    int
        The stage's exit code.
    """
    with tempfile.TemporaryDirectory(prefix="cspine-wheels-", ignore_cleanup_errors=True) as packages:
        for problem in install(code / "wheels", Path(packages)):
            print(f"PROBLEM: {problem}", flush=True)
        paths = [str(code / "src"), packages, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        command = [sys.executable, "-m", "cspine.kaggle.stage", stage, str(inputs), *rest]
        return subprocess.run(command, env=environment, check=False).returncode
