"""The README's pictures: one study on its way through the pipeline, what `make predict` says of it, and the replica.

pipeline.png: a study of the demo's private test set, from its DICOM series to eight probabilities.
own-scan.png: the picture that `make predict` leaves for the same study.
replica.png: patients in three planes and two windows, painted in memory and seen through the scanner.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pipeline_picture import PIPELINE_BYTES, draw_pipeline  # noqa: E402
from pipeline_study import look_at_study  # noqa: E402
from pixel_figures import write_picture  # noqa: E402
from replica_picture import REPLICA_BYTES, draw_replica, look_at_patients  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.evaluation.exams import predict_exams  # noqa: E402
from cspine.settings.execution import available_cpus  # noqa: E402
from cspine.settings.flags import PredictFlags  # noqa: E402
from cspine.settings.layout import SUBMISSION  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402


@dataclass(frozen=True, config=STRICT)
class Flags:
    """Flags of pictures.py."""

    raw: Path = ROOT / "data" / "raw" / "demo"
    """A replica: competition/ and solution.csv."""
    run: Path = ROOT / "data" / "runs" / "demo"
    """The run whose models are asked."""
    submission: Path = ROOT / "data" / "submissions" / "demo" / SUBMISSION
    """What this run said about the test set; the study is chosen by it."""
    out: Path = ROOT / "docs"
    """The folder for pipeline.png, own-scan.png and replica.png."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the replica that is drawn."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that paint patients."""


def main(flags: Flags) -> None:
    """Draw and write the pictures."""
    shown = look_at_study(flags.raw, flags.run, flags.submission)
    write_picture(flags.out / "pipeline.png", draw_pipeline(shown), PIPELINE_BYTES)
    cli.log_stage("pictures", read=f"study {shown.study}", wrote=flags.out / "pipeline.png")
    with tempfile.TemporaryDirectory() as folder:
        scan = flags.raw / "competition" / "test_images" / shown.study
        predict_exams(PredictFlags(scan, Path(folder), flags.run))
        (made,) = Path(folder).glob("*.png")
        storage.write_bytes(flags.out / "own-scan.png", made.read_bytes())
    cli.log_stage("pictures", read=f"study {shown.study}", wrote=flags.out / "own-scan.png")
    patients = look_at_patients(flags.seed, flags.workers)
    write_picture(flags.out / "replica.png", draw_replica(patients), REPLICA_BYTES)
    cli.log_stage("pictures", read=f"seed {flags.seed}", wrote=flags.out / "replica.png")


if __name__ == "__main__":
    cli.run(main, Flags)
