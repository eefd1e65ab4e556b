"""What is each part of the recipe worth? Trainings on a replica, each with one part taken away or put in.

The plan, fixed before anything is trained: every arm is trained on the same studies, folds and seeds for the same
number of samples, and judged out of fold by the competition's metric after the kit's own calibration. An arm's
difference to the recipe is the mean over its seeds; the studies are drawn again 1,000 times, paired, and Holm's method
keeps the whole table at 5 %. Above 0 the arm is worse than what it is compared to. A difference inside of its interval
is no gain.
"""

import os
import re
import shlex
import sys
import time
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
from markdown_table import markdown  # noqa: E402
from recipe_arms import ARMS, BASE, FRACTURE_MAP, recipe  # noqa: E402
from recipe_map import pointing  # noqa: E402
from recipe_peers import MADE_BY  # noqa: E402

from cspine import cli, storage  # noqa: E402
from cspine.competition.labels import LEVELS, PREDICTION_TYPES  # noqa: E402
from cspine.competition.scoring import training_constants  # noqa: E402
from cspine.competition.tables import read_boxes, read_train  # noqa: E402
from cspine.evaluation.intervals import Resampled, draw_studies, estimate, resample  # noqa: E402
from cspine.evaluation.ladder import climb, random_groups  # noqa: E402
from cspine.execution.store import StudyStore  # noqa: E402
from cspine.networks.checkpoints import load_weights, save_weights  # noqa: E402
from cspine.networks.classifier import SliceNet  # noqa: E402
from cspine.networks.fold_models import describe_fold, load_classifier  # noqa: E402
from cspine.networks.precision import best_device  # noqa: E402
from cspine.preprocessing.column import Column, Extent  # noqa: E402
from cspine.preprocessing.columns import ColumnsStage, cut_columns  # noqa: E402
from cspine.preprocessing.prepare import prepare  # noqa: E402
from cspine.preprocessing.verdict import WHOLE  # noqa: E402
from cspine.settings.execution import ExecutionSettings, available_cpus  # noqa: E402
from cspine.settings.layout import (  # noqa: E402
    CLASSIFIER,
    ENCODER,
    SLICE_LOGITS,
    RunLayout,
    column_settings,
    label_settings,
    volume_settings,
)
from cspine.settings.presets import Preset  # noqa: E402
from cspine.settings.strict import STRICT  # noqa: E402
from cspine.training.classifier_stage import ClassifierStage, labels_of  # noqa: E402
from cspine.training.classify import predict, train_fold  # noqa: E402
from cspine.training.datasets import ColumnDataset  # noqa: E402
from cspine.training.distributed import DistributedContext  # noqa: E402
from replica.settings import ReplicaSettings  # noqa: E402
from replica.writer.folder import replicate  # noqa: E402

FOLDS = 2
CANNOT = (
    "which encoder is best, what weights from ImageNet are worth, and which resolution real hairlines need: the "
    "pictures are synthetic and small, and an encoder of 0.4 million parameters sees them."
)


@checked(frozen=True, config=STRICT)
class Flags:
    """Flags of bench_recipe.py."""

    out: Path = ROOT / "benchmarks" / "results" / "recipe.md"
    """The table is written here."""
    work: Path = ROOT / "data" / "bench-recipe"
    """Replica, columns and trainings stay in here: a run that was stopped goes on."""
    studies: Annotated[int, Field(ge=8)] = 720
    """Of the replica."""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Of each arm."""
    samples: Annotated[int, Field(ge=8)] = 24000
    """Vertebrae that an encoder is shown."""
    study_samples: Annotated[int, Field(ge=8)] = 720
    """Studies that a classifier is shown."""
    arms: tuple[str, ...] = ()
    """Some of the arms by name; by default all."""
    workers: Annotated[int, Field(ge=1)] = available_cpus()
    """Processes that write and read the replica."""


@dataclass(frozen=True)
class Data:
    """The replica as the arms share it."""

    raw: Path
    columns: StudyStore
    truth: dict[str, np.ndarray]
    folds: dict[str, int]
    constants: np.ndarray


def write_data(flags: Flags) -> Data:
    """Write the replica and cut its columns with the true label maps; what is there is not done again."""
    out, preset = flags.work / f"replica{flags.studies}", recipe()
    replicate(
        ReplicaSettings(
            out=out, train=flags.studies, public=0, private=0, size=0.3125, mask_share=1.0, box_share=0.25,
            severity=(1.2, 2.0), seed=720, workers=flags.workers,
        )
    )  # fmt: skip
    raw, execution = out / "competition", ExecutionSettings(workers=flags.workers)
    cache = flags.work / f"cache{flags.studies}"
    volumes = StudyStore(cache / "volumes", volume_settings(preset))
    prepare(raw, volumes, preset.locator.spacing_mm, execution)
    labels = StudyStore(cache / "labels", {**label_settings(preset), "by": "the replica's truth"})
    for uid in volumes.uids():
        if not labels.has(uid):
            arrays, meta = volumes.read(uid)
            labels.write(
                uid,
                {"labels": np.array(arrays["labels"])},
                {"affine": meta["affine"], "verdict": WHOLE.as_json()},
            )
    columns = StudyStore(cache / "columns", column_settings(preset))
    train = read_train(raw)
    cut_columns(ColumnsStage(raw, labels, columns, preset.column), train, read_boxes(raw), execution)
    order = np.random.default_rng(0).permutation(sorted(columns.uids()))
    folds = {str(uid): number % FOLDS for number, uid in enumerate(order)}
    return Data(raw, columns, labels_of(train, columns, folds), folds, training_constants(train))


def sized(preset: Preset, data: Data, flags: Flags, share: float = 1.0) -> Preset:
    """The preset with as many epochs as show so many samples, or a share of them."""
    learnt = [uid for uid in data.truth if data.folds[uid] != 0]
    broken = sum(
        int(level)
        for uid in learnt
        for level in data.truth[uid][: len(LEVELS)]
        * (1 if preset.dense_targets else _boxed(data.columns, uid))
    )
    epochs = max(round(share * flags.samples / (broken * (1 + preset.whole_each))), 1)
    rounds = max(round(share * flags.study_samples / len(learnt)), 1)
    encoder = preset.encoder_training
    return replace(
        preset,
        encoder_training=None if encoder is None else replace(encoder, epochs=epochs, evaluate_every=epochs),
        classifier_training=replace(preset.classifier_training, epochs=rounds, evaluate_every=rounds),
    )


def _boxed(columns: StudyStore, uid: str) -> np.ndarray:
    """Which levels of a study have boxes: float64 (7,)."""
    levels = columns.read(uid)[0]["boxes"][:, 0].astype(int)
    return np.isin(np.arange(1, len(LEVELS) + 1), levels).astype(float)


class Misplaced(ColumnDataset):
    """Held-out studies whose levels were found beside of where they are."""

    def __init__(self, studies: ColumnDataset, sd_mm: float):
        super().__init__(studies.store, dict(zip(studies.uids, studies.truth, strict=True)), studies.preset)
        self.sd_mm = sd_mm

    def column(self, number: int) -> Column:
        """The column with every level's extent moved, the same way each time."""
        found = super().column(number)
        moved = np.random.default_rng([720, number]).normal(0, self.sd_mm, (len(LEVELS), 3))
        extents = tuple(
            Extent(one.top_mm + z, one.bottom_mm + z, one.centre_y_mm + y, one.centre_x_mm + x)
            for one, (z, y, x) in zip(found.extents, moved.tolist(), strict=True)
        )
        return replace(found, extents=extents)


def run_of(name: str, seed: int, flags: Flags) -> Path:
    """The folder of an arm's training with a seed."""
    return flags.work / f"runs{flags.studies}" / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{seed}"


def take_encoder(stage: ClassifierStage, fold: int, run: Path) -> None:
    """Give a fold the encoder of another run, if that is trained, which is what its own would become."""
    other, own = (RunLayout(one).model(ENCODER, fold) for one in (run, Path(stage.run)))
    if other.is_file() and not own.is_file():
        model = SliceNet(stage.preset.classifier, stage.preset.stacks.channels)
        load_weights(other, model, MADE_BY)
        own.parent.mkdir(parents=True)
        save_weights(own, model.state_dict(), describe_fold(ENCODER, fold, stage.preset, stage.folds))


def what_the_map_points_at(flags: Flags) -> str:
    """A sentence on the fracture map, from every training of it."""
    told = [pointing(run_of(FRACTURE_MAP, seed, flags)) for seed in range(flags.seeds)]
    mean = {name: float(np.mean([one[name] for one in told])) for name in told[0]}
    return (
        f"The fracture map's largest value lies inside the box in {mean['hits']:.0%} of the held-out slices with one "
        f"({mean['slices']:.0f} a fold; a random pixel of the vertebra: {mean['by_chance']:.0%}). AUC of slices with "
        f"a box against those of whole vertebrae: {mean['auc_map']:.3f} as the map tells them, "
        f"{mean['auc_head']:.3f} as the encoder's own logit does."
    )


def out_of_fold(name: str, seed: int, data: Data, flags: Flags) -> np.ndarray:
    """Train an arm with a seed on every fold, unless that is done; its held-out logits, float64 (studies, 8)."""
    arm, trained = ARMS[name], ARMS[name].of or name
    preset = replace(sized(ARMS[trained].change(recipe()), data, flags, ARMS[trained].share), seed=seed)
    run = run_of(trained, seed, flags)
    stage = ClassifierStage(
        run, data.columns, data.truth, data.folds, preset, DistributedContext(0, 1, best_device())
    )
    parts = []
    for fold in range(FOLDS):
        held_out, layout = stage.dataset(fold, held_out=True), RunLayout(run)
        if arm.encoder_of:
            take_encoder(stage, fold, run_of(arm.encoder_of, seed, flags))
        if arm.peer is not None:
            logits, slices = arm.peer(stage, fold), np.zeros(0)
        else:
            train_fold(stage, fold)
            logits = pd.read_csv(layout.logits(fold))[list(PREDICTION_TYPES)].to_numpy(np.float64)
            slices = np.load(layout.fold(CLASSIFIER, fold) / SLICE_LOGITS, allow_pickle=False)
        if arm.moved_mm:
            model = load_classifier(layout.model(CLASSIFIER, fold), stage.context.device)
            logits, slices = predict(model, Misplaced(held_out, arm.moved_mm), stage)
        parts.append(pd.DataFrame(arm.read(logits, slices), held_out.uids))
    found = pd.concat(parts).loc[list(data.truth)].to_numpy()
    return (found + out_of_fold(arm.with_arm, seed, data, flags)) / 2 if arm.with_arm else found


def main(flags: Flags) -> None:
    """Train, judge, write and print."""
    unknown = set(flags.arms) - set(ARMS)
    if unknown:
        raise SystemExit(f"--arms {sorted(unknown)}: expected some of {list(ARMS)}")
    data = write_data(flags)
    truth = np.stack(list(data.truth.values()))
    draws, groups = draw_studies(len(truth)), random_groups(list(data.truth))
    found: dict[str, list[Resampled]] = {}
    minutes = {}
    for name in flags.arms or ARMS:
        started = time.perf_counter()
        logits = [out_of_fold(name, seed, data, flags) for seed in range(flags.seeds)]
        minutes[name] = (time.perf_counter() - started) / 60
        values = [climb(one, truth, groups, data.constants).values for one in logits]
        found[name] = [resample(truth, one, draws) for one in values]
        print(
            f"{name}: {[round(float(one.values[0]), 4) for one in found[name]]}, {minutes[name]:.1f} min",
            flush=True,
        )
    constants = resample(truth, np.tile(data.constants, (len(truth), 1)), draws)
    rows = [
        row_of(name, scores, found.get(ARMS[name].beside, scores), minutes[name])
        for name, scores in found.items()
    ]
    holm(rows)
    report = "\n".join(
        [
            "# What is each part of the recipe worth?",
            "",
            "```sh",
            shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
            "```",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores, {best_device().type}.",
            "",
            *(__doc__ or "").split("\n\n", 1)[1].strip().splitlines(),
            "",
            f"{len(truth)} studies, boxes on a quarter of the positive ones, severity 1.2 to 2, columns cut with the "
            f"true label maps; {FOLDS} folds, {flags.seeds} seeds; {flags.samples} vertebrae and "
            f"{flags.study_samples} studies a training. Constants score {constants.values[0]:.4f}. "
            "Minutes are this call's; an arm that an earlier call had trained is 'done before'.",
            "",
            markdown(pd.DataFrame(rows).drop(columns="p").set_index("arm"), "arm"),
            "",
            *([what_the_map_points_at(flags), ""] if FRACTURE_MAP in found else []),
            f"What a replica can't tell: {CANNOT}",
            "",
        ]
    )
    storage.write_text(flags.out, report)
    print(report)


def row_of(name: str, scores: list[Resampled], base: list[Resampled], took: float) -> dict[str, object]:
    """An arm's score and its difference to the arm that it is compared to."""
    score = np.mean([one.values[0] for one in scores])
    change = np.mean([one.values[0] - other.values[0] for one, other in zip(scores, base, strict=True)])
    drawn = np.mean(
        [one.draws[:, 0] - other.draws[:, 0] for one, other in zip(scores, base, strict=True)], axis=0
    )
    interval = estimate(change, drawn)
    # two-sided: how often a draw falls on the other side of 0, counting the sample itself
    p = min(2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (len(drawn) + 1), 1.0)
    return {
        "arm": name,
        "score": f"{score:.4f}",
        "by seed": ", ".join(f"{one.values[0]:.4f}" for one in scores),
        "compared to": "" if name == BASE else ARMS[name].beside,
        "difference": "" if name == BASE else f"{change:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})",
        "p": np.nan if name == BASE else p,
        "minutes": f"{took:.1f}" if took > 1 else "done before",
    }


def holm(rows: list[dict[str, object]]) -> None:
    """Say of each row whether it differs, all together at 5 %."""
    order = sorted((row for row in rows if row["arm"] != BASE), key=lambda row: float(str(row["p"])))
    least = 0.0
    for rank, row in enumerate(order):
        least = max(least, min(float(str(row["p"])) * (len(order) - rank), 1.0))
        row["Holm's p"] = f"{least:.3f}"
        worse = str(row["difference"]).startswith("+")
        row["says"] = ("worse" if worse else "BETTER") if least <= 0.05 else "no difference"
    for row in rows:
        row.setdefault("Holm's p", "")
        row.setdefault("says", "")


if __name__ == "__main__":
    cli.run(main, Flags)
