"""Run the inference kernel's own script as Kaggle would and check the submission.csv that it leaves."""

from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.inference.offline import run_kernel


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of submission.py."""

    raw: Path = Path("data/raw")
    """The competition folder with sample_submission.csv and test_images."""
    run: Path = Path("data/runs/t4")
    """The run whose models are bundled."""
    out: Path = Path("data/submissions/t4")
    """The folder for submission.csv, inference.json and the Kaggle folders (kaggle/input, kaggle/working)."""
    kernel: Path = Path("kernels/inference/inference.py")
    """The kernel's script."""


def main(settings: Settings) -> None:
    """Lay out, run, check."""
    with storage.locked(settings.out, "submission"):
        result = run_kernel(settings.raw, settings.run, settings.kernel, settings.out)
        report = storage.read_json(settings.out / "inference.json")
    stage.say(
        "submission",
        read=f"{settings.raw} and {settings.run}",
        wrote=result,
        studies=report["studies"],
        predicted=report["predicted"],
        on_constants=len(report["on_constants"]),
    )


if __name__ == "__main__":
    stage.run(main, Settings)
