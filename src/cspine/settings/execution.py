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
    return max(min(here, *_allowed()), 1)


def _allowed(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """CPUs that the limits of this process's container come to, where there are some; and a number above all else."""
    try:  # version 2: 0::/a/b, and the limits of every folder above count too
        inside = Path("/proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
    except OSError:
        inside = ""
    quotas = [folder / "cpu.max" for folder in (root / inside, *(root / inside).parents)]
    allowed = [1 << 20]
    for path in quotas:
        try:
            quota, period = path.read_text().split()
            allowed.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # no limit there
            continue
    try:  # version 1
        quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        allowed += [math.ceil(int(quota) / int(period))] if int(quota) > 0 else []
    except (OSError, ValueError):
        pass
    return allowed


@dataclass(frozen=True, config=STRICT)
class ExecutionSettings:
    """Where a batch of studies runs, and whether failures are tried anew."""

    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that read series on this machine."""
    retry_failed: bool = False
    """Try studies again that failed before."""
    scheduler: str = ""
    """Address of a Dask scheduler whose workers do it instead, or `local` to try that on this machine."""
