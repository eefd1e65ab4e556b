import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ranks
from helpers.necks import columns

from cspine.competition.metric import global_loss
from cspine.networks import precision
from cspine.networks.fold_models import load_classifier
from cspine.settings.layout import (
    CLASSIFIER,
    LEARNT_FROM,
    LOGITS,
    MODEL,
    PREDICTED_FROM,
    SLICE_LOGITS,
    RunLayout,
)
from cspine.training.classifier_stage import ClassifierStage
from cspine.training.classify import predict
from cspine.training.distributed import DistributedContext, init_distributed

SRC = Path(__file__).parents[2] / "src"
TESTS = Path(__file__).parents[1]
ALONE = DistributedContext(0, 1, torch.device("cpu"))
STUDIES = 22
"""Seven are held out: two processes can't share them evenly."""


def test_alone_nothing_is_sent():
    values = torch.arange(3.0)
    assert ALONE.is_main and ALONE.sum(values) is values
    ALONE.barrier()
    ALONE.broadcast_buffers(torch.nn.BatchNorm1d(2))


def test_without_torchrun_one_process_stands_alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed() as context:
        assert (context.rank, context.world_size, context.is_main) == (0, 1, True)
    assert not torch.distributed.is_initialized()


def test_what_torchrun_started_ends_with_it(tmp_path):
    script = tmp_path / "forever.py"
    script.write_text(
        "import os, sys, time\nfrom cspine.training.distributed import init_distributed\n"
        "with init_distributed():\n    open(sys.argv[1], 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "CUDA_VISIBLE_DEVICES": ""}
    started = subprocess.Popen([*command, str(script), str(tmp_path / "pid")], env=environment)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    child = Path("/proc") / (tmp_path / "pid").read_text()
    assert child.exists() and started.poll() is None
    started.kill()
    started.wait()
    wait_for(lambda: not child.exists())


def wait_for(condition, limit_s: float = 60.0) -> None:
    """Return as soon as the condition holds; fail if it does not within the limit."""
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, "still waiting"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a fold that two processes trained."""
    folder = tmp_path_factory.mktemp("distributed")
    columns(folder / "columns", STUDIES)
    paths = f"{SRC}{os.pathsep}{TESTS}"
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [ranks.__file__, str(folder), str(STUDIES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_one_set_of_files(trained):
    folder = RunLayout(trained / "run").fold(CLASSIFIER, 1)
    assert {path.name for path in folder.iterdir()} == {
        MODEL,
        LOGITS,
        SLICE_LOGITS,
        LEARNT_FROM,
        PREDICTED_FROM,
        "metrics.csv",
        "tensorboard",
    }
    assert len(list((folder / "tensorboard").iterdir())) == 2  # one an evaluation, of one process


@pytest.mark.slow
def test_all_processes_judge_the_same_weights(trained):
    """Batch norm's running figures included, which differ while each process sees its own samples."""
    first, second = ((trained / f"rank{rank}.txt").read_text().split() for rank in range(2))
    assert first == second and len(first) == 2 and first[0] != first[1]


@pytest.mark.slow
def test_the_logits_are_those_of_the_checkpoint(trained, monkeypatch):
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.float32)
    folder = RunLayout(trained / "run").fold(CLASSIFIER, 1)
    store, truth, folds = columns(trained / "columns", STUDIES)
    stage = ClassifierStage(trained / "run", store, truth, folds, ranks.PRESET, ALONE)
    held_out = stage.dataset(1, held_out=True)
    found = pd.read_csv(folder / LOGITS, dtype={"StudyInstanceUID": str}).set_index("StudyInstanceUID")
    assert list(found.index) == held_out.uids and len(found) == 7
    wanted, slices = predict(load_classifier(folder / MODEL, ALONE.device), held_out, stage)
    np.testing.assert_allclose(np.load(folder / SLICE_LOGITS), slices, atol=1e-4)
    assert np.allclose(found.to_numpy(), wanted, atol=1e-4)
    assert np.abs(wanted).min(axis=1).max() > 0  # no study was left at zero
    labels = np.stack([truth[study] for study in found.index])
    score = pd.read_csv(folder / "metrics.csv")["score"].min()
    assert score == pytest.approx(global_loss(labels, 1 / (1 + np.exp(-wanted))), abs=1e-5)
