"""A real Dask scheduler with two workers, as their command lines start them."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from helpers import stages


class Cluster:
    """A scheduler and two workers as their command lines start them."""

    def __init__(self, folder: Path, stack: ExitStack, **scheduler: str):
        self.folder, self._stack = folder, stack
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard", **scheduler)
        stages.wait_for(lambda: self._file.is_file() and self._file.read_text().endswith("}"))
        self.address = json.loads(self._file.read_text())["address"]
        self.workers = [self.add_worker(), self.add_worker()]

    def add_worker(self, *flags: str) -> subprocess.Popen:
        flags = flags or ("--no-nanny",)
        return self._start("worker", "--nthreads", "1", "--no-dashboard", *flags)

    def _start(self, what: str, *flags: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", str(self._file), *flags]
        command += ["--local-directory", str(self.folder)] if what == "worker" else ["--host", "127.0.0.1"]
        with open(self.folder / f"{what}.log", "a") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=stages.environment(**environment), cwd=self.folder
            )
        self._stack.callback(end, process)
        return process


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
