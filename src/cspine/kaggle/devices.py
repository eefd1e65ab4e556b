"""One process a device, watched: what one of them takes down with it, another one tries again."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cspine
from cspine.inference.device_task import Task

TRIES = 2
"""How often a study may take its process down, and a device may fail without an answer."""
SILENT_S = 1200.0
"""A process that says nothing for so long hangs."""
CPU = "cpu"


@dataclass
class DeviceProcess:
    """A process that answers, and what is known of it."""

    task: Task
    process: subprocess.Popen[bytes]
    pipe: int
    """What it says comes here."""
    waiting: list[str]
    begun: str = ""
    """The study that it works on."""
    answers: int = 0
    ready: bool = False
    lost: str = ""
    """Why its device answers no more, as it said itself."""
    killed: str = ""
    """Why it was killed from here."""
    final: bool = False
    """It said that another process could do no better."""
    rest: bytes = b""
    heard: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, task: Task) -> "DeviceProcess":
        """Start it.

        Parameters
        ----------
        task : Task
            What it is asked.

        Returns
        -------
        DeviceProcess
            The running process.
        """
        end, other = os.pipe()
        command = [sys.executable, "-m", "cspine.inference.device_process", str(other)]
        source = str(Path(cspine.__file__).parents[1])
        paths = os.pathsep.join(path for path in (source, os.environ.get("PYTHONPATH", "")) if path)
        # It may be killed with locks of its decoders, which Python would tell beside whatever is said here.
        warnings = [one for one in (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker") if one]
        with tempfile.TemporaryFile("w+") as words:
            words.write(task.as_json())
            words.seek(0)
            process = subprocess.Popen(
                command,
                stdin=words,
                pass_fds=(other,),
                env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": ",".join(warnings)},
            )
        os.close(other)
        return cls(task, process, end, list(task.folders))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Read what it has said since the last time.

        Yields
        ------
        dict
            A line; the last one may be cut off where it died, and is left out.
        """
        content = os.read(self.pipe, 1 << 16)
        if not content:
            self.process.wait()
            return
        self.heard = time.monotonic()
        *whole, self.rest = (self.rest + content).split(b"\n")
        for line in whole:
            words = json.loads(line)
            self.begun = words.get("begun", self.begun)
            self.ready = self.ready or "ready" in words
            self.lost, self.final = words.get("lost", self.lost), words.get("final", self.final)
            if "study" in words:
                self.waiting.remove(words["study"])
                self.begun, self.answers = "", self.answers + 1
            yield words

    @property
    def why(self) -> str:
        """Why it ended before its work was done."""
        code = self.process.returncode
        ended = (
            f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        )
        return self.lost or self.killed or f"the process on {self.task.device or 'the device'} was {ended}"

    def end(self) -> None:
        """Kill it, if it lives, and forget the pipe."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.pipe)


class Devices:
    """All devices of this machine as one thing that answers studies."""

    def __init__(self, task: Task, problem: Callable[[str], None]):
        """Try the networks on one device.

        Parameters
        ----------
        task : Task
            Models, sums, workers and deadline; its studies don't count.
        problem : callable
            Called with everything that went wrong.
        """
        self.task, self.problem = task, problem
        self.tries: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.running: list[DeviceProcess] = []
        self.found: dict[str, Any] = {}
        """What the process that tried the networks said: device, GPUs, folds, versions."""

    def probe(self) -> bool:
        """Try the networks without a study, on the GPU and, if that fails, on the CPU.

        Returns
        -------
        bool
            Whether they can be used.
        """
        for device in ("", "", CPU):
            said = list(self._run([replace(self.task, folders={}, device=device)]))
            ready = [words for words in said if "ready" in words]
            if ready:
                self.found = ready[0]
                return True
            last = next((words for words in said if words.get("final")), None)
            if last is not None:
                return False
        return False

    def answer(self, folders: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Answer studies, on as many devices as there are.

        Parameters
        ----------
        folders : dict of str to str
            Study -> folder.

        Yields
        ------
        dict
            A study's words, as from `device_answers.as_words`; each study once.
        """
        gpus = int(self.found.get("gpus", 0))
        devices = [f"cuda:{number}" for number in range(gpus)] or [CPU]
        left = dict(folders)
        while left:
            usable = [one for one in devices if self.failed.get(one, 0) < TRIES]
            if not usable and CPU not in devices:
                devices = usable = [CPU]
                self.problem("no GPU is left, the CPU goes on")
            if not usable or time.monotonic() > self.task.until:
                why = "the time was up before its turn" if usable else "no device is left that answers"
                for study in left:
                    yield {"study": study, "reason": why, "seconds": {}}
                return
            workers = max(self.task.workers // len(usable), 1)
            names = list(left)
            tasks = [
                replace(
                    self.task,
                    folders={name: left[name] for name in names[number :: len(usable)]},
                    device=device,
                    workers=workers,
                )
                for number, device in enumerate(usable)
            ]
            for words in self._run([task for task in tasks if task.folders]):
                if "study" in words:
                    del left[words["study"]]
                    yield words
            for study in [study for study in left if self.tries.get(study, 0) >= TRIES]:
                del left[study]
                yield {"study": study, "reason": f"its process died {TRIES} times", "seconds": {}}

    def _run(self, tasks: list[Task]) -> Iterator[dict[str, Any]]:
        """Run a process for each task until all have ended; what they say."""
        self.running = [DeviceProcess.start(task) for task in tasks]
        with selectors.DefaultSelector() as selector:
            for one in self.running:
                selector.register(one.pipe, selectors.EVENT_READ, one)
            try:
                while selector.get_map():
                    for key, _ in selector.select(1.0):
                        one = key.data
                        yield from one.lines()
                        if one.process.returncode is not None:
                            selector.unregister(one.pipe)
                            self._note(one)
                    for key in list(selector.get_map().values()):
                        late = time.monotonic() - self.task.until > SILENT_S / 4
                        if late or time.monotonic() - key.data.heard > SILENT_S:
                            key.data.killed = "the time was up" if late else f"no word for {SILENT_S:.0f} s"
                            key.data.process.kill()
            finally:
                for one in self.running:
                    one.end()

    def _note(self, one: DeviceProcess) -> None:
        """What the end of a process means for its study and its device."""
        device = one.task.device or "the first device"
        done = one.ready and not one.waiting and not one.lost
        if done and one.process.returncode == 0:
            return
        self.problem(f"{device}: {one.why}" + (f", with study {one.begun}" if one.begun else ""))
        if one.begun and not one.lost:
            self.tries[one.begun] = self.tries.get(one.begun, 0) + 1
        elif not one.answers:  # one that had answered starts again as if nothing had happened
            self.failed[device] = self.failed.get(device, 0) + 1

    def stop(self) -> None:
        """Kill what runs."""
        for one in self.running:
            if one.process.poll() is None:
                one.process.kill()
