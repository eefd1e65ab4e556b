"""What a scan shows when it is no neck as the competition has it: heads, chests, cuts, small and large fields."""

from dataclasses import dataclass, replace

import numpy as np

from replica.anatomy.build import C7, Anatomy
from replica.anatomy.shapes import Grid
from replica.scanner.protocol import SPACING_MM, Protocol, View, column_ends_mm
from replica.settings import FULL_MATRIX, ReplicaSettings

RATES = {
    View.NECK: 0.26, View.CUT_BELOW: 0.17, View.CUT_ABOVE: 0.12, View.HEAD_AND_NECK: 0.15,
    View.NECK_AND_CHEST: 0.12, View.HEAD_TO_CHEST: 0.08, View.HEAD: 0.05, View.CHEST: 0.05,
}  # fmt: skip
FIELD_MM = (120.0, 500.0)
OFF_MM = 0.16  # SD of the neck's place beside the middle, as a share of the field
STEPS = ((0.625, 0.35), (1.0, 0.25), (1.5, 0.15), (2.0, 0.1), (3.0, 0.1), (5.0, 0.05))  # mm, share
VERTEX_MM, CARINA_MM = 150.0, 240.0  # above and below C1, of the standard patient
SHORTEST_MM = 36.0


@dataclass(frozen=True)
class Span:
    """Heights of a scan's first and last slice, mm."""

    top: float
    bottom: float


def widen(
    protocol: Protocol, anatomy: Anatomy, settings: ReplicaSettings, rng: np.random.Generator
) -> Protocol:
    """Give an ordinary protocol another place and field of view.

    Parameters
    ----------
    protocol : Protocol
        The ordinary one of the same patient.
    anatomy : Anatomy
        The patient.
    settings : ReplicaSettings
        For the size.
    rng : numpy.random.Generator
        Of this study's coverage.

    Returns
    -------
    Protocol
        The wide one; it says what it shows.
    """
    view = list(RATES)[int(rng.choice(len(RATES), p=np.array(list(RATES.values()))))]
    span = _span(view, anatomy, rng)
    steps, shares = zip(*STEPS, strict=True)
    step = float(rng.choice(steps, p=shares))
    field = float(np.exp(rng.uniform(*np.log(FIELD_MM))))
    matrix = settings.matrix
    spacing = round(float(np.clip(field / FULL_MATRIX, SPACING_MM[0], 1.0)) * FULL_MATRIX / matrix, 6)
    # a coarse replica's pixels are large already: its slices need not be thicker than in a fine one
    step = round(max(step, 0.625 / settings.size), 6)
    middle_z = (span.top + span.bottom) / 2
    y, x = (float(at[0]) for at in anatomy.spine_at(np.array([middle_z])))
    half = spacing * (matrix - 1) / 2
    middle_y = y - rng.uniform(-10, 40) + field * OFF_MM * float(np.clip(rng.standard_normal(), -2, 2))
    middle_x = x + field * OFF_MM * float(np.clip(rng.standard_normal(), -2, 2))
    origin = (round(span.top, 3), round(middle_y - half, 3), round(middle_x - half, 3))
    slices = max(int((span.top - span.bottom) / step) + 1, 8)
    grid = Grid((slices, matrix, matrix), (step, spacing, spacing), origin)
    thickness = round(max(protocol.thickness_mm, step), 6)
    return replace(protocol, grid=grid, thickness_mm=thickness, view=view)


def _span(view: View, anatomy: Anatomy, rng: np.random.Generator) -> Span:
    top, bottom = column_ends_mm(anatomy)
    k, first, last = anatomy.scale, anatomy.poses[0].centre[0], anatomy.poses[C7].centre[0]
    above, below = top + rng.uniform(3, 70), bottom - rng.uniform(2, 60)
    vertex = first + (VERTEX_MM + rng.uniform(-30, 30)) * k
    chest = last - rng.uniform(90, CARINA_MM + 60) * k

    def within(low: int, high: int) -> float:
        level = int(rng.integers(low, high + 1))
        return float(anatomy.poses[level].centre[0] + rng.uniform(-11, 9) * k)

    spans = {
        View.NECK: lambda: (above, below),
        View.CUT_BELOW: lambda: (rng.choice([above, vertex]), within(1, 6)),
        View.CUT_ABOVE: lambda: (within(0, 5), rng.choice([below, chest])),
        View.HEAD_AND_NECK: lambda: (vertex, below),
        View.NECK_AND_CHEST: lambda: (above, chest),
        View.HEAD_TO_CHEST: lambda: (vertex, chest),
        View.HEAD: lambda: (vertex, first + rng.uniform(14, 80) * k),
        View.CHEST: lambda: (last - rng.uniform(36, 90) * k, chest - 60 * k),
    }
    high, low = spans[view]()
    return Span(float(high), float(min(low, high - SHORTEST_MM)))
