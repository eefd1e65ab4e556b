"""The kernels of the stages, each as Kaggle runs it: its script alone in a fresh process, one after the other."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.stages import descendants

from cspine.competition.labels import SLUG
from cspine.execution.store import StudyStore
from cspine.kaggle.bundle import assemble_code
from cspine.kaggle.local_run import GUARD
from cspine.kaggle.marker import MODELS, read_marker
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate

ROOT = Path(__file__).resolve().parents[2]
TRAIN = 10
IMAGE, WHEELS = ROOT / ".venv-image" / "bin" / "python", ROOT / "data" / "wheels"
AS_ON_KAGGLE = IMAGE.is_file() and any(WHEELS.glob("*.whl"))
PYTHON = str(IMAGE) if AS_ON_KAGGLE else sys.executable
"""Kaggle's, with its image's packages and the wheels for the rest, where `make image` and `make wheels` have been."""


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    return Kaggle(tmp_path_factory.mktemp("kaggle"))


class Kaggle:
    """Kaggle's folders: read-only inputs, and a working folder for each version of a kernel."""

    def __init__(self, root: Path):
        self.root, self.inputs = root, root / "input"
        out = root / "replica"
        replicate(
            ReplicaSettings(out=out, train=TRAIN, public=1, private=1, size=0.125, mask_share=1.0, workers=2)
        )
        self.competition = self.inputs / "competitions" / SLUG
        shutil.copytree(out / "competition", self.competition)
        code = self.inputs / "datasets" / "me" / "cspine-code"
        assemble_code(code, WHEELS if AS_ON_KAGGLE else None, preset="smoke")
        (root / "guard").mkdir()
        (root / "guard" / "sitecustomize.py").write_text(GUARD)

    def start(self, kernel: str, number: int, hours: float = 1.0, processes: int = 1) -> subprocess.Popen:
        working = self.working(kernel, number)
        working.mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
        # torchrun's processes meet on this machine's own address, which the guard would forbid
        guard = {"PYTHONPATH": str(self.root / "guard")} if processes == 1 else {}
        script = ROOT / "kernels" / kernel / f"{kernel}.py"
        return subprocess.Popen(
            [PYTHON, str(script), str(self.inputs), str(hours), str(processes)],
            cwd=working, env={**kept, **guard, "HOME": "/proc/none", "HF_HUB_OFFLINE": "1", "TMPDIR": str(self.root)},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, kernel: str, number: int, **how) -> tuple[int, str]:
        process = self.start(kernel, number, **how)
        said, _ = process.communicate(timeout=900)
        return process.returncode, said

    def working(self, kernel: str, number: int) -> Path:
        return self.root / "working" / f"{kernel}{number}"

    def summary(self, kernel: str, number: int) -> dict:
        return json.loads((self.working(kernel, number) / f"cspine-{kernel}.json").read_text())

    def attach(self, kernel: str, number: int) -> None:
        """Give the output of a version to the kernels that follow, in place of an older one's."""
        target = self.inputs / "notebooks" / "me" / f"cspine-{kernel}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.working(kernel, number), target)


def store_in(working: Path, name: str) -> StudyStore:
    return StudyStore.of(working / "cache" / name)


def test_a_stage_without_its_inputs_says_what_to_attach(kaggle):
    code, said = kaggle.run("columns", 0)
    assert code == 1 and "holds cspine-locate.json: attach the output of locate" in said
    assert list(kaggle.working("columns", 0).iterdir()) == []


@pytest.mark.slow
def test_prepare_is_stopped_in_time_and_goes_on_from_its_own_output(kaggle):
    """What is done by then is packed; the second version adds the rest and makes the split."""
    module = (
        kaggle.inputs / "datasets" / "me" / "cspine-code" / "src" / "cspine" / "preprocessing" / "prepare.py"
    )
    text = module.read_text()
    module.write_text(text + SLOW)
    code, said = kaggle.run("prepare", 1, hours=20 / 3600)
    module.write_text(text)
    first = kaggle.summary("prepare", 1)
    assert code == 0, said
    assert 0 < first["done"] < TRAIN and not first["complete"] and not first["problem"], said
    assert "`make push KERNEL=prepare` goes on from here" in said
    kaggle.attach("prepare", 1)
    code, said = kaggle.run("locate", 0)
    assert code == 1 and f"prepare has done {first['done']} of {TRAIN} studies" in said
    code, said = kaggle.run("prepare", 2)
    assert code == 0, said
    assert "goes on from the last version's output" in said
    second = kaggle.summary("prepare", 2)
    assert (second["done"], second["studies"], second["complete"]) == (TRAIN, TRAIN, True), said
    names = sorted(path.name for path in (kaggle.working("prepare", 2) / "cache" / "volumes").iterdir())
    assert names == [*(f"fold{fold}.zip" for fold in range(5)), "index.csv", "settings.json"]
    before, after = (store_in(kaggle.working("prepare", number), "volumes") for number in (1, 2))
    for uid in before.uids():
        assert (before.read(uid)[0]["volume"] == after.read(uid)[0]["volume"]).all()
    assert len(pd.read_csv(kaggle.working("prepare", 2) / "cache" / "folds.csv")) == TRAIN
    assert not list(kaggle.root.glob("cspine-*")), "the scratch folder is gone"
    kaggle.attach("prepare", 2)


SLOW = """

def prepare_study(*words, work=prepare_study, **more):
    import time

    time.sleep(4)
    return work(*words, **more)
"""


@pytest.mark.slow
def test_locate_and_columns_follow(kaggle):
    code, said = kaggle.run("locate", 1)
    assert code == 0 and kaggle.summary("locate", 1)["complete"], said
    assert kaggle.summary("locate", 1)["done"] == TRAIN
    assert len(list((kaggle.working("locate", 1) / "run" / "locator").glob("fold*/model.safetensors"))) == 5
    kaggle.attach("locate", 1)
    code, said = kaggle.run("columns", 1)
    summary = kaggle.summary("columns", 1)
    assert code == 0 and summary["complete"], said
    assert summary["done"] + len(summary["failed"]) == TRAIN and summary["done"] > TRAIN / 2
    files = [path for path in kaggle.working("columns", 1).rglob("*") if path.is_file()]
    assert len(files) < 20, "few files, however many studies"
    kaggle.attach("columns", 1)


def killed(kaggle: Kaggle, number: int, processes: int) -> None:
    """Start training, and kill its whole tree as Kaggle ends a machine, once a fold is done."""
    process = kaggle.start("train", number, processes=processes)
    deadline = time.monotonic() + 600
    while not list(kaggle.root.glob("cspine-*/run/classifier/fold1/state.pt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for pid in [process.pid, *descendants(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


@pytest.mark.slow
def test_train_with_two_processes_is_stopped_goes_on_and_leaves_models_for_the_inference_kernel(kaggle):
    killed(kaggle, 1, processes=2)
    for scratch in kaggle.root.glob("cspine-*"):
        shutil.rmtree(scratch)
    code, said = kaggle.run("train", 2, processes=2, hours=45 / 3600)
    first = kaggle.summary("train", 2)
    assert code == 0, said
    assert 1 <= first["done"] <= 5
    kaggle.attach("train", 2)
    code, said = kaggle.run("train", 3, processes=2)
    last = kaggle.summary("train", 3)
    assert code == 0 and last["complete"] and last["done"] == 5, said
    bundle = kaggle.working("train", 3) / "bundle"
    assert len([name for name in read_marker(bundle / MODELS) if "/classifier/" in name]) == 5
    assert (kaggle.working("train", 3) / "run" / "oof.csv").is_file()
    kaggle.attach("train", 3)
    working = kaggle.root / "working" / "inference"
    working.mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "kernels" / "inference" / "inference.py"), str(kaggle.inputs)],
        cwd=working, capture_output=True, text=True, timeout=600, check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/proc/none"},
    )  # fmt: skip
    said = json.loads((working / "inference.json").read_text())
    assert said["predicted"] == said["studies"] == 2, done.stdout
    assert said["folds"] == [0, 1, 2, 3, 4]
