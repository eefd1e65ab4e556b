"""Settings of how studies are worked on: processes of this machine, or a Dask scheduler's workers."""

import math
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT


def available_cpus() -> int:
    """Count the CPUs that this process may use.

    Returns
    -------
    int
        At least 1, of those that its affinity and the limits of its container leave.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min([here, *_allowed()]), 1)


def _allowed(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """CPUs that each limit of this process's container comes to; none where there is no limit."""
    inside = root / _text(Path("/proc/self/cgroup")).partition("0::/")[2].partition("\n")[0]
    limits = [
        _text(folder / "cpu.max") for folder in (inside, *inside.parents)
    ]  # version 2: those above count too
    limits.append(" ".join(_text(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")))
    pairs = [limit.split() for limit in limits]
    return [math.ceil(int(one[0]) / int(one[1])) for one in pairs if len(one) == 2 and one[0].isdecimal()]


def _text(path: Path) -> str:
    """A small file of the system's; nothing where it is not there, as on other systems."""
    try:
        return path.read_text()
    except OSError:
        return ""


@dataclass(frozen=True, config=STRICT)
class ExecutionSettings:
    """Where a batch of studies runs, and whether failures are tried anew."""

    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that read series on this machine."""
    retry_failed: bool = False
    """Try studies again that failed before."""
    scheduler: str = ""
    """Address of a Dask scheduler whose workers do it instead, or `local` to try that on this machine."""
