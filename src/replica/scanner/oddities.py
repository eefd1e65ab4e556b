"""The odd studies: few, at the original's rates, each in one way that a reader has to cope with."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

import numpy as np
import pandas as pd

from replica.anatomy.build import C7, Anatomy
from replica.anatomy.shapes import Grid
from replica.scanner.protocol import COLUMN_MARGIN_MM, Protocol, column_ends_mm
from replica.settings import FULL_MATRIX, ReplicaSettings


class Oddity(StrEnum):
    """What is odd about a study, as truth/oddities.csv names it."""

    NO_NECK = "no_neck"
    TWICE = "twice"
    OBLIQUE = "oblique"
    SHORT = "short"
    UNEVEN = "uneven"
    MATRIX_768 = "matrix_768"
    MATRIX_519 = "matrix_519"
    STARTS_AT_59 = "starts_at_59"
    STARTS_AT_2 = "starts_at_2"


STUDIES = 2019
# of each in the original's training studies
RATES = dict.fromkeys(Oddity, 1 / STUDIES) | {
    Oddity.MATRIX_768: 2 / STUDIES,
    Oddity.STARTS_AT_2: 9 / STUDIES,
}
WITHOUT_MASK = {Oddity.NO_NECK, Oddity.TWICE, Oddity.OBLIQUE, Oddity.SHORT, Oddity.UNEVEN}
CUT_SHORT = {Oddity.NO_NECK, Oddity.OBLIQUE, Oddity.SHORT}  # levels may lie outside
TWICE_SLICES, OBLIQUE_SLICES, SHORT_MM, HEAD_MM = 541, 69, 72.0, 62.0
UNEVEN_SHARE = 0.12  # of the step, up or down: steps of 0.76 to 1.24 mm
ODD_STEP_MM = {  # and thickness; the large matrix would not fit into memory with thin slices
    Oddity.TWICE: (0.4, 0.5), Oddity.OBLIQUE: (0.75, 0.75), Oddity.UNEVEN: (1.0, 1.0), Oddity.MATRIX_768: (0.8, 1.0),
}  # fmt: skip


def choose_oddities(cohort: pd.DataFrame, settings: ReplicaSettings) -> list[str]:
    """Say of each row of the cohort what is odd about it.

    Training and test studies get the expected number of each, rounded up or down by chance. Where a study has
    a mask, its geometry stays ordinary; where it has boxes, its levels stay in view if others can be had.

    Parameters
    ----------
    cohort : pandas.DataFrame
        Columns split, boxed, masked and C2.
    settings : ReplicaSettings
        For its seed.

    Returns
    -------
    list of str
        A name of `Oddity` a row, or "" for an ordinary study.
    """
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, 2**31 + 1]))
    chosen = np.full(len(cohort), "", object)
    train = (cohort["split"] == "train").to_numpy()
    for part in (train, ~train):
        for odd, rate in RATES.items():
            count = int(rate * part.sum() + rng.random())
            free = rng.permutation(np.flatnonzero(part & (chosen == "") & _may_be(cohort, odd)))
            boxed = cohort["boxed"].to_numpy(bool)[free] & (odd in CUT_SHORT)
            chosen[free[np.argsort(boxed, kind="stable")][:count]] = odd.value
    return chosen.tolist()


def _may_be(cohort: pd.DataFrame, odd: Oddity) -> np.ndarray:
    """Which studies can be odd in this way, bool (studies,)."""
    fit = np.ones(len(cohort), bool)
    if odd in WITHOUT_MASK:
        fit &= ~cohort["masked"].to_numpy(bool)
    if odd is Oddity.NO_NECK:
        fit &= cohort["C2"].to_numpy() == 1
    return fit


def make_odd(
    protocol: Protocol, odd: Oddity, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Turn an ordinary protocol into an odd one for the same patient.

    Parameters
    ----------
    protocol : Protocol
        The ordinary one.
    odd : Oddity
        What is to be odd about it.
    anatomy : Anatomy
        The patient.
    settings : ReplicaSettings
        For the size.
    rng : numpy.random.Generator
        Of this study's oddity.

    Returns
    -------
    Protocol
        The odd one.
    """
    if odd in ODD_STEP_MM:
        step, thickness = (round(mm / settings.size, 6) for mm in ODD_STEP_MM[odd])
        grid = protocol.grid
        slices = int((grid.shape[0] - 1) * grid.spacing_mm[0] / step) + 1
        grid = Grid((slices, *grid.shape[1:]), (step, *grid.spacing_mm[1:]), grid.origin_mm)
        protocol = replace(protocol, thickness_mm=thickness, grid=grid)
    return _CHANGES[odd](protocol, anatomy, settings, rng)


def _from_to(grid: Grid, top_mm: float, slices: int) -> Grid:
    return replace(grid, shape=(slices, *grid.shape[1:]), origin_mm=(round(top_mm, 3), *grid.origin_mm[1:]))


def _no_neck(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """A scan of the head, from above the skull's base to below its top."""
    grid, matrix = protocol.grid, settings.matrix
    spacing = round(max(grid.spacing_mm[1], 215 * anatomy.scale / matrix), 6)
    half = spacing * (matrix - 1) / 2
    bottom = column_ends_mm(anatomy)[0] + 22 * anatomy.scale
    slices = int(HEAD_MM / grid.spacing_mm[0]) + 1
    origin = (round(bottom + (slices - 1) * grid.spacing_mm[0], 3), round(8 - half, 3), round(-half, 3))
    return replace(
        protocol, grid=Grid((slices, matrix, matrix), (grid.spacing_mm[0], spacing, spacing), origin)
    )


def _twice(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Two stacks of slices at the same positions, one after the other."""
    slices = round(TWICE_SLICES * settings.size)
    top, bottom = column_ends_mm(anatomy)
    slack = (slices - 1) * protocol.grid.spacing_mm[0] - (top - bottom) - 2 * COLUMN_MARGIN_MM
    grid = _from_to(protocol.grid, top + COLUMN_MARGIN_MM + 0.4 * max(slack, 0), slices)
    return replace(protocol, grid=grid, stacks=2)


def _around(protocol: Protocol, anatomy: Anatomy, slices: int, rng: np.random.Generator) -> Protocol:
    """Slices around a height somewhere between C2 and C6."""
    middle = rng.uniform(anatomy.poses[C7 - 1].centre[0], anatomy.poses[1].centre[0])
    top = middle + (slices - 1) / 2 * protocol.grid.spacing_mm[0]
    return replace(protocol, grid=_from_to(protocol.grid, top, slices))


def _oblique(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Few slices across a neck that lies aslant in the scanner."""
    tilt = round(float(rng.choice([-1, 1]) * rng.uniform(14, 26)), 2)
    return _around(replace(protocol, tilt_deg=tilt), anatomy, round(OBLIQUE_SLICES * settings.size), rng)


def _short(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    return _around(protocol, anatomy, round(SHORT_MM / protocol.grid.spacing_mm[0]) + 1, rng)


def _uneven(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Slices that lie a little above or below their places."""
    slices, step = protocol.grid.shape[0], protocol.grid.spacing_mm[0]
    up = rng.uniform(-1, 1, slices)
    middle = slices // 2
    up[middle : middle + 4] = (-1, 1, 1, -1)  # the smallest and the largest step there can be
    uneven = tuple(float(mm) for mm in np.round(UNEVEN_SHARE * step * up, 4))
    return replace(protocol, uneven_mm=uneven)


def _large_matrix(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """The same field of view in finer pixels."""
    grid, matrix = protocol.grid, round(settings.matrix * 768 / FULL_MATRIX)
    spacing = round(grid.spacing_mm[1] * settings.matrix / matrix, 6)
    return replace(
        protocol,
        grid=Grid((grid.shape[0], matrix, matrix), (grid.spacing_mm[0], spacing, spacing), grid.origin_mm),
    )


def _wide_matrix(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """A few columns more than rows."""
    slices, rows, columns = protocol.grid.shape
    columns = max(round(columns * 519 / FULL_MATRIX), columns + 1)
    return replace(protocol, grid=replace(protocol.grid, shape=(slices, rows, columns)))


def _starting_at(number: int) -> Callable[..., Protocol]:
    return lambda protocol, anatomy, settings, rng: replace(protocol, first_number=number)


_CHANGES = {
    Oddity.NO_NECK: _no_neck,
    Oddity.TWICE: _twice,
    Oddity.OBLIQUE: _oblique,
    Oddity.SHORT: _short,
    Oddity.UNEVEN: _uneven,
    Oddity.MATRIX_768: _large_matrix,
    Oddity.MATRIX_519: _wide_matrix,
    Oddity.STARTS_AT_59: _starting_at(59),
    Oddity.STARTS_AT_2: _starting_at(2),
}


def describe(protocol: Protocol, unseen: tuple[str, ...]) -> str:
    """A study's geometry in words, and the broken levels that it does not show.

    Parameters
    ----------
    protocol : Protocol
        The study's.
    unseen : tuple of str
        Broken levels that are out of view.

    Returns
    -------
    str
        Parts joined by semicolons.
    """
    slices, rows, columns = protocol.grid.shape
    first = protocol.first_number
    words = [f"{slices * protocol.stacks} slices from number {first} on, {rows} x {columns}"]
    if protocol.stacks > 1:
        words.append(f"{slices} positions")
    words.append(f"{(slices - 1) * protocol.grid.spacing_mm[0]:.1f} mm from the first to the last")
    if protocol.tilt_deg:
        words.append(f"tilted {protocol.tilt_deg:.2f} degrees about x")
    if protocol.uneven_mm:
        steps = protocol.grid.spacing_mm[0] - np.diff(protocol.uneven_mm)
        words.append(f"steps of {steps.min():.2f} to {steps.max():.2f} mm")
    if unseen:
        words.append(f"broken and not in view: {' '.join(sorted(set(unseen)))}")
    return "; ".join(words)
