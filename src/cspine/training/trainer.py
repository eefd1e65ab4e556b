"""The training loop, on one device or many: AMP, EMA, accumulation, and exact resumption after a kill.

Random numbers come from (seed, number of the update, rank) and samples from (seed, epoch, study), so a state
needs no generator in it: the run that was killed and the run that was not end in the same weights.
"""

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, TypeVar, cast

import pandas as pd
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from cspine import cli, storage
from cspine.errors import InputError
from cspine.networks.checkpoints import check_settings, read_description, save_weights
from cspine.networks.precision import autocast, fast_precision
from cspine.settings.layout import BEST, LEARNT_FROM, METRICS, MODEL, STATE
from cspine.settings.training import TrainSettings
from cspine.training.datasets import Batches, EpochSampler, KeyedDataset
from cspine.training.distributed import DistributedContext
from cspine.training.randomness import step_seed

Network = TypeVar("Network", bound=nn.Module)

MOST_SKIPPED = 20
"""Updates in a row without a finite gradient that end a training; half precision skips some 16 while it finds its
scale, if at all."""


@dataclass
class FoldTraining(Generic[Network]):
    """What one network of one fold is to learn, and where it is written."""

    name: str
    folder: Path
    make_model: Callable[[], Network]
    dataset: KeyedDataset
    loss: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    """(model, batch on the device) -> scalar; where many processes train, the model is wrapped"""
    evaluate: Callable[[Network], dict[str, float]]
    """EMA model -> figures on the held-out fold; `score` selects, lower is better"""
    description: dict[str, Any]
    """Stored inside the checkpoint."""
    made_by: str = "make train"
    """The target that trains it, for messages."""
    volumes: bool = False
    """Whether the network's convolutions have three dimensions."""
    place: tuple[int, int] = (1, 1)
    """Which one it is of how many that are trained, for the time left."""
    studies: dict[str, str] = field(default_factory=dict)
    """Study that it learns from -> hash of what that was made from, so that a later change is noticed."""


@dataclass
class Progress:
    """How far a run has come; stored in every state."""

    epoch: int = 0
    step: int = 0
    updates: int = 0
    loss_sum: float = 0.0
    """Sum of this epoch's losses so far, of the steps in which it is finite."""
    losses: int = 0
    """How many those are."""
    skipped: int = 0
    """Updates of this epoch that were left out, since the loss or its gradient was not finite."""
    skipped_in_a_row: int = 0
    """Up to now, whatever the epoch."""
    best: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer(Generic[Network]):
    """One network on its way from the first update to `model.safetensors`."""

    def __init__(
        self, training: FoldTraining[Network], settings: TrainSettings, seed: int, context: DistributedContext
    ):
        self.training, self.settings, self.seed, self.context = training, settings, seed, context
        self.device = context.device
        # Here, so that nothing that was or was not done before has a say in the weights.
        torch.manual_seed(seed)
        self.model = training.make_model().to(self.device)
        self.ema = ModelEmaV3(self.model, decay=settings.ema_decay, use_warmup=True)
        self.at_once, self.accumulated = settings.steps_of(context.world_size)
        self.sampler = EpochSampler(
            len(training.dataset), settings.repeats, seed, context.rank, context.world_size
        )
        pin = self.device.type == "cuda"
        self.batches = Batches(
            training.dataset, self.sampler, self.at_once, settings.workers, keep=True, pin=pin
        )
        self.steps = -(-len(self.sampler) // self.at_once)
        self.optimizer = create_optimizer_v2(
            self.model, opt="adamw", lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        total = settings.epochs * -(-self.steps // self.accumulated)
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=total,
            warmup_t=max(1, round(settings.warmup_share * total)),
            warmup_lr_init=settings.learning_rate / 50,
            lr_min=settings.learning_rate / 100,
            t_in_epochs=False,
        )
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=fast_precision(self.device) == torch.float16
        )
        self.progress = Progress()
        self._resume()
        self.trained: nn.Module = self.model
        if context.world_size > 1:
            self.trained = DistributedDataParallel(
                self.model, device_ids=[self.device.index] if self.device.type == "cuda" else None
            )

    def train(self) -> None:
        """Train to the end and leave `model.safetensors`.

        Raises
        ------
        InputError
            If `MOST_SKIPPED` updates in a row have no finite loss or gradient.
        """
        total = self.settings.epochs * self.steps
        bar = cli.progress(unit="step", total=total, what=self.training.name, here=self.context.is_main)
        bar.update(self.progress.epoch * self.steps + self.progress.step)
        while self.progress.epoch < self.settings.epochs:
            started, skip = time.perf_counter(), self.progress.step
            loss = self._epoch(bar)
            seconds = time.perf_counter() - started
            progress = self.progress
            row = {"epoch": progress.epoch + 1, "loss": loss, "skipped": progress.skipped}
            row["seconds"] = round(seconds, 2)
            progress.epoch += 1
            progress.step, progress.loss_sum, progress.losses, progress.skipped = 0, 0.0, 0, 0
            is_last = progress.epoch == self.settings.epochs
            if is_last or progress.epoch % self.settings.evaluate_every == 0:
                row |= self._evaluate()
            progress.history.append(row)
            self._write_metrics()
            self._save_state()
            if self.context.is_main and not cli.on_terminal():
                self._tell(row, (self.steps - skip) * self.at_once / seconds)
        bar.close()
        if self.context.is_main:
            os.replace(self.training.folder / BEST, self.training.folder / MODEL)
            (self.training.folder / STATE).unlink()
        self.context.barrier()

    def _epoch(self, bar: Any) -> float:
        """Train from `progress.step` to the end of the epoch; the mean loss on this process."""
        self.trained.train()
        self.sampler.epoch = self.progress.epoch
        self.sampler.skip = self.progress.step * self.at_once
        saved = time.perf_counter()
        for batch in self.batches:
            self.progress.step += 1
            is_last = self.progress.step == self.steps
            is_update = is_last or self.progress.step % self.accumulated == 0
            on_device = {name: part.to(self.device) for name, part in batch.items()}
            self._step(on_device, is_update)
            bar.update()
            due = time.perf_counter() - saved > self.settings.checkpoint_every_s
            if is_update and due and self.progress.step < self.steps:
                self._save_state()
                saved = time.perf_counter()
        return self.progress.loss_sum / self.progress.losses if self.progress.losses else math.nan

    def _step(self, batch: dict[str, Tensor], is_update: bool) -> float:
        """One batch forward and back; the optimiser moves where an accumulated step is complete (`is_update`)."""
        step = self.progress.epoch * self.steps + self.progress.step
        torch.manual_seed(step_seed(self.seed, step, self.context.rank))
        self.schedule.step_update(self.progress.updates)
        together: AbstractContextManager[None] = nullcontext()
        if isinstance(self.trained, DistributedDataParallel) and not is_update:
            together = self.trained.no_sync()
        with together:
            with autocast(self.device, volumes=self.training.volumes):
                loss = self.training.loss(self.trained, batch)
            self.scaler.scale(loss / self.accumulated).backward()
        value = loss.item()
        if math.isfinite(value):
            self.progress.loss_sum += value
            self.progress.losses += 1
        if is_update:
            self._update()
        return value

    def _update(self) -> None:
        """Move the weights, unless an accumulated loss or its gradient is not finite.

        The gradient is the same in all processes, so they need not agree on it.
        """
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.progress.updates += 1
        if norm.isfinite():
            self.scaler.step(self.optimizer)
            self.ema.update(self.model, step=self.progress.updates)
            self.progress.skipped_in_a_row = 0
        else:
            self.progress.skipped += 1
            self.progress.skipped_in_a_row += 1
            # Batch norm's figures have seen what was not finite; the average's have not.
            for seen, kept in zip(self.model.buffers(), self.ema.module.buffers(), strict=True):
                seen.copy_(kept)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.progress.skipped_in_a_row >= MOST_SKIPPED:
            raise InputError(
                f"{self.training.name}: {MOST_SKIPPED} updates in a row without a finite loss or gradient, the last "
                f"one in epoch {self.progress.epoch + 1}; lower learning_rate (now {self.settings.learning_rate:g}) or "
                f"max_grad_norm in the preset, delete {self.training.folder} and run `{self.training.made_by}` again"
            )

    def _tell(self, row: dict[str, float], per_second: float) -> None:
        """One line of an epoch, for a log."""
        number, count = self.training.place
        rate = self.optimizer.param_groups[0]["lr"]
        spent = [entry["seconds"] for entry in self.progress.history]
        each = sum(spent) / len(spent)
        left = (self.settings.epochs - self.progress.epoch) * each
        score = f", score {row['score']:.4f}" if "score" in row else ""
        skipped = f", {row['skipped']:.0f} updates skipped" if row["skipped"] else ""
        print(
            f"{self.training.name:<13} ({number} of {count}) epoch {self.progress.epoch} of {self.settings.epochs}: "
            f"loss {row['loss']:.4f}{score}, learning rate {rate:.2g}, {per_second:.1f} samples/s{skipped}, left "
            f"{cli.duration(left)}, with all {cli.duration(left + (count - number) * each * self.settings.epochs)}",
            flush=True,
        )

    def _evaluate(self) -> dict[str, float]:
        """Evaluate the averaged weights on the held-out fold and keep them if they are the best so far."""
        averaged = cast(Network, self.ema.module)  # a copy of what `make_model` gave
        self.context.broadcast_buffers(averaged)
        figures = self.training.evaluate(averaged.eval())
        better = figures["score"] < self.progress.best
        self.progress.best = figures["score"] if better else self.progress.best
        best = self.training.folder / BEST
        if self.context.is_main and (better or not best.exists()):
            save_weights(best, self.ema.module.state_dict(), self.training.description)
        return figures

    def _write_metrics(self) -> None:
        """Write the learning curve: a row an epoch, its figures empty where it was not evaluated."""
        if not self.context.is_main:
            return
        folder = self.training.folder
        storage.write_csv(folder / METRICS, pd.DataFrame(self.progress.history))
        with SummaryWriter(str(folder / "tensorboard"), purge_step=self.progress.epoch) as writer:
            for name, value in self.progress.history[-1].items():
                writer.add_scalar(name, value, self.progress.epoch)

    def _save_state(self) -> None:
        """Write all that a restart needs, atomically."""
        if not self.context.is_main:
            return
        state = {
            "progress": vars(self.progress),
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "steps": self.steps,
            "description": json.dumps(self.training.description),
        }
        temporary = self.training.folder / ".state.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.training.folder / STATE)

    def _resume(self) -> None:
        """Go on from `state.pt` if there is one."""
        path = self.training.folder / STATE
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            description = json.loads(state["description"])
        except (RuntimeError, UnpicklingError, EOFError, OSError, KeyError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0][:120]
            raise InputError(
                f"{path}: not a training state of this kit ({reason}); delete it to train this fold anew"
            ) from error
        check_settings(path, description, self.training.description, self.training.made_by)
        if state["steps"] != self.steps:
            raise InputError(
                f"{path}: saved with {state['steps']} steps an epoch, this run has {self.steps} (other studies, batch "
                "or number of GPUs); start it as before, or delete the file to train this fold anew"
            )
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def _note_changes(training: FoldTraining[Network]) -> None:
    """Remember what a fold learns from; say so if that was something else when its training began."""
    path = training.folder / LEARNT_FROM
    if not training.studies:
        return
    if not (training.folder / MODEL).is_file() and not (training.folder / STATE).is_file():
        storage.write_json(path, training.studies)
        return
    before = storage.read_json(path) if path.is_file() else training.studies
    now = training.studies
    changed = sorted(uid for uid in before.keys() & now.keys() if before[uid] != now[uid])
    kinds = {
        "new": sorted(now.keys() - before.keys()),
        "changed": changed,
        "gone": sorted(before.keys() - now.keys()),
    }
    words = [
        f"{len(uids)} {kind} ({uids[0]}{', ...' * (len(uids) > 1)})" for kind, uids in kinds.items() if uids
    ]
    if words:
        print(
            f"note: {training.name} learnt from other studies than are there now: {', '.join(words)}; it is kept, "
            f"delete {training.folder} to train it anew",
            flush=True,
        )


def train_network(
    training: FoldTraining[Network], settings: TrainSettings, seed: int, context: DistributedContext
) -> bool:
    """Train a network unless its `model.safetensors` is there already.

    Parameters
    ----------
    training : FoldTraining
        What is to be learnt, and where it is written.
    settings : TrainSettings
        How long and how fast.
    seed : int
        From which everything in this training follows.
    context : DistributedContext
        This process among all that train together.

    Returns
    -------
    bool
        True if there was something to do.

    Raises
    ------
    InputError
        If a checkpoint or a state comes from other settings or is broken, or if the loss stays non-finite.
    """
    finished, made_by = training.folder / MODEL, training.made_by
    if context.is_main:
        _note_changes(training)
    if finished.is_file():
        check_settings(finished, read_description(finished, made_by), training.description, made_by)
        if context.is_main:  # a kill may have come between the two last steps
            (training.folder / STATE).unlink(missing_ok=True)
        return False
    if context.is_main:
        training.folder.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in training.folder.glob(".*.tmp"):
            left_by_a_kill.unlink()
    context.barrier()
    Trainer(training, settings, seed, context).train()
    return True
