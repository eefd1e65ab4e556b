"""Where are C1-C7 in a whole scan? Windows over all of it, then around what was found, and a verdict on the outcome."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from cspine.competition.labels import LEVELS
from cspine.networks.locator import AIR_HU, CLASSES, Locator, grey_values
from cspine.networks.precision import autocast
from cspine.preprocessing.components import largest_components
from cspine.preprocessing.verdict import Kind, Verdict, judge_or_count_anew, likeness_to_a_spine

STRIDE = 0.6
"""Of the windows of the first pass, as a share of a window."""
BONE_HU, BONE_VOX = 200, 40
"""A window with fewer voxels above this shows no vertebra, and is not looked at."""
FINE = 3.0
"""What a window around the column weighs beside one of the first pass."""
AGAIN_MM = (45.0, -45.0)
"""How far down and up a doubtful column is looked at once more."""
AT_ONCE = 4
"""Windows that go through a locator together."""
LARGER = 1.35
"""How much larger than the locator's a window of the first pass may be, where fewer windows then cover the scan."""
STEP_VOX = 8
"""By which it is larger: sizes that don't halve as those in training do shift what a network sees."""


BRIDGED_MM = 12.0
"""Two neighbours of one column are no farther apart than this, with the disc between them."""
CANDIDATES = 5
"""Largest pieces of a label map of which one is the column."""


Part = tuple[slice, ...]
"""A window's place in a scan, (z, y, x)."""


@dataclass(frozen=True)
class Located:
    """C1-C7 in a scan.

    labels: uint8 (z, y, x), 0 background, 1-7 = C1-C7, 8 thoracic; of each of C1-C7 the largest piece. verdict:
    whether they can be believed.
    """

    labels: np.ndarray
    verdict: Verdict


@torch.inference_mode()
def locate(locators: list[Locator], hu: np.ndarray, device: torch.device) -> Located:
    """Name the vertebrae of a scan with the mean of several locators.

    Parameters
    ----------
    locators : list of Locator
        At least one; all of the same settings.
    hu : ndarray of int16, shape (z, y, x)
        Hounsfield units at the locators' spacing.
    device : torch.device
        Where the locators are.

    Returns
    -------
    Located
        Label map and verdict.
    """
    search = Search(locators, hu, device)
    search.look_everywhere()
    search.look_closer()
    found = search.outcome()
    if found.verdict.kind is not Kind.DOUBTFUL:
        return found
    for shift_mm in AGAIN_MM:  # a doubtful column from above and from below as well
        search.look_closer(shift_mm)
    again = search.outcome()
    return again if len(again.verdict.reasons) <= len(found.verdict.reasons) else found


class Search:
    """The sum of what was seen in windows of a scan."""

    def __init__(
        self,
        locators: list[Locator],
        hu: np.ndarray,
        device: torch.device,
        window_vox: tuple[int, ...] | None = None,
    ):
        """Begin with nothing seen.

        Parameters
        ----------
        locators : list of Locator
            At least one; all of the same settings.
        hu : ndarray of int16, shape (z, y, x)
            Hounsfield units at the locators' spacing.
        device : torch.device
            Where the locators are.
        window_vox : tuple of int, optional
            Size (z, y, x) of the windows; by default the locators'.
        """
        self.locators, self.device = locators, device
        self.settings = locators[0].settings
        self.window = np.array(window_vox or self.settings.window_vox)
        # a scan lies in the middle of the smallest window, or of one some steps larger, with air around
        more = np.maximum(np.array(hu.shape) - self.window, 0)
        lack = self.window + -(-more // STEP_VOX) * STEP_VOX - np.array(hu.shape)
        self.before = lack // 2
        padding = [(int(b), int(n - b)) for b, n in zip(self.before, lack, strict=True)]
        self.inner = tuple(slice(int(b), int(b + n)) for b, n in zip(self.before, hu.shape, strict=True))
        self.hu = torch.from_numpy(np.pad(hu, padding, constant_values=int(AIR_HU)))
        self.size = np.array(self.hu.shape)
        self.total = torch.zeros(CLASSES, *self.hu.shape)
        self.total[0] = 1e-3  # where nobody looked there is nothing
        self.opinions: list[tuple[Part, np.ndarray]] = []  # a window, and one label map of it

    def look_everywhere(self) -> None:
        """Look at overlapping windows that cover the scan."""
        axes = [_cover(int(size), int(window)) for size, window in zip(self.size, self.window, strict=True)]
        self._look([(part, False) for part in product(*axes)], 1.0)

    def look_closer(self, shift_mm: float = 0.0) -> None:
        """Look at a window around the cervical column as far as it is known, and at its mirror image.

        Parameters
        ----------
        shift_mm : float
            How much lower the window lies.
        """
        column = self._column(_likeliest(self.total))
        cervical = np.argwhere((column >= 1) & (column <= len(LEVELS)))
        if not len(cervical):
            return
        middle = cervical.mean(axis=0)
        middle[0] += shift_mm / self.settings.spacing_mm
        start = np.clip(np.rint(middle - self.window / 2), 0, self.size - self.window).astype(int)
        part = tuple(slice(int(a), int(a + n)) for a, n in zip(start, self.window, strict=True))
        self.opinions = [
            (part, _likeliest(view)) for view in self._look([(part, False), (part, True)], FINE / 2)
        ]

    def _look(self, windows: list[tuple[Part, bool]], weight: float) -> list[Tensor]:
        """Add what the locators see in windows of one size, each shown as it is or mirrored.

        Gives what each locator sees in each of them: float32 (9, z, y, x).
        """
        shown = [one for one in windows if int((self.hu[one[0]] > BONE_HU).sum()) >= BONE_VOX]
        seen: list[Tensor] = []
        for first in range(0, len(shown), AT_ONCE):
            some = shown[first : first + AT_ONCE]
            pictures = [self.hu[part].flip(-1) if mirrored else self.hu[part] for part, mirrored in some]
            images = grey_values(torch.stack(pictures).float(), self.settings)[:, None].to(self.device)
            views = torch.stack(list(self._views(images)), dim=1)
            middle_first = _ramps(views.shape[3:]) * weight
            for (part, mirrored), of_one in zip(some, views, strict=True):
                turned = of_one.flip(-1) if mirrored else of_one
                self.total[(slice(None), *part)] += turned.mean(dim=0) * middle_first
                seen += list(turned)
        return seen

    def _views(self, images: Tensor) -> Iterator[Tensor]:
        """How sure each locator is of each class in each voxel: float32 (windows, 9, z, y, x)."""
        for locator in self.locators:
            with autocast(self.device, volumes=True):
                yield locator(images).float().softmax(dim=1).cpu()

    def outcome(self) -> Located:
        """Take the likeliest class of every voxel, and judge the map.

        Returns
        -------
        Located
            On the scan's own voxels.
        """
        sure, labels = (self.total / self.total.sum(dim=0)).max(dim=0)
        cleaned = largest_components(self._column(labels.to(torch.uint8).numpy()))
        confidence, agreement = np.full(CLASSES - 1, np.nan), np.full(CLASSES - 1, np.nan)
        for label in range(1, CLASSES):
            here = cleaned == label
            if here.any():
                confidence[label - 1] = float(sure.numpy()[here].mean())
                agreement[label - 1] = self._agreement(here, label)
        found = np.ascontiguousarray(cleaned[self.inner])
        return Located(*judge_or_count_anew(found, self.settings.spacing_mm, confidence, agreement))

    def _column(self, labels: np.ndarray) -> np.ndarray:
        """What of a label map belongs to the column, none of it in the air around the scan; uint8 (z, y, x)."""
        column = np.zeros_like(labels)
        column[self.inner] = one_column(labels[self.inner], self.settings.spacing_mm)
        return column

    def _agreement(self, here: np.ndarray, label: int) -> float:
        """How alike the single opinions on a label are to the outcome: their mean Dice, NaN without any."""
        scores = []
        for part, opinion in self.opinions:
            there, mine = opinion == label, here[part]
            scores.append(2 * (there & mine).sum() / max(there.sum() + mine.sum(), 1))
        return float(np.mean(scores)) if scores else float("nan")


def _cover(size: int, window: int) -> list[slice]:
    """Overlapping parts that cover an axis, none smaller than a window, with as little to compute as possible."""

    def count(length: int) -> int:
        return -int(-(size - length) // (STRIDE * length)) + 1

    lengths = range(window, min(round(LARGER * window), size) + 1, STEP_VOX)
    length = min(lengths, key=lambda one: (one * count(one), one))
    starts = np.rint(np.linspace(0, size - length, count(length))).astype(int)
    return [slice(start, start + length) for start in starts.tolist()]


def _ramps(shape: tuple[int, ...]) -> Tensor:
    """What each voxel of a window counts: most in the middle, least in the corners; float32 (z, y, x)."""
    z, y, x = (torch.hann_window(n + 2, periodic=False)[1:-1] + 0.02 for n in shape)
    return z[:, None, None] * y[:, None] * x


def _likeliest(shares: Tensor) -> np.ndarray:
    """The class of the largest value in each voxel, uint8 (z, y, x); `argmax` takes five times as long on a CPU."""
    return shares.max(dim=0).indices.to(torch.uint8).numpy()


def one_column(labels: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Keep the piece that looks most like a cervical spine: a patient has one, and skulls, jaws and arms are none.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        Label map; 0 background, 1-7 = C1-C7, 8 = thoracic.
    spacing_mm : float
        Voxel size on all axes.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        0 outside of that column, the larger one of two that are as much like a spine; `labels` itself where there is
        no cervical vertebra.
    """
    near = max(round(BRIDGED_MM / 2 / spacing_mm), 1)
    cervical = (labels >= 1) & (labels <= len(LEVELS))
    if not cervical.any():
        return labels
    whole = ndimage.binary_dilation(labels > 0, iterations=near)
    pieces, count = ndimage.label(whole)
    sizes = np.bincount(pieces[cervical], minlength=count + 1)
    largest = [piece for piece in np.argsort(-sizes, kind="stable")[:CANDIDATES] if sizes[piece]]
    candidates = [np.where(pieces == piece, labels, np.uint8(0)) for piece in largest]
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda one: (likeness_to_a_spine(one, spacing_mm), np.count_nonzero(one)))
