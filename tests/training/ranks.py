"""Trains one fold of a tiny classifier in every process of torchrun; each leaves a digest of what it judged.

torchrun --standalone --nproc-per-node=2 ranks.py FOLDER STUDIES (the columns are there already)
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch
from training.necks import CLASSIFY, columns

from cspine.training import classify
from cspine.training.distributed import joined

PRESET = replace(
    CLASSIFY,
    classifier_fit=replace(
        CLASSIFY.classifier_fit, epochs=2, batch=2, repeats=1, accumulate=2, evaluate_every=1
    ),
)


def main(folder: Path, studies: int) -> None:
    """Train fold 1 with everything that is judged written down by each rank."""
    torch.set_num_threads(1)
    classify.fast_precision = lambda device: torch.float32  # one process and two round alike
    store, truth, folds = columns(folder / "columns", studies)
    judge = classify._judge

    def watched(model, held_out, job):
        digest = hashlib.sha256()
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        with open(folder / f"rank{job.place.rank}.txt", "a") as file:
            file.write(digest.hexdigest() + "\n")
        return judge(model, held_out, job)

    classify._judge = watched
    with joined() as place:
        classify.train_fold(classify.ClassifierJob(folder / "run", store, truth, folds, PRESET, place), 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
