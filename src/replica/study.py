"""One study from its row of the cohort: anatomy, injuries and tissue become a volume with its truth."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd

from replica.anatomy.build import NAMES, USUAL, WIDE, Anatomy, make_anatomy
from replica.anatomy.texture import lookup, make_texture
from replica.cohort.published import LEVELS
from replica.injuries.bones import Canvas, Wound, paint_bone, paint_discs, share_in_view
from replica.injuries.fractures import Injury, draw_injuries
from replica.injuries.mimics import Mimic
from replica.scanner.coverage import widen
from replica.scanner.oddities import Oddity, make_odd
from replica.scanner.protocol import Protocol, choose_protocol
from replica.settings import ReplicaSettings
from replica.tissue.layers import make_layers
from replica.tissue.painter import paint_slices


class Purpose(IntEnum):
    """What a study's random numbers are for: each has its own, so that none depends on how many another takes."""

    ANATOMY = 0
    PROTOCOL = 1
    INJURIES = 2
    SCAN = 3
    ANNOTATORS = 4
    ODDITY = 5
    COVERAGE = 6
    PICTURE = 100  # of a single fracture or mimic of one, in the gallery


@dataclass(frozen=True)
class Study:
    """A painted study before it is scanned."""

    protocol: Protocol
    anatomy: Anatomy
    hu: np.ndarray  # (z, y, x) float32, head to feet
    labels: np.ndarray  # (z, y, x) uint8: 1-7 C1-C7, 8.. thoracic
    wounds: tuple[Wound, ...]
    mimics: tuple[Mimic, ...] = ()
    unseen: tuple[Injury, ...] = ()  # fractures outside the field of view
    in_view: tuple[float, ...] = ()  # share of each of C1 to C7 that the scan shows


def study_rng(settings: ReplicaSettings, index: int, purpose: Purpose) -> np.random.Generator:
    """A generator of its own for a study and a purpose, whichever process works on it and when.

    Parameters
    ----------
    settings : ReplicaSettings
        For the seed.
    index : int
        The study's number in the cohort.
    purpose : Purpose
        What the numbers are for.

    Returns
    -------
    numpy.random.Generator
        At its start.
    """
    return np.random.default_rng(np.random.SeedSequence([settings.seed, index, purpose]))


def draw_protocol(row: pd.Series, settings: ReplicaSettings) -> tuple[Anatomy, Protocol]:
    """The patient of one row of the cohort, and how this patient is scanned; nothing is painted.

    Parameters
    ----------
    row : pandas.Series
        Of the cohort.
    settings : ReplicaSettings
        For seed and size.

    Returns
    -------
    anatomy : Anatomy
        The patient.
    protocol : Protocol
        The scan, an odd one where the row says so.
    """
    index = int(row["index"])
    posture = WIDE if settings.coverage == "wide" else USUAL
    rng = study_rng(settings, index, Purpose.ANATOMY)
    anatomy = make_anatomy(row["sex"], int(row["age"]), rng, posture)
    rng = study_rng(settings, index, Purpose.PROTOCOL)
    protocol = choose_protocol(int(row["site"]), anatomy, settings, rng)
    if settings.coverage == "wide":
        protocol = widen(protocol, anatomy, settings, study_rng(settings, index, Purpose.COVERAGE))
    elif row["oddity"]:
        rng = study_rng(settings, index, Purpose.ODDITY)
        protocol = make_odd(protocol, Oddity(row["oddity"]), anatomy, settings, rng)
    return anatomy, protocol


def make_study(row: pd.Series, settings: ReplicaSettings) -> Study:
    """Build the study of one row of the cohort.

    Parameters
    ----------
    row : pandas.Series
        Of the cohort.
    settings : ReplicaSettings
        For seed, size and severity.

    Returns
    -------
    Study
        Painted, not yet scanned.
    """
    anatomy, protocol = draw_protocol(row, settings)
    rng = study_rng(settings, int(row["index"]), Purpose.INJURIES)
    injuries = draw_injuries([level for level in LEVELS if row[level]], settings.severity, rng)
    return paint(anatomy, protocol, injuries)


def paint(
    anatomy: Anatomy,
    protocol: Protocol,
    injuries: dict[str, Injury],
    mimics: dict[str, tuple[str, ...]] | None = None,
) -> Study:
    """Paint tissue, discs and bones on the protocol's grid.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    protocol : Protocol
        The scan.
    injuries : dict of str to Injury
        By the level they break.
    mimics : dict of str to tuple of str, optional
        Kinds of mimics of fractures by level, and no others; by default they are drawn from the anatomy.

    Returns
    -------
    Study
        Painted, not yet scanned.
    """
    grid = protocol.grid
    hu, labels = np.empty(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
    canvas = Canvas(hu, labels, grid, anatomy, make_texture(anatomy, grid))
    painter = paint_slices(grid, make_layers(grid, anatomy), edge_mm=grid.spacing_mm[1])
    for k in range(grid.shape[0]):
        canvas.hu[k] = painter(k)
        _marble(canvas, k)
    paint_discs(canvas)
    wounds, seen = paint_bones(canvas, injuries, mimics)
    shown = [wound.injury for wound in wounds]
    unseen = tuple(one for injury in injuries.values() for one in injury.parts if one not in shown)
    in_view = tuple(share_in_view(grid, anatomy, number) for number in range(len(LEVELS)))
    return Study(protocol, anatomy, hu, labels, tuple(wounds), tuple(seen), unseen, in_view)


def paint_bones(
    canvas: Canvas, injuries: dict[str, Injury], mimics: dict[str, tuple[str, ...]] | None = None
) -> tuple[list[Wound], list[Mimic]]:
    """Paint all vertebrae over what is there.

    Parameters
    ----------
    canvas : Canvas
        Volume and label map, painted in place.
    injuries : dict of str to Injury
        By the level they break.
    mimics : dict of str to tuple of str, optional
        Kinds of mimics of fractures by level, and no others; by default they are drawn from the anatomy.

    Returns
    -------
    wounds : list of Wound
        Where the fractures in view lie.
    mimics : list of Mimic
        Where the mimics in view lie.
    """
    wounds, seen = [], []
    for number, name in enumerate(NAMES):
        found, marks = paint_bone(canvas, number, injuries.get(name), mimics)
        wounds += found
        seen += marks
    return wounds, seen


def _marble(canvas: Canvas, k: int) -> None:
    """Give slice k's soft tissue the faint unevenness of fibres, vessels and septa."""
    part = (slice(k, k + 1), slice(None), slice(None))
    canvas.hu[k] += (canvas.hu[k] > -300) * lookup(canvas.texture.fibres, canvas.grid, part)[0]
