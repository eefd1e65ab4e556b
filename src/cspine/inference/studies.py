"""Study folders to eight logits each: decoding in processes that may die, the networks in this one."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cspine.dicom.reader import WITHOUT_FAST_DECODER
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.execution.engine import run_tasks
from cspine.execution.worker import Job
from cspine.inference.blends import Models
from cspine.inference.decoded import decode_study, load_small, load_volume
from cspine.inference.ensemble import Answer, DeviceLost, device_is_lost


@dataclass(frozen=True)
class Prediction:
    """What became of one study: what the networks said, or why they did not."""

    study: str
    answer: Answer | None
    reason: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Part ("decode", "locate", "cut", "classify") -> how long it took."""
    scan: Volume | None = None
    """The scan, its voxels mapped from a file that is gone already; for who takes it at once."""


@dataclass(frozen=True)
class Limits:
    """What a run over many studies may use."""

    workers: int = 2
    """Processes that decode."""
    study_s: float = 180.0
    """A study that takes longer to decode is given up."""
    until: float = float("inf")
    """time.monotonic() after which no further study is begun; where the pace is too slow for that, views, then
    folds are dropped."""
    begin: Callable[[str], None] = lambda study: None
    """Called with each study before the networks see it."""


STEADY = 5
"""Studies after which the pace is believed."""


class Pace:
    """How long a study takes, and models that are lightened until all of them are done in time."""

    def __init__(self, models: Models, until: float):
        self.models, self.until = models, until
        self.began, self.done = time.monotonic(), 0

    def step(self, left: int) -> None:
        """Note that a study is done.

        Parameters
        ----------
        left : int
            Studies that wait.
        """
        self.done += 1
        now = time.monotonic()
        each = (now - self.began) / self.done
        if self.done < STEADY or now + each * left <= self.until:
            return
        lighter = self.models.lighter()
        if lighter is None:
            return
        what = f"{each:.1f} s a study, {left} left, {max(self.until - now, 0):.0f} s left"
        print(f"too slow ({what}): from here on {lighter[1]}", flush=True)
        self.models, self.began, self.done = lighter[0], now, 0


def predict_studies(
    folders: Mapping[str, Path], models: Models, decoded: Path, limits: Limits
) -> Iterator[Prediction]:
    """Predict study after study; one that fails gives a reason, and the next one follows.

    Parameters
    ----------
    folders : Mapping of str to Path
        Study -> folder with its DICOM files.
    models : Ensemble or Blend
        The networks.
    decoded : Path
        An empty folder for decoded volumes; each is removed once it was used.
    limits : Limits
        What may be used.

    Yields
    ------
    Prediction
        Each study once. Those that the deadline leaves out come last, with that reason.

    Raises
    ------
    DeviceLost
        If the device answers no more.
    """
    spacing = models.spacing_mm
    here = {study: decoded / f"{number:05d}" for number, study in enumerate(folders)}
    items = [(study, (str(folder), str(here[study]), spacing)) for study, folder in folders.items()]
    waiting = dict(folders)
    again = partial(decode_study, fallback=True)
    pace = Pace(models, limits.until)
    job = Job(decode_study, limits.study_s, again, WITHOUT_FAST_DECODER)
    for outcome in run_tasks(job, items, limits.workers):
        waiting.pop(outcome.key)
        answer, scan, reason = None, None, outcome.error or ""
        if not reason:
            limits.begin(outcome.key)
            try:
                scan = load_volume(here[outcome.key])
                answer = pace.models.answer(scan, *load_small(here[outcome.key]))
            except DeviceLost:
                raise
            except InputError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (one odd study must not cost the others; it is reported)
                if device_is_lost(error):
                    raise DeviceLost(f"{error.__class__.__name__}: {error}".partition("\n")[0]) from error
                reason = f"{error.__class__.__name__}: {error}"
        shutil.rmtree(here[outcome.key], ignore_errors=True)
        seconds = {"decode": outcome.seconds}
        if answer is None:
            yield Prediction(outcome.key, None, reason, seconds)
        else:
            yield Prediction(outcome.key, answer, "", seconds | answer.seconds, scan)
        pace.step(len(waiting))
        if time.monotonic() > limits.until:
            break
    for study in waiting:
        yield Prediction(study, None, "the time was up before its turn")
