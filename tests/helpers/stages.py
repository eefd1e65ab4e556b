"""Whole competitions on disk, the stages as a person runs them, and what they leave behind."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

SRC = Path(__file__).parents[2] / "src"
LEVELS = [f"C{number}" for number in range(1, 8)]


def write_train(raw: Path, uids: Iterable[str]) -> Path:
    """train.csv that names these studies."""
    raw.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"StudyInstanceUID": list(uids), "patient_overall": 0, **dict.fromkeys(LEVELS, 0)})
    frame.to_csv(raw / "train.csv", index=False)
    return raw


def prepare_command(raw: Path, cache: Path, *flags: object) -> list[str]:
    """The command line of src/prepare.py."""
    flags = ("--raw", raw, "--cache", cache, "--preset", "demo", *flags)
    return [sys.executable, str(SRC / "prepare.py"), *map(str, flags)]


def run_prepare(raw: Path, cache: Path, *flags: object, **options) -> subprocess.CompletedProcess:
    """Run src/prepare.py to its end."""
    command = prepare_command(raw, cache, *flags)
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def measured(command: list[str], **options) -> dict:
    """Run a command: its exit code, output, and the most memory in kB of any process below it."""
    wrapper = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(json.dumps({'code': done.returncode, 'out': done.stdout, 'err': done.stderr, 'most_kb': most}))"
    )
    command = [sys.executable, "-c", wrapper, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    return json.loads(done.stdout)


def index_of(cache: Path) -> pd.DataFrame:
    """index.csv by study, all as text."""
    table = pd.read_csv(cache / "volumes" / "index.csv", dtype=str, keep_default_na=False)
    return table.set_index("StudyInstanceUID")


def content_of(cache: Path) -> dict[str, str]:
    """Every file of a cache with the hash of its bytes; of the index all but the seconds."""
    found = {}
    for path in sorted((cache / "volumes").rglob("*")):
        if path.is_file() and path.name != ".lock":
            content = path.read_bytes()
            if path.name == "index.csv":
                content = index_of(cache).drop(columns="seconds").to_csv().encode()
            found[str(path.relative_to(cache))] = hashlib.sha256(content).hexdigest()
    return found


def whole_studies(cache: Path) -> list[str]:
    """Studies that a reader would take as finished."""
    return sorted(path.parent.name for path in (cache / "volumes").glob("[!.]*/meta.json"))


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def descendants(pid: int) -> list[int]:
    """Children of a process, and their children."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    """Those of the processes that are still alive after the time."""
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [pid for pid in pids if alive(pid)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the library and the tests on Python's path."""
    return {**os.environ, "PYTHONPATH": f"{SRC}:{SRC.parent / 'tests'}", **more}
