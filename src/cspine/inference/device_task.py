"""What a process with the networks on one device is asked; whoever asks needs no torch."""

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Task:
    """What such a process is asked to do; it comes as JSON on its standard input."""

    models: str
    """A run or a blend."""
    folders: dict[str, str]
    """Study -> folder with its DICOM files; none to try the networks alone."""
    sums: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the models' files by their path."""
    device: str = ""
    """As "cuda:1" or "cpu"; empty for the first GPU, or the CPU where there is none."""
    workers: int = 1
    """Processes that decode ahead."""
    until: float = 1e12
    """time.monotonic() at which all has to be done."""

    def as_json(self) -> str:
        """Write it as the process reads it.

        Returns
        -------
        str
            JSON.
        """
        return json.dumps(asdict(self))
