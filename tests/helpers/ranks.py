"""Trains one fold of a tiny classifier in every process of torchrun; each leaves a digest of what it judged.

torchrun --standalone --nproc-per-node=2 ranks.py FOLDER STUDIES (the columns are there already)
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch
from helpers.necks import CLASSIFY, columns

from cspine.networks import precision
from cspine.training import classify
from cspine.training.classifier_stage import ClassifierStage
from cspine.training.distributed import init_distributed

PRESET = replace(
    CLASSIFY,
    classifier_training=replace(
        CLASSIFY.classifier_training, epochs=2, batch_size=8, at_once=2, repeats=1, evaluate_every=1
    ),
)


def main(folder: Path, studies: int) -> None:
    """Train fold 1 with everything that is judged written down by each rank."""
    torch.set_num_threads(1)
    precision.fast_precision = lambda device: torch.float32  # one process and two round alike
    store, truth, folds = columns(folder / "columns", studies)
    judge = classify.judge_studies

    def watched(model, held_out, stage):
        digest = hashlib.sha256()
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        with open(folder / f"rank{stage.context.rank}.txt", "a") as file:
            file.write(digest.hexdigest() + "\n")
        return judge(model, held_out, stage)

    classify.judge_studies = watched
    with init_distributed() as context:
        classify.train_fold(ClassifierStage(folder / "run", store, truth, folds, PRESET, context), 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
