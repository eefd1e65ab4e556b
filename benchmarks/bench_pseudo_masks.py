"""Does the locator gain from its own label maps of scans that have no mask, as the 6th place reported?

The plan, fixed before anything is trained: the kit's locator learns on a few masks of a replica of wide coverage, as a
fold does. From there it learns once more, as many updates again: on the same masks, or on these and on its own sure
label maps of many other scans. Both are judged on scans that neither saw, paired by scan; the scans are drawn again
1,000 times, and the differences are means over the seeds. It is a gain if the interval of Dice, or of the share of
levels right, excludes 0 and the other doesn't fall.
"""

import os
import shlex
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from bench_scans import cpu  # noqa: E402
from locator_cases import Case, replica_cases, write_replica  # noqa: E402
from markdown_table import markdown  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.evaluation.intervals import draw_studies, estimate  # noqa: E402
from cspine.execution.store import StudyStore  # noqa: E402
from cspine.networks.checkpoints import load_weights  # noqa: E402
from cspine.networks.locator import Locator  # noqa: E402
from cspine.networks.precision import best_device  # noqa: E402
from cspine.networks.pretrained import load_pretrained, start_locator  # noqa: E402
from cspine.networks.search import locate  # noqa: E402
from cspine.preprocessing.verdict import Kind  # noqa: E402
from cspine.settings.execution import available_cpus  # noqa: E402
from cspine.settings.layout import MODEL  # noqa: E402
from cspine.settings.presets import PRESETS, Preset  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402
from cspine.training.datasets import LocatorDataset  # noqa: E402
from cspine.training.distributed import DistributedContext  # noqa: E402
from cspine.training.locate import voxel_loss  # noqa: E402
from cspine.training.trainer import FoldTraining, train_network  # noqa: E402

SEED = 77
"""Of the replica; neither that of the kit's own weights nor one that they were judged on."""
MADE_BY = "make bench-pseudo-masks"


@checked(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_pseudo_masks.py."""

    out: Path = ROOT / "benchmarks" / "results" / "pseudo-masks.md"
    """The table is written here."""
    work: Path = ROOT / "data" / "bench-pseudo-masks"
    """Replica and trainings stay in here: a run that was stopped goes on."""
    masks: Annotated[int, Field(ge=2)] = 12
    """Scans whose masks are learnt from."""
    unmasked: Annotated[int, Field(ge=1)] = 200
    """Scans that the locator labels for itself."""
    judged: Annotated[int, Field(ge=2)] = 100
    """Scans that are judged on."""
    updates: Annotated[int, Field(ge=2)] = 150
    """Of two windows, before and after."""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Of each training."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that write and read the replica."""


@dataclass(frozen=True)
class Learner:
    """What all trainings of a seed share."""

    folder: Path
    preset: Preset
    updates: int
    context: DistributedContext

    def learn(self, name: str, store: StudyStore, uids: list[str], start: Locator | None = None) -> Locator:
        """Train on the label maps of a store, from the kit's weights or from where another training ended."""
        epochs = max(round(2 * self.updates / len(uids)), 1)
        training = replace(
            self.preset.locator_training, batch_size=2, repeats=1, epochs=epochs, evaluate_every=epochs
        )

        def make() -> Locator:
            model = start_locator(self.preset.locator)
            if start is not None:
                model.load_state_dict(start.state_dict())
            return model

        train_network(
            FoldTraining(
                name=name, folder=self.folder / name, make_model=make, loss=voxel_loss,
                dataset=LocatorDataset(store, uids, self.preset), evaluate=lambda model: {"score": 0.0},
                description={"kind": name, "seed": self.preset.seed}, made_by=MADE_BY, volumes=True,
            ),
            training, self.preset.seed, self.context,
        )  # fmt: skip
        model = make()
        load_weights(self.folder / name / MODEL, model, MADE_BY)
        return model.to(self.context.device).eval()


def with_own_maps(
    first: Locator, store: StudyStore, masked: list[str], others: list[str], folder: Path
) -> tuple[StudyStore, list[str]]:
    """A store of the masks and of the sure label maps of others; and which studies are in it."""
    own, device = StudyStore(folder, {"made": "by the first training"}), next(first.parameters()).device
    for uid in masked:
        arrays, meta = store.read(uid, mmap=False)
        own.write(uid, arrays, meta)
    for uid in cli.progress(others, unit="study", what="own label maps"):
        arrays, meta = store.read(uid, mmap=False)
        found = locate([first], arrays["volume"], device)
        if found.verdict.kind is Kind.SURE:
            own.write(uid, {"volume": arrays["volume"], "labels": found.labels}, meta)
    return own, own.uids()


def figures(cases: list[Case]) -> np.ndarray:
    """Of each scan Dice, levels right and levels asked: float64 (scans, 3)."""
    return np.array([[case.dice, case.right, case.asked] for case in cases], dtype=np.float64)


def means(found: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Dice and share of levels right of draws that hold each scan so many times: float64 (draws, 2)."""
    known = np.isfinite(found[:, 0])  # the scan shows a level
    of_dice = draws[:, known] @ found[known, 0] / draws[:, known].sum(axis=1)
    return np.column_stack([of_dice, draws @ found[:, 1] / (draws @ found[:, 2])])


def main(flags: Flags) -> None:
    """Train, judge, write and print."""
    device = best_device()
    spacing_mm = load_pretrained(device).settings.spacing_mm
    replica, store = write_replica(
        flags.work, flags.masks + flags.unmasked + flags.judged, SEED, flags.workers, spacing_mm
    )
    uids = [str(uid) for uid in np.random.default_rng(SEED).permutation(store.uids())]
    masked = [uid for uid in uids if store.holds(uid, "labels")][: flags.masks]
    rest = [uid for uid in uids if uid not in masked]
    judged, others = rest[: flags.judged], rest[flags.judged :]
    arms: dict[str, list[np.ndarray]] = {
        "masks": [],
        "masks, then masks": [],
        "masks, then own label maps": [],
    }
    sure = []
    for seed in range(flags.seeds):
        learner = Learner(
            flags.work / f"seed{seed}", replace(PRESETS["demo"], seed=seed), flags.updates,
            DistributedContext(0, 1, device),
        )  # fmt: skip
        first = learner.learn("masks", store, masked)
        own, shown = with_own_maps(first, store, masked, others, learner.folder / "own")
        sure.append(len(shown) - len(masked))
        trained = {
            "masks": first,
            "masks, then masks": learner.learn("again", store, masked, first),
            "masks, then own label maps": learner.learn("own-maps", own, shown, first),
        }
        for name, model in trained.items():
            arms[name].append(figures(list(replica_cases(replica, store, [model], device, uids=judged))))
    table = rows_of(arms)
    report = "\n".join(
        [
            "# Does the locator gain from its own label maps?",
            "",
            "```sh",
            shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
            "```",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores, {device.type}.",
            "",
            *(__doc__ or "").split("\n\n", 1)[1].strip().splitlines(),
            "",
            f"{len(masked)} masks, {len(others)} scans without, of which the locator was sure of "
            f"{' and '.join(map(str, sure))}; judged on {len(judged)}; {flags.updates} updates of two windows before "
            f"and after; {flags.seeds} seeds. Differences are to as many more updates on the masks alone.",
            "",
            markdown(table, "learnt from"),
            "",
            "What a replica can't tell: the kit's weights learnt on replicas, so that to them these scans are nothing "
            "new; real ones are.",
            "",
        ]
    )
    storage.write_text(flags.out, report)
    print(report)


def rows_of(arms: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """A row an arm: Dice, levels right, and what both differ by from the masks alone, as long."""
    base = arms["masks, then masks"]
    whole = np.ones((1, len(base[0])))
    draws = draw_studies(len(base[0]))
    rows = {}
    for name, found in arms.items():
        value = np.mean([means(one, whole)[0] for one in found], axis=0)
        row = {"Dice": f"{value[0]:.3f}", "levels right": f"{value[1]:.1%}"}
        for number, what in enumerate(("Dice", "levels right")):
            pairs = list(zip(found, base, strict=True))
            change, drawn = (
                np.mean([means(one, which) - means(other, which) for one, other in pairs], axis=0)[:, number]
                for which in (whole, draws)
            )
            interval = estimate(change[0], drawn)
            words = f"{change[0]:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
            row[f"difference in {what}"] = "" if found is base else words
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


if __name__ == "__main__":
    cli.run(main, Flags)
