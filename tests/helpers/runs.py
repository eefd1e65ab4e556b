"""A small replica, a run of two folds that nobody trained, and a competition made of broken studies."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cspine import storage
from cspine.evaluation.calibration import Calibration
from cspine.networks.checkpoints import save_weights
from cspine.networks.classifier import Classifier
from cspine.networks.fold_models import describe_fold
from cspine.networks.locator import Locator
from cspine.networks.pretrained import start_locator
from cspine.settings.layout import CALIBRATION, CLASSIFIER, LOCATOR, RunLayout
from cspine.settings.networks import ClassifierSettings, LocatorSettings
from cspine.settings.preprocessing import ColumnSettings, StackSettings
from cspine.settings.presets import PRESETS
from replica.settings import ReplicaSettings
from replica.writer.folder import replicate

FOLDS = {"1.2.1": 0, "1.2.2": 1}
TINY = replace(
    PRESETS["demo"],
    column=ColumnSettings(spacing_mm=(2.0, 2.0, 2.0)),
    stacks=StackSettings(slices=3, neighbours=1, neighbour_mm=2.0, crop_mm=64.0, image_px=32),
    classifier=ClassifierSettings(
        encoder="test_resnet", pretrained=False, hidden=8, context_layers=1, dropout=0.0
    ),
)
CALIBRATED = Calibration(1.25, 0.75, (-0.5,) * 7 + (0.25,), tuple(0.1 + 0.05 * level for level in range(8)))


@pytest.fixture(scope="session")
def replica(tmp_path_factory) -> Path:
    """A written replica: two training studies, two test studies."""
    out = tmp_path_factory.mktemp("replica") / "small"
    replicate(ReplicaSettings(out=out, train=2, public=1, private=1, size=0.125, mask_share=1.0, workers=2))
    return out


@pytest.fixture(scope="session")
def competition(replica) -> Path:
    """The replica's competition folder."""
    return replica / "competition"


@pytest.fixture(scope="session")
def studies(competition) -> list[str]:
    """The two test studies, sorted."""
    return sorted(path.name for path in (competition / "test_images").iterdir())


def write_run(run: Path, make_locator=start_locator, preset=TINY, folds=None) -> Path:
    """Write a whole run with a fixed seed; folds: its split."""
    torch.manual_seed(5)
    folds = folds or FOLDS
    for fold in range(max(folds.values()) + 1):
        models = {
            LOCATOR: make_locator(preset.locator),
            CLASSIFIER: Classifier(preset.classifier, preset.stacks.channels),
        }
        with torch.no_grad():
            # so that studies differ by more than the last digit
            models[CLASSIFIER].slice_alone.weight.mul_(10)
        for kind, model in models.items():
            path = RunLayout(run).model(kind, fold)
            save_weights(path, model.state_dict(), describe_fold(kind, fold, preset, folds))
    storage.write_json(run / CALIBRATION, asdict(CALIBRATED))
    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run with the kit's own locator in each fold, and classifiers that nobody trained; only to be read."""
    return write_run(tmp_path_factory.mktemp("runs") / "untrained")


@pytest.fixture(scope="session")
def blind_run(tmp_path_factory) -> Path:
    """A run whose locators find no vertebra at all."""

    def blind(settings: LocatorSettings) -> Locator:
        locator = start_locator(settings)
        with torch.no_grad():
            locator.head.bias[0] = -1000
        return locator

    return write_run(tmp_path_factory.mktemp("runs") / "blind", blind)


@pytest.fixture
def own_run(run, tmp_path) -> Path:
    """A copy of `run` that a test may spoil."""
    return shutil.copytree(run, tmp_path / "own-run")


@pytest.fixture
def make(run) -> SimpleNamespace:
    """What tests make runs with: write_run, the preset and the calibration in `run`."""

    def save(path: Path, classifier: Classifier) -> None:
        """Put another classifier in the place of a fold's."""
        fold = int(path.parent.name[4:])
        save_weights(path, classifier.state_dict(), describe_fold(CLASSIFIER, fold, TINY, FOLDS))

    return SimpleNamespace(write_run=write_run, preset=TINY, calibration=CALIBRATED, save=save)


@pytest.fixture
def troubled(competition, studies, tmp_path) -> Path:
    """The competition with one test study whose files are cut short and one whose folder is gone."""
    folder = tmp_path / "troubled"
    (folder / "test_images").mkdir(parents=True)
    for name in ("sample_submission.csv", "test.csv"):
        shutil.copy(competition / name, folder / name)
    damage(competition / "test_images" / studies[0], folder / "test_images" / studies[0])
    return folder


def damage(study: Path, target: Path) -> Path:
    """Copy a study, every file cut short within its pixels."""
    target.mkdir(parents=True)
    for path in study.iterdir():
        (target / path.name).write_bytes(path.read_bytes()[:1500])
    return target


@pytest.fixture
def damaged(competition, studies, tmp_path) -> Path:
    """A study folder in which no file is whole."""
    return damage(competition / "test_images" / studies[0], tmp_path / "damaged")


@pytest.fixture
def visible(competition, tmp_path) -> Path:
    """What Kaggle shows before the scoring run: three rows of one type each, folders of other studies."""
    folder = tmp_path / "visible"
    (folder / "test_images").mkdir(parents=True)
    for path in (competition / "test_images").iterdir():
        (folder / "test_images" / path.name).symlink_to(path, target_is_directory=True)
    rows = [
        ("1.2.826.0.1.3680043.1", "C1"),
        ("1.2.826.0.1.3680043.2", "C1"),
        ("1.2.826.0.1.3680043.3", "patient_overall"),
    ]
    lines = [f"{uid}_{kind},{uid},{kind}\n" for uid, kind in rows]
    (folder / "test.csv").write_text("row_id,StudyInstanceUID,prediction_type\n" + "".join(lines))
    (folder / "sample_submission.csv").write_text(
        "row_id,fractured\n" + "".join(f"{uid}_{kind},0.5\n" for uid, kind in rows)
    )
    return folder
