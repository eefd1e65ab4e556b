"""What the locator owes to each of its parts: the same short training with one of them taken away, several seeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from locator_cases import Case, replica_cases, scan_rows, write_replica
from torch import Tensor

from cspine import storage
from cspine.errors import InputError
from cspine.evaluation.intervals import draw_studies, estimate
from cspine.execution.store import StudyStore
from cspine.networks.checkpoints import load_weights
from cspine.networks.locator import Locator
from cspine.networks.search import STEP_VOX, Located, Search, locate
from cspine.preprocessing.verdict import Kind
from cspine.settings.layout import METRICS, MODEL
from cspine.settings.networks import LocatorSettings
from cspine.settings.presets import PRETRAINING, Preset
from cspine.training.datasets import LocatorDataset
from cspine.training.distributed import init_distributed
from cspine.training.locate import voxel_loss
from cspine.training.trainer import FoldTraining, train_network

BASE = "as it is"
LEARN_SEED, JUDGE_SEED = 12, 4243
"""Of the replicas that are learnt from and judged on; neither is that of the kit's own weights."""


@dataclass(frozen=True)
class Wanted:
    """How much is trained and judged."""

    work: Path
    """A folder that stays: a run that was stopped goes on in it."""
    seeds: int
    updates: int
    """Of each training."""
    spacing_mm: float
    """Voxel size of every arm that doesn't name its own."""
    studies: int
    """That are learnt from."""
    judged: int
    """That are judged on."""
    scans: Path | None
    """Real scans with landmarks."""
    workers: int
    arms: tuple[str, ...]
    """Some of them by name; none for all."""

    @property
    def done(self) -> Path:
        """Where trainings and judgements of this kind are kept."""
        return (
            self.work / f"{self.spacing_mm:g}mm-{self.updates}-updates-{self.studies}-{self.judged}-studies"
        )


class PlaceLocator(Locator):
    """A locator that is told where in its window each voxel lies (CoordConv), as the kit's once was."""

    def __init__(self, settings: LocatorSettings):
        super().__init__(settings)
        first = self.down[0][0]
        self.down[0][0] = torch.nn.Conv3d(4, first.out_channels, 3, first.stride, 1, bias=False)
        self.down[0].register_forward_pre_hook(self._with_place)

    def _with_place(self, block: torch.nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (volume,) = inputs
        steps = [torch.arange(n, device=volume.device) - (n - 1) / 2 for n in volume.shape[2:]]
        place = torch.stack(torch.meshgrid(*steps, indexing="ij")) * (self.settings.spacing_mm / 100)
        return torch.cat([volume, place.to(volume.dtype).expand(len(volume), -1, -1, -1, -1)], dim=1)


@dataclass(frozen=True)
class Arm:
    """One way to train or to search."""

    preset: Preset
    network: Callable[[LocatorSettings], Locator] = Locator
    searched: bool = True


WINDOWS_VOX = {2.0: (108, 84, 84), 3.0: (72, 56, 56), 4.0: (54, 42, 42)}
"""At each voxel size: the same window in mm."""


def arms(updates: int, studies: int, spacing_mm: float) -> dict[str, Arm]:
    """Every arm; the first is what the kit does, for fewer updates and at a voxel size of its own."""
    training = replace(PRETRAINING.locator_training, epochs=max(round(2 * updates / studies), 1))
    shorter = replace(PRETRAINING, locator_training=replace(training, evaluate_every=training.epochs))
    augment = shorter.locator_augment

    def at(size_mm: float) -> Preset:
        locator = replace(shorter.locator, spacing_mm=size_mm, window_vox=WINDOWS_VOX[size_mm])
        return replace(shorter, locator=locator)

    base = at(spacing_mm)
    others = {f"{size_mm:g} mm": Arm(at(size_mm)) for size_mm in WINDOWS_VOX if size_mm != spacing_mm}
    plain = replace(augment, contrast=0.1, gamma=0.0, blur=0.0, noise_hu=20.0, metal=0.0, bend_mm=0.0)
    return {
        BASE: Arm(base),
        "place channels": Arm(base, PlaceLocator),
        "no random contrast, grain, blur, metal, bend": Arm(replace(base, locator_augment=plain)),
        "no cuts, no small fields": Arm(replace(base, locator_augment=replace(augment, cut=0.0, field=0.0))),
        **others,
        "no window search": Arm(base, searched=False),
    }


def ablation(wanted: Wanted) -> pd.DataFrame:
    """Train every arm with every seed and judge it; a row an arm. What is finished is not done again."""
    known = arms(wanted.updates, wanted.studies, wanted.spacing_mm)
    unknown = set(wanted.arms) - set(known)
    if unknown:
        raise InputError(f"--arms {sorted(unknown)}: expected some of {list(known)}")
    names = [name for name in known if name == BASE or name in (wanted.arms or known)]
    found = {
        name: [judged_arm(wanted, name, known[name], seed) for seed in range(wanted.seeds)] for name in names
    }
    return pd.DataFrame([row_of(name, found[name], found[BASE]) for name in names]).set_index("arm")


@dataclass(frozen=True)
class Judged:
    """What a training was found to be worth on the studies that it is judged on."""

    figures: np.ndarray
    """Of each study Dice (NaN without a level in view), levels right, levels asked, invented, and whether a wrong map
    is called sure: float64 (studies, 5)."""
    minutes: float
    """Of its training: as many epochs as it had, each as long as the median one, so that a pause doesn't count."""
    landmarks: dict[str, str]
    """Of each real scan, how many are right."""


def judged_arm(wanted: Wanted, name: str, arm: Arm, seed: int) -> Judged:
    """Train and judge an arm with a seed, unless that is done."""
    kept = wanted.done / "judged" / f"{slug(name)}-{seed}.json"
    trained = name if arm.searched else BASE  # another search needs no training of its own
    run = wanted.done / "runs" / f"{slug(trained)}-{seed}"
    if not kept.is_file():
        device, spacing_mm = torch.device("cpu"), arm.preset.locator.spacing_mm
        _, store = write_replica(wanted.work, wanted.studies, LEARN_SEED, wanted.workers, spacing_mm)
        asked, judge = write_replica(wanted.work, wanted.judged, JUDGE_SEED, wanted.workers, spacing_mm)
        locator = train_arm(run, trained, arm, store, seed)
        find = locate if arm.searched else look_once
        cases = list(replica_cases(asked, judge, [locator], device, find))
        marks = {}
        if wanted.scans:
            marks = scan_rows(wanted.scans, [locator], device, find)["landmarks right"].to_dict()
        kept.parent.mkdir(parents=True, exist_ok=True)
        storage.write_json(kept, {"figures": [figures_of(case) for case in cases], "landmarks": marks})
    told, seconds = storage.read_json(kept), pd.read_csv(run / METRICS)["seconds"]
    minutes = len(seconds) * float(seconds.median()) / 60
    return Judged(np.array(told["figures"], dtype=np.float64), minutes, told["landmarks"])


def figures_of(case: Case) -> list[float | None]:
    """A row of a `Judged`."""
    sure_though_wrong = case.kind is Kind.SURE and not case.good
    dice = case.dice if np.isfinite(case.dice) else None
    return [dice, case.right, case.asked, case.invented, float(sure_though_wrong)]


def slug(name: str) -> str:
    """An arm's name as one of a file."""
    return name.replace(" ", "-").replace(",", "")


def row_of(name: str, found: list[Judged], base: list[Judged]) -> dict[str, object]:
    """Figures of one arm, a training a seed, and its difference to what the kit does over the same studies."""
    studies = len(base[0].figures)
    draws, whole = draw_studies(studies), np.ones((1, studies))

    def right(one: Judged, counts: np.ndarray) -> np.ndarray:
        return 100 * (counts @ one.figures[:, 1]) / (counts @ one.figures[:, 2])

    each = [right(one, whole)[0] for one in found]
    change, drawn = (
        np.mean(
            [right(one, counts) - right(other, counts) for one, other in zip(found, base, strict=True)],
            axis=0,
        )
        for counts in (whole, draws)
    )
    interval, minutes = estimate(change[0], drawn), np.mean([one.minutes for one in found])
    words = f"{change[0]:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"
    return {
        "arm": name,
        "levels right, %": f"{np.mean(each):.1f}",
        "by seed": ", ".join(f"{one:.1f}" for one in each),
        "difference, points": "" if name == BASE else words,
        "Dice": f"{np.mean([np.nanmean(one.figures[:, 0]) for one in found]):.3f}",
        "invented": ", ".join(f"{one.figures[:, 3].sum():.0f}" for one in found),
        "sure though wrong": ", ".join(f"{one.figures[:, 4].sum():.0f}" for one in found),
        "training, min": f"{minutes:.1f}",
        **{
            f"{scan}, landmarks": ", ".join(one.landmarks[scan] for one in found)
            for scan in found[0].landmarks
        },
    }


def train_arm(run: Path, name: str, arm: Arm, store: StudyStore, seed: int) -> Locator:
    """Train one arm with one seed, unless that was done."""
    preset = replace(arm.preset, seed=seed)
    uids = [uid for uid in store.uids() if store.holds(uid, "labels")]
    trained: dict[str, Locator] = {}

    def keep(model: Locator) -> dict[str, float]:
        trained["model"] = model
        return {"score": 0.0}

    with init_distributed() as context:
        training = FoldTraining(
            name=f"{name} {seed}", folder=run, make_model=lambda: arm.network(preset.locator),
            dataset=LocatorDataset(store, uids, preset), loss=voxel_loss, evaluate=keep,
            description={"arm": name, "seed": seed, "epochs": preset.locator_training.epochs, "studies": uids},
            made_by="make bench-locator", volumes=True,
        )  # fmt: skip
        train_network(training, preset.locator_training, seed, context)
    if "model" not in trained:
        model = arm.network(preset.locator)
        load_weights(run / MODEL, model, "make bench-locator")
        trained["model"] = model
    return trained["model"].eval()


@torch.inference_mode()
def look_once(locators: list[Locator], hu: np.ndarray, device: torch.device) -> Located:
    """Label a scan in one go, as large as it is."""
    search = Search(locators, hu, device, tuple(-(-n // STEP_VOX) * STEP_VOX for n in hu.shape))
    search.look_everywhere()
    return search.outcome()
