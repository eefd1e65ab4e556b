"""A run's answer about one folder of DICOM files: eight probabilities, a JSON file and a picture."""

import shutil
from pathlib import Path

from cspine import cli, storage
from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.submission import probability_of
from cspine.errors import InputError
from cspine.evaluation.calibration import Calibration
from cspine.evaluation.figures import png
from cspine.evaluation.named_scan import locate_scan
from cspine.evaluation.study_picture import study_picture
from cspine.inference.blends import in_words, load_models
from cspine.inference.studies import Limits, predict_studies
from cspine.settings.layout import DEFAULT_RUN


def predict_one(study: Path, run: Path, out: Path) -> None:
    """Predict one study; print, save and draw what came out. Without a trained run its levels are named.

    Parameters
    ----------
    study : Path
        A folder with the DICOM files of one CT of the neck.
    run : Path
        The run whose models are asked.
    out : Path
        The folder that gets <its name>.json and .png.

    Raises
    ------
    InputError
        If the study can't be read or the run is not complete.
    """
    if run == DEFAULT_RUN and not run.exists():
        print(f"no trained run in {run}: the levels alone, without probabilities")
        locate_scan(study, out)
        return
    if not study.is_dir():
        raise InputError(f"--study {study}: no such folder; expected one with the .dcm files of a CT series")
    models, calibration = load_models(run), Calibration.load(run)
    name = study.resolve().name
    decoded = out / f".decoded-{name}"
    with storage.locked(out, "predict"):
        shutil.rmtree(decoded, ignore_errors=True)
        (found,) = predict_studies({name: study}, models, decoded, Limits(workers=1))
        shutil.rmtree(decoded, ignore_errors=True)
    if found.fold_logits is None or found.column is None:
        raise InputError(found.reason)
    verdict = found.column.verdict
    values = calibration.apply(found.fold_logits.mean(axis=0), verdict.in_view)
    seconds = round(sum(found.seconds.values()), 2)
    known = [*verdict.in_view.tolist(), True]
    shares = zip(PREDICTION_TYPES, probability_of(values).tolist(), known, strict=True)
    probability = {kind: share if shown else None for kind, share, shown in shares}
    for kind, share in probability.items():
        bar = "not in view" if share is None else f"{share:.3f}  {'#' * round(40 * share)}"
        print(f"{kind:<16}{bar}")
    for note in found.column.notes:
        print(f"note: {note}")
    target = out / f"{name}.json"
    storage.write_json(
        target,
        {
            "study": found.column.study,
            "probability": probability,
            "submitted_value": dict(zip(PREDICTION_TYPES, values.tolist(), strict=True)),
            "verdict": verdict.as_json(),
            "notes": list(found.column.notes),
            "seconds": seconds,
        },
    )
    picture = target.with_suffix(".png")
    title = f"{name}, window {models.window_name}"
    storage.write_bytes(picture, png(study_picture(found.column, values, title=title)))
    cli.log_stage(
        "predict", read=study, wrote=f"{target} and {picture}", models=in_words(run), seconds=seconds
    )
