"""A learning training of seconds, for the loop's tests; as a script it is trained, killed and trained again.

python tiny.py kill FOLDER SEED: train in child processes that are killed at random moments until one gets to
the end; prints as JSON how often that happened and how far each had come.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cspine.settings.training import TrainSettings
from cspine.training.distributed import DistributedContext
from cspine.training.trainer import FoldTraining, train_network

ALONE = DistributedContext(0, 1, torch.device("cpu"))
SETTINGS = TrainSettings(
    epochs=4,
    batch_size=6,
    at_once=2,
    repeats=2,
    learning_rate=0.01,
    evaluate_every=2,
    checkpoint_every_s=1e-3,
)
STUDIES = 11


class Points(torch.utils.data.Dataset):
    """Noisy points of a plane; slow, so that a kill hits something."""

    def __init__(self, pause_s: float = 0.0):
        self.pause_s = pause_s

    def __len__(self) -> int:
        return STUDIES

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Tensor]:
        epoch, repeat, number = key
        time.sleep(self.pause_s)
        x = torch.from_numpy(np.random.default_rng([7, number]).normal(size=8)).float()
        noise = torch.from_numpy(
            np.random.default_rng([8, epoch + 1, repeat, number]).normal(0, 0.05, 8)
        ).float()
        return {"x": x + noise, "y": x[:2].sum()}


def make_model() -> nn.Module:
    """A net with dropout and batch norm: both would show a resumption that is not exact."""
    torch.manual_seed(0)  # the tests compare with the net that it started from
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))


def evaluate(model: nn.Module) -> dict[str, float]:
    """Squared error on points of their own."""
    points = [Points()[-1, 0, number] for number in range(100, 120)]
    x, y = (torch.stack([point[name] for point in points]) for name in "xy")
    with torch.inference_mode():
        error = (model(x)[:, 0] - y).square().mean().item()
    return {"score": error, "row": error + 1, "column": error + 2}


def make_training(folder: Path, pause_s: float = 0.0, **description: object) -> FoldTraining:
    """The training that all tests of the loop share."""
    return FoldTraining(
        name="tiny",
        folder=Path(folder),
        make_model=make_model,
        dataset=Points(pause_s),
        loss=lambda model, batch: (model(batch["x"])[:, 0] - batch["y"]).square().mean(),
        evaluate=evaluate,
        description={"kind": "tiny", "settings": {"width": 16}, **description},
    )


def killed_until_done(folder: Path, seed: int) -> dict[str, object]:
    """Fork, train, kill; again from what the dead process left. This process itself computes nothing."""
    moments = random.Random(seed)
    kills, steps = 0, []
    while True:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            train_network(make_training(folder, pause_s=0.02), SETTINGS, 5, ALONE)
            os._exit(0)
        # longer and longer: even a slow machine gets through
        time.sleep(moments.uniform(0.1, 0.5) + 0.05 * kills)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return {"kills": kills, "steps": steps, "code": os.WEXITSTATUS(status)}
        kills += 1
        if (folder / "state.pt").is_file():
            progress = torch.load(folder / "state.pt", weights_only=True)["progress"]
            steps.append((progress["epoch"], progress["step"]))


if __name__ == "__main__":
    assert sys.argv[1] == "kill"
    print(json.dumps(killed_until_done(Path(sys.argv[2]), int(sys.argv[3]))))
