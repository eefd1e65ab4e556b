"""Settings of how studies are worked on: processes of this machine, or a Dask scheduler's workers."""

import os
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine.settings.strict import STRICT


def available_cpus() -> int:
    """Count the CPUs that this process may use.

    Returns
    -------
    int
        At least 1; all of the machine's where the system can't tell (macOS).
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, config=STRICT)
class ExecutionSettings:
    """Where a batch of studies runs, and whether failures are tried anew."""

    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that read series on this machine."""
    retry_failed: bool = False
    """Try studies again that failed before."""
    scheduler: str = ""
    """Address of a Dask scheduler whose workers do it instead, or `local` to try that on this machine."""
