"""The studies of a task answered on one device, one after the other, and told line by line on a pipe."""

import importlib.metadata
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any, TextIO

import torch

from cspine.errors import InputError
from cspine.inference.blends import load_models
from cspine.inference.device_task import Task
from cspine.inference.ensemble import DeviceLost
from cspine.inference.sound import sound_models
from cspine.inference.studies import Limits, Prediction, predict_studies
from cspine.networks.precision import fast_precision

PACKAGES = ("numpy", "torch", "timm", "pydicom", "dicomsdl")
"""Whose versions are told."""


def answer(task: Task, pipe: TextIO) -> None:
    """Answer all studies of a task.

    Parameters
    ----------
    task : Task
        What is asked.
    pipe : TextIO
        Where a JSON line goes for each thing that happens: "ready" with device, folds and versions, "begun" with a
        study, a study's "logits" or the "reason" why there are none, "lost" when the device answers no more or, with
        "final", no network can be used.
    """

    def say(**words: Any) -> None:
        try:
            pipe.write(json.dumps(words) + "\n")
            pipe.flush()
        except BrokenPipeError:  # whoever asked is gone, and this process is about to end anyway
            os._exit(1)

    device = torch.device(task.device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
    with tempfile.TemporaryDirectory(prefix="cspine-", ignore_cleanup_errors=True) as own:
        sound = Path(own) / "models"
        try:
            folds, dropped = sound_models(Path(task.models), task.sums, sound, device)
            models = load_models(sound, device)
        except InputError as error:
            say(lost=str(error), final=True)
            return
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
        versions = {one: importlib.metadata.version(one) for one in PACKAGES if _installed(one)}
        say(
            ready=str(device),
            name=name,
            precision=str(fast_precision(device)).removeprefix("torch."),
            gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0,
            folds=folds,
            dropped=dropped,
            versions={"python": platform.python_version(), **versions},
        )
        limits = Limits(task.workers, until=task.until, begin=lambda study: say(begun=study))
        folders = {study: Path(folder) for study, folder in task.folders.items()}
        try:
            for one in predict_studies(folders, models, Path(own) / "decoded", limits):
                say(**as_words(one))
        except DeviceLost as error:
            say(lost=str(error))


def as_words(prediction: Prediction) -> dict[str, Any]:
    """Give what travels of a prediction.

    Parameters
    ----------
    prediction : Prediction
        A study's logits, or the reason why there are none.

    Returns
    -------
    dict
        Ready for JSON.
    """
    words: dict[str, Any] = {"study": prediction.study, "seconds": prediction.seconds}
    if prediction.answer is None:
        return {**words, "reason": prediction.reason}
    column = prediction.answer.column
    return {
        **words,
        "logits": prediction.answer.fold_logits.tolist(),
        "in_view": column.verdict.in_view.tolist(),
        "verdict": str(column.verdict.kind),
        "notes": list(column.notes),
    }


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
