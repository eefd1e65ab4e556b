"""Can a label map be believed? What speaks against it, found from sizes, order, spacing, confidence and agreement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import ndimage

from cspine.competition.labels import LEVELS

THORACIC = len(LEVELS) + 1
"""The label of everything below C7."""
VOLUMES_MM3 = dict(zip(LEVELS, (11200, 12500, 7000, 7800, 8400, 9800, 12000), strict=True))
"""Of each level's label, mean of 200 replica patients; from 0.5 to 1.7 times that occurs."""
ODD_VOLUME = 2.6
"""A whole level this many times larger, or smaller, than expected from the others is doubted."""
STEP_MM = (8.5, 31.0)
"""Distance of two neighbours' centres: below and above it one of them is doubted; replicas have 11 to 24 mm."""
LEAST_MM3 = 1500.0
"""A piece smaller than this is no vertebra."""
LEAST_OF_CUT = 0.2
"""Share of a level's mean volume that must be there where the scan cuts it: less is as likely its neighbour's."""
END_MM = 8.0
"""A level this near to a face of the scan may be cut off by it."""
SURE = 0.75
"""Mean probability of a level's voxels below which it is doubted."""
CERTAIN_OF_NOTHING = 0.65
"""Median over the levels that were found, below which there is no neck at all."""
ALIKE = 0.7
"""Dice of two opinions on a level below which it is doubted."""
FEWEST = 3
"""Levels that must be there for a column."""


class Kind(StrEnum):
    """What becomes of a label map."""

    SURE = "sure"
    DOUBTFUL = "doubtful"
    NOT_A_NECK = "not a neck"


@dataclass(frozen=True)
class Verdict:
    """What is thought of a label map.

    kind: see `Kind`. reasons: what speaks against it, one sentence each; none if it is sure. levels: of C1 to C7
    those found.
    """

    kind: Kind
    reasons: tuple[str, ...]
    levels: tuple[str, ...]

    @property
    def note(self) -> str:
        """One sentence for notes; empty if it is sure and whole."""
        missing = [name for name in LEVELS if name not in self.levels]
        lack = f"{', '.join(missing)} not in view" if missing else ""
        parts = [*([lack] if lack else []), *self.reasons]
        return f"label map {self.kind}: {'; '.join(parts)}" if parts else ""

    def as_json(self) -> dict[str, Any]:
        """Give the verdict ready for JSON.

        Returns
        -------
        dict
            `kind`, `reasons` and `levels`.
        """
        return {"kind": str(self.kind), "reasons": list(self.reasons), "levels": list(self.levels)}

    @property
    def in_view(self) -> np.ndarray:
        """Which of C1 to C7 were found: bool (7,)."""
        return np.array([name in self.levels for name in LEVELS])

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "Verdict":
        """Read what `as_json` gave.

        Parameters
        ----------
        stored : mapping
            `kind`, `reasons` and `levels`.

        Returns
        -------
        Verdict
            The same verdict.
        """
        return cls(Kind(stored["kind"]), tuple(stored["reasons"]), tuple(stored["levels"]))


WHOLE = Verdict(Kind.SURE, (), LEVELS)
"""Of a label map that is known to be right."""


def shares_in_view(labels: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Say how much of each vertebra a label map shows, beside what this patient's other ones let expect.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        0 background, 1-7 = C1-C7.
    spacing_mm : sequence of float
        Voxel size in z, y and x.

    Returns
    -------
    ndarray of float64, shape (7,)
        C1 to C7: 0 is not in view, about 1 is whole.
    """
    counts = np.bincount(labels.reshape(-1), minlength=THORACIC)[1:THORACIC]
    ratio = counts * np.prod(spacing_mm) / np.array([VOLUMES_MM3[name] for name in LEVELS])
    return ratio / np.median(ratio[ratio > 0]) if counts.any() else ratio


@dataclass(frozen=True)
class _Piece:
    """One level of a label map: its volume, centre in mm and the faces of the scan that it is near to."""

    mm3: float
    centre: np.ndarray
    cut_above: bool
    cut_below: bool
    cut_aside: bool

    @property
    def cut(self) -> bool:
        return self.cut_above or self.cut_below or self.cut_aside


def judge(
    labels: np.ndarray, spacing_mm: float, confidence: np.ndarray, agreement: np.ndarray | None = None
) -> Verdict:
    """Judge a label map.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        0 background, 1-7 = C1-C7, 8 = thoracic; z from head to feet.
    spacing_mm : float
        Voxel size on all axes.
    confidence : ndarray of float, shape (8,)
        Mean probability of the voxels of each label, C1 to C7 and thoracic.
    agreement : ndarray of float, shape (8,), optional
        Dice of two opinions on each label.

    Returns
    -------
    Verdict
        With every reason that was found.
    """
    pieces = _pieces(labels, spacing_mm)
    found = [name for name in LEVELS if name in pieces]
    if len(found) < FEWEST:
        said = f"{len(found)} cervical vertebrae found, at least {FEWEST} expected"
        return Verdict(Kind.NOT_A_NECK, (said,), tuple(found))
    median = float(np.median([confidence[LEVELS.index(name)] for name in found]))
    if median < CERTAIN_OF_NOTHING:
        said = f"{', '.join(found)} may be there, but nothing is certain ({median:.2f})"
        return Verdict(Kind.NOT_A_NECK, (said,), ())
    reasons = [*_order(pieces, found), *_sizes(pieces, found), *_loose_ends(pieces, found)]
    if found[0] not in ("C1", "C2") or (found[0] == "C2" and pieces["C2"].cut):
        reasons.append("neither C1 nor the whole of C2 is in view, and counting from below is less certain")
    if pieces[found[-1]].cut_below and "T" not in pieces:
        reasons.append(f"the scan ends within {found[-1]}: the levels near its end may be named one off")
    for name in found:
        at = LEVELS.index(name)
        if confidence[at] < SURE:
            reasons.append(f"{name} is uncertain ({confidence[at]:.2f})")
        elif agreement is not None and agreement[at] < ALIKE and not pieces[name].cut:
            reasons.append(f"two opinions differ on {name} (Dice {agreement[at]:.2f})")
    return Verdict(Kind.DOUBTFUL if reasons else Kind.SURE, tuple(reasons), tuple(found))


def _pieces(labels: np.ndarray, spacing_mm: float) -> dict[str, _Piece]:
    """Measure the levels that are large enough, and the thoracic ones as one."""
    pieces = {}
    near = END_MM / spacing_mm
    for number, bounds in enumerate(ndimage.find_objects(labels, max_label=THORACIC)):
        if bounds is None:
            continue
        here = labels[bounds] == number + 1
        mm3 = float(here.sum()) * spacing_mm**3
        above, below = bounds[0].start < near, bounds[0].stop > labels.shape[0] - near
        aside = any(b.start < 1 or b.stop > n - 1 for b, n in zip(bounds[1:], labels.shape[1:], strict=True))
        name = LEVELS[number] if number < len(LEVELS) else "T"
        cut = above or below or aside
        if mm3 < (LEAST_OF_CUT * VOLUMES_MM3.get(name, LEAST_MM3) if cut else LEAST_MM3):
            continue
        start = np.array([b.start for b in bounds])
        centre = (np.argwhere(here).mean(axis=0) + start) * spacing_mm
        pieces[name] = _Piece(mm3, centre, above, below, aside)
    return pieces


def likeness_to_a_spine(labels: np.ndarray, spacing_mm: float) -> int:
    """Say how much a piece of a label map looks like a cervical spine, to choose among several.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        One piece of a map as `judge` takes it, 0 elsewhere.
    spacing_mm : float
        Side of a voxel.

    Returns
    -------
    int
        Levels of C1 to C7 that are there, less two for each that is too large or too small beside the others, for each
        step from one to the next that is not one of a spine, and for each end of the column that the scan goes beyond.
    """
    pieces = _pieces(labels, spacing_mm)
    found = [name for name in LEVELS if name in pieces]
    if not found:
        return 0
    against = [*_order(pieces, found), *_sizes(pieces, found), *_loose_ends(pieces, found)]
    return len(found) - 2 * len(against)


def judge_or_count_anew(
    labels: np.ndarray, spacing_mm: float, confidence: np.ndarray, agreement: np.ndarray
) -> tuple[np.ndarray, Verdict]:
    """Judge a label map; where its C1 can't be a vertebra, leave that out and name all below one level higher.

    A piece of the skull's base may be named C1, and then every name is one too low. A C1 that is both too small beside
    the others and too far from C2 to be its neighbour is left out if less speaks against the map then, unless thoracic
    vertebrae were found, from which the names were counted as well. Such a map is never sure.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        0 background, 1-7 = C1-C7, 8 = thoracic; z from head to feet.
    spacing_mm : float
        Voxel size on all axes.
    confidence : ndarray of float, shape (8,)
        Mean probability of the voxels of each label, C1 to C7 and thoracic.
    agreement : ndarray of float, shape (8,)
        Dice of two opinions on each label.

    Returns
    -------
    labels : ndarray of uint8, shape (z, y, x)
        The same map, or one that was counted anew.
    verdict : Verdict
        Of that map.
    """
    verdict = judge(labels, spacing_mm, confidence, agreement)
    stray = _stray_c1(_pieces(labels, spacing_mm)) if verdict.kind is Kind.DOUBTFUL else ""
    if not stray:
        return labels, verdict
    anew = np.where((labels >= 1) & (labels <= len(LEVELS)), labels - 1, labels)
    other = judge(anew, spacing_mm, _one_up(confidence), _one_up(agreement))
    if other.kind is Kind.NOT_A_NECK or len(other.reasons) >= len(verdict.reasons):
        return labels, verdict
    return anew, Verdict(Kind.DOUBTFUL, (stray, *other.reasons), other.levels)


def _stray_c1(pieces: dict[str, _Piece]) -> str:
    """Why C1 can't be a vertebra; empty if it may be one."""
    if "C1" not in pieces or "C2" not in pieces or "T" in pieces or pieces["C1"].cut:
        return ""
    distance = float(np.linalg.norm(pieces["C2"].centre - pieces["C1"].centre))
    off = _beside_the_others(pieces)["C1"]
    if distance <= STEP_MM[1] or off >= 1 / ODD_VOLUME:
        return ""
    return (
        f"what was named C1 first is {off:.1f} times as large as expected and {distance:.0f} mm from the next: it was "
        "left out, and all below counted anew"
    )


def _one_up(figures: np.ndarray) -> np.ndarray:
    """Figures of C1 to C7 and thoracic, shape (8,), when C2 is called C1 and so on: C7 has none then."""
    return np.concatenate([figures[1 : len(LEVELS)], [np.nan], figures[len(LEVELS) :]])


def _order(pieces: dict[str, _Piece], found: list[str]) -> list[str]:
    """What is wrong with the way from one level to the next."""
    reasons = []
    for upper, lower in zip(found, found[1:], strict=False):
        steps = LEVELS.index(lower) - LEVELS.index(upper)
        if steps > 1:
            reasons.append(
                f"{', '.join(LEVELS[LEVELS.index(upper) + 1 : LEVELS.index(lower)])} missing in between"
            )
            continue
        way = pieces[lower].centre - pieces[upper].centre
        distance = float(np.linalg.norm(way))
        least = STEP_MM[0] * (0.4 if pieces[upper].cut or pieces[lower].cut else 1.0)
        if way[0] <= 0:
            reasons.append(f"{lower} does not lie below {upper}")
        elif not least <= distance <= STEP_MM[1]:
            reasons.append(f"{upper} and {lower} are {distance:.0f} mm apart")
    if "T" in pieces and pieces["T"].centre[0] <= pieces[found[-1]].centre[0]:
        reasons.append(f"thoracic vertebrae do not lie below {found[-1]}")
    return reasons


def _sizes(pieces: dict[str, _Piece], found: list[str]) -> list[str]:
    """Whole levels that are too large or too small beside the others."""
    reasons, beside = [], _beside_the_others(pieces)
    for name in found:
        off = beside[name]
        if off > ODD_VOLUME or (off < 1 / ODD_VOLUME and not pieces[name].cut):
            reasons.append(f"{name} is {off:.1f} times as large as expected")
    return reasons


def _beside_the_others(pieces: dict[str, _Piece]) -> dict[str, float]:
    """How many times as large each level is as the others let expect."""
    ratio = {name: piece.mm3 / VOLUMES_MM3[name] for name, piece in pieces.items() if name in LEVELS}
    whole = [one for name, one in ratio.items() if not pieces[name].cut] or list(ratio.values())
    usual = float(np.clip(np.median(whole), 0.5, 1.8))
    return {name: one / usual for name, one in ratio.items()}


def _loose_ends(pieces: dict[str, _Piece], found: list[str]) -> list[str]:
    """Where the levels end though the scan goes on."""
    first, last = pieces[found[0]], pieces[found[-1]]
    reasons = []
    if found[0] != "C1" and not first.cut_above and not first.cut_aside:
        reasons.append(f"nothing found above {found[0]}, though the scan goes on")
    if found[-1] != "C7" and not last.cut_below and not last.cut_aside:
        reasons.append(f"nothing found below {found[-1]}, though the scan goes on")
    return reasons
