"""Run the Kaggle kernel here as Kaggle runs it: a fresh process, only the attached inputs, no network."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cspine import cli, storage
from cspine.competition.labels import SLUG
from cspine.competition.submission import check
from cspine.competition.tables import read_sample, read_submission
from cspine.errors import InputError
from cspine.execution.worker import interrupts_for_this_process_alone
from cspine.kaggle.bundle import assemble_code, assemble_models
from cspine.settings.layout import FALLBACKS, FOLD_LOGITS, INFERENCE_REPORT, SUBMISSION

GUARD = '''"""Stands in for Kaggle's switched-off internet: no process of the kernel may open a connection."""

import sys


# audit event -> which of its arguments is an address
OUTWARD = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}


def refuse(event, arguments):
    if event in OUTWARD:
        address = arguments[OUTWARD[event]]
        if isinstance(address, (tuple, str)) and not (isinstance(address, str) and address.startswith("/")):
            raise PermissionError(f"no network in this kernel: {event} {address!r}")


sys.addaudithook(refuse)
'''
"""Source of the sitecustomize.py that every Python process of the kernel imports first."""


@dataclass(frozen=True)
class Interpreter:
    """The Python that runs the kernel, and the wheels of what its packages lack."""

    python: Path = Path(sys.executable)
    wheels: Path | None = None


OWN = Interpreter()
"""This Python, which lacks nothing."""


def make_submission(
    competition: Path, run: Path, script: Path, out: Path, interpreter: Interpreter = OWN
) -> None:
    """Run the kernel and say what it made.

    Parameters
    ----------
    competition : Path
        The folder with sample_submission.csv and test_images.
    run : Path
        The run with the models.
    script : Path
        The kernel's code file.
    out : Path
        The folder for submission.csv, inference.json and Kaggle's folders.
    interpreter : Interpreter
        The Python that runs it.

    Raises
    ------
    InputError
        As `run_kernel`.
    """
    with storage.locked(out, "submission"):
        result = run_kernel(competition, run, script, out, interpreter)
        report = storage.read_json(out / INFERENCE_REPORT)
    cli.log_stage(
        "submission",
        read=f"{competition} and {run}",
        wrote=result,
        models=report["models"],
        studies=report["studies"],
        predicted=report["predicted"],
        fell_back_to_constants=len(report["fell_back"]),
    )


def run_kernel(competition: Path, run: Path, script: Path, out: Path, interpreter: Interpreter = OWN) -> Path:
    """Lay out Kaggle's folders in `out`, run the kernel's script there, check what it left.

    Nothing is run if models, code, sample and scans are those of the submission that is there. A run that was stopped
    goes on with the studies that it has not finished.

    Parameters
    ----------
    competition : Path
        The folder with sample_submission.csv and test_images.
    run : Path
        The run with the models.
    script : Path
        The kernel's code file.
    out : Path
        The folder for submission.csv, inference.json and Kaggle's folders.
    interpreter : Interpreter
        The Python that runs it.

    Returns
    -------
    Path
        The checked submission.csv.

    Raises
    ------
    InputError
        If the kernel fails or its file is not valid.
    """
    sample = read_sample(competition)
    inputs, working = out / "kaggle" / "input", out / "kaggle" / "working"
    datasets = inputs / "datasets" / "owner"
    code = assemble_code(datasets / "cspine-code", interpreter.wheels)
    files = [*code, *assemble_models(run, datasets / "cspine-models")]
    stamp = _fingerprint([*files, script, Path(competition) / "sample_submission.csv"], datasets, competition)
    result, state = out / SUBMISSION, out / "submission.json"
    if result.is_file() and state.is_file() and storage.read_json(state)["made_from"] == stamp:
        check(read_submission(result), sample, result)
        return result
    attached = inputs / "competitions" / SLUG
    attached.parent.mkdir(parents=True, exist_ok=True)
    attached.unlink(missing_ok=True)
    attached.symlink_to(Path(competition).resolve(), target_is_directory=True)
    begun = out / "kaggle" / "begun.json"
    if not begun.is_file() or storage.read_json(begun)["made_from"] != stamp:
        shutil.rmtree(working, ignore_errors=True)  # else what an interrupted run knows already is kept
    working.mkdir(parents=True, exist_ok=True)
    storage.write_json(begun, {"made_from": stamp})
    source = out / "kaggle" / "src"
    storage.write_text(source / "script.py", script.read_text())
    storage.write_text(out / "kaggle" / "guard" / "sitecustomize.py", GUARD)
    _run(interpreter.python, source / "script.py", inputs, working, out / "kaggle" / "guard")
    made = working / SUBMISSION
    if not made.is_file():
        raise InputError(f"{script}: the kernel left no submission.csv in {working}")
    check(read_submission(made), sample, made)
    storage.write_bytes(result, made.read_bytes())
    for name in (INFERENCE_REPORT, FALLBACKS, FOLD_LOGITS):
        storage.write_bytes(out / name, (working / name).read_bytes())
    storage.write_json(state, {"made_from": stamp})
    begun.unlink(missing_ok=True)
    return result


def _run(python: Path, script: Path, inputs: Path, working: Path, guard: Path) -> None:
    """Start the script in a process of its own, with nothing of this one but the interpreter."""
    keep = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ
    }
    with interrupts_for_this_process_alone():  # which ends the kernel's, with all that is known kept
        process = subprocess.Popen(
            [str(python.absolute()), str(script.resolve()), str(inputs.resolve())],
            cwd=working,
            env={**keep, "PYTHONPATH": str(guard.resolve()), "HF_HUB_OFFLINE": "1"},
        )
    try:
        code = process.wait()
    except BaseException:
        process.kill()  # the processes below it end with it
        process.wait()
        raise
    if code:
        raise InputError(f"{script}: the kernel ended with exit code {code}; its messages stand above")


def _fingerprint(files: list[Path], root: Path, competition: Path) -> str:
    """SHA-256 over names and contents of files, and over the scans' names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(root) if path.is_relative_to(root) else path.name).encode())
        digest.update(path.read_bytes())
    for folder, _, names in sorted(os.walk(Path(competition) / "test_images", followlinks=True)):
        for name in sorted(names):
            state = os.stat(os.path.join(folder, name))
            digest.update(f"{folder}/{name} {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()
