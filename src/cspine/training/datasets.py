"""Training samples from the cache. A sample is drawn from (seed, epoch, repeat, study) and nothing else."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.execution.store import StudyStore
from cspine.preprocessing.boxes import LEVEL
from cspine.preprocessing.column import Column
from cspine.preprocessing.stacks import Jitter, slice_targets, study_stacks, vertebra_stack
from cspine.settings.presets import Preset
from cspine.training.augmentation import StackAugmentation, random_jitter
from cspine.training.randomness import Stream, generator
from cspine.training.volumes import LabelledVolume, vary_volume

Key = tuple[int, int, int]
"""(epoch, repeat, number of the study); epoch -1 asks for the sample without variation."""

SHARED_MEMORY = Path("/dev/shm")
OUT_OF_SHARED_MEMORY = (
    "Bus error",
    "shared memory",
    "No space left",
    "exited unexpectedly",
    "signal: Killed",
)
"""What PyTorch says of a worker that found no room for its batch."""


def start_worker(_: int) -> None:
    """Do what a DataLoader's worker process does first: one thread for cv2, torch sees to its own.

    Parameters
    ----------
    _ : int
        The worker's number, which does not count here.
    """
    cv2.setNumThreads(1)


class Batches:
    """A DataLoader whose trouble is told in a sentence.

    dataset: of samples. sampler: their keys. batch_size: how many at once. workers: processes that make them, 0 for
    none. keep: whether these live on from one pass to the next. pin: whether the batches lie in pinned memory.
    Going through it raises InputError for samples that can't be read, and for a worker that dies.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: "Sampler[Key] | list[Key]",
        batch_size: int,
        workers: int,
        keep: bool = False,
        pin: bool = False,
    ) -> None:
        self._loader = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            worker_init_fn=start_worker,
            persistent_workers=keep and workers > 0,
            pin_memory=pin,
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        try:
            yield from self._loader
        except InputError as error:  # a worker's comes with its traceback as text
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error
        except RuntimeError as error:
            words = str(error)
            if "DataLoader worker" not in words or not any(sign in words for sign in OUT_OF_SHARED_MEMORY):
                raise
            free_mb = shutil.disk_usage(SHARED_MEMORY).free / 1e6 if SHARED_MEMORY.is_dir() else 0
            raise InputError(
                f"{SHARED_MEMORY}: a process that makes batches died, since there is not enough shared or other "
                f"memory ({free_mb:.0f} MB free there); run again with --loader-workers 0 (slower) or 1, or give the "
                "container more (docker run --shm-size=8g); what was trained stays"
            ) from error


class EpochSampler(Sampler[Key]):
    """One rank's share of an epoch, in an order that seed and epoch determine.

    Every rank gets the same number of samples (the first ones are shown again where it does not come out
    even), and `skip` samples are left out at the start when an epoch is resumed.
    """

    def __init__(self, studies: int, repeats: int, seed: int, rank: int = 0, world_size: int = 1):
        self.studies, self.repeats, self.seed = studies, repeats, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        return -(-self.studies * self.repeats // self.world_size)

    def __iter__(self) -> Iterator[Key]:
        order = generator(self.seed, Stream.ORDER, self.epoch).permutation(self.studies * self.repeats)
        order = np.resize(order, len(self) * self.world_size)[self.rank :: self.world_size]
        for sample in order[self.skip :]:
            yield self.epoch, int(sample) // self.studies, int(sample) % self.studies


class KeyedDataset(Dataset[dict[str, Tensor]], ABC):
    """Samples that are asked for by `Key`, of a known number of studies or vertebrae."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of studies or vertebrae."""

    @abstractmethod
    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """Tensors of one sample."""


class ColumnDataset(KeyedDataset):
    """Vertebra stacks of cached columns with their labels."""

    def __init__(self, store: StudyStore, truth: dict[str, np.ndarray], preset: Preset):
        """Take over the studies.

        Parameters
        ----------
        store : StudyStore
            The columns.
        truth : dict of str to ndarray
            Study -> float labels of shape (8,); the dataset holds these studies in this order.
        preset : Preset
            How samples are cut and varied.
        """
        self.store, self.preset = store, preset
        self.uids = list(truth)
        self.truth = [torch.as_tensor(labels, dtype=torch.float32) for labels in truth.values()]
        self.augmentation = StackAugmentation(preset.augment)

    def __len__(self) -> int:
        return len(self.uids)

    def column(self, number: int) -> Column:
        """Read the cached column of one study.

        Parameters
        ----------
        number : int
            The study's number in the dataset.

        Returns
        -------
        Column
            Its arrays are mapped from disk.
        """
        return Column.load(*self.store.read(self.uids[number]))

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """Make one sample.

        Parameters
        ----------
        key : Key
            Epoch, repeat and number of the study.

        Returns
        -------
        dict of str to Tensor
            `images` uint8 (7, slices, y, x, neighbours), `masks` uint8 (7, slices, y, x), `truth` float (8,),
            `slices` float (7, slices), `number` int64 (). A level that is not in view is NaN in `truth` and `slices`.
        """
        epoch, repeat, number = key
        column = self.column(number)
        stacks = self.preset.stacks
        random = generator(self.preset.seed, Stream.STUDY, epoch + 1, repeat, number)
        jitters = None
        if epoch >= 0:
            jitters = tuple(random_jitter(random, self.preset.augment) for _ in range(7))
        images, masks = study_stacks(column, stacks, jitters)
        if epoch >= 0:
            images = self.augmentation(images, random)
        truth, hidden = self.truth[number], torch.from_numpy(~column.verdict.in_view)
        places = jitters or (Jitter(),) * len(LEVELS)
        shown = [
            slice_targets(column, level, bool(truth[level]), stacks, place, self.preset.dense_targets)
            for level, place in enumerate(places)
        ]
        slices = torch.from_numpy(np.stack(shown))
        return {
            "images": torch.from_numpy(images),
            "masks": torch.from_numpy(masks),
            "truth": torch.cat([truth[:-1].masked_fill(hidden, torch.nan), truth[-1:]]),
            "slices": slices.masked_fill(hidden[:, None], torch.nan),
            "number": torch.tensor(number),
        }


class VertebraDataset(KeyedDataset):
    """Single vertebrae of all patients: every fractured one whose slices have targets, and whole ones by lot."""

    def __init__(self, studies: ColumnDataset):
        """List the vertebrae.

        Parameters
        ----------
        studies : ColumnDataset
            Where the vertebrae come from.
        """
        self.studies = studies
        self.fractured, self.whole = [], []
        for number, truth in enumerate(studies.truth):
            column = studies.column(number)
            for level in np.flatnonzero(column.verdict.in_view).tolist():
                if not truth[level]:
                    self.whole.append((number, level))
                elif studies.preset.dense_targets or (column.boxes[:, LEVEL] == level + 1).any():
                    self.fractured.append((number, level))

    def __len__(self) -> int:
        return len(self.fractured) * (1 + self.studies.preset.whole_each)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """Make one sample.

        Parameters
        ----------
        key : Key
            Epoch, repeat and number of the vertebra; the whole ones, drawn by lot, come after the fractured
            ones.

        Returns
        -------
        dict of str to Tensor
            `images` uint8 (slices, y, x, neighbours), `masks` uint8 (slices, y, x), `slices` float (slices,).
        """
        epoch, repeat, index = key
        studies, preset = self.studies, self.studies.preset
        random = generator(preset.seed, Stream.VERTEBRA, epoch + 1, repeat, index)
        if index < len(self.fractured):
            number, level = self.fractured[index]
        else:
            number, level = self.whole[int(random.integers(len(self.whole)))]
        column = studies.column(number)
        jitter = random_jitter(random, preset.augment) if epoch >= 0 else Jitter()
        image, mask = vertebra_stack(column, level, preset.stacks, jitter)
        if epoch >= 0:
            image = studies.augmentation(image[None], random)[0]
        fractured = bool(studies.truth[number][level])
        shown = slice_targets(column, level, fractured, preset.stacks, jitter, preset.dense_targets)
        return {
            "images": torch.from_numpy(image),
            "masks": torch.from_numpy(mask),
            "slices": torch.from_numpy(shown),
        }


class LocatorDataset(KeyedDataset):
    """Windows of small volumes with their masks."""

    def __init__(self, store: StudyStore, uids: list[str], preset: Preset):
        self.store, self.uids, self.preset = store, uids, preset

    @cached_property
    def volumes(self) -> list[LabelledVolume]:
        """All of them, kept in memory; read when the first sample is asked for, so never by a finished fold."""
        arrays = (self.store.read(uid)[0] for uid in self.uids)
        return [LabelledVolume.of(found["volume"], found["labels"]) for found in arrays]

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """Make one sample.

        Parameters
        ----------
        key : Key
            Epoch, repeat and number of the study.

        Returns
        -------
        dict of str to Tensor
            `volume` float (1, z, y, x), `labels` int64 (z, y, x).
        """
        epoch, repeat, number = key
        random = generator(self.preset.seed, Stream.VOLUME, epoch + 1, repeat, number)
        locator, augment = self.preset.locator, self.preset.locator_augment
        volume, labels = vary_volume(self.volumes[number], locator, augment, random)
        return {"volume": volume, "labels": labels}
