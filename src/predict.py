"""Ask a run's models about any folder with a CT series: eight probabilities and a picture."""

import shutil
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.competition.labels import PREDICTION_TYPES
from cspine.errors import InputError
from cspine.evidence.figures import png, study_picture
from cspine.inference.ensemble import Ensemble
from cspine.inference.studies import Limits, predict_studies


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of predict.py."""

    study: Path
    """A folder with the DICOM files of one CT of the neck."""
    run: Path = Path("data/runs/t4")
    """The run whose models are asked."""
    out: Path = Path("data/predictions")
    """The folder for <name of the study's folder>.json and .png."""


def main(settings: Settings) -> None:
    """Predict one study; print, save, draw."""
    if not settings.study.is_dir():
        raise InputError(
            f"--study {settings.study}: no such folder; expected one with the .dcm files of a CT series"
        )
    ensemble = Ensemble.load(settings.run)
    name = settings.study.resolve().name
    scratch = settings.out / f".scratch-{name}"
    with storage.locked(settings.out, "predict"):
        shutil.rmtree(scratch, ignore_errors=True)
        (found,) = predict_studies({name: settings.study}, ensemble, scratch, Limits(workers=1))
        shutil.rmtree(scratch, ignore_errors=True)
    if found.values is None:
        raise InputError(found.reason)
    probability = found.values / (2 - found.values)
    for kind, value in zip(PREDICTION_TYPES, probability, strict=True):
        print(f"{kind:<16}{value:.3f}  {'#' * round(40 * value)}")
    for note in found.column.notes:
        print(f"note: {note}")
    target = settings.out / f"{name}.json"
    storage.write_json(
        target,
        {
            "study": found.column.study,
            "probability": dict(zip(PREDICTION_TYPES, (float(p) for p in probability), strict=True)),
            "submitted_value": dict(zip(PREDICTION_TYPES, (float(v) for v in found.values), strict=True)),
            "notes": list(found.column.notes),
            "seconds": round(found.seconds, 2),
        },
    )
    picture = target.with_suffix(".png")
    storage.write_bytes(picture, png(study_picture(found.column, found.values, title=name)))
    stage.say(
        "predict", read=settings.study, wrote=f"{target} and {picture}", seconds=round(found.seconds, 2)
    )


if __name__ == "__main__":
    stage.run(main, Settings)
