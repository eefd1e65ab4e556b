"""Patients change places in pairs until the sums of a table are the wanted ones."""

import numpy as np

BATCH = 256  # pairs looked at for one swap
STEPS = 20_000  # at most; the whole cohort takes a few hundred


def settle(
    seats: np.ndarray, moved: np.ndarray, goal: np.ndarray, near: np.ndarray, rng: np.random.Generator,
    block: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Rearrange what patients carry until its table against what they are is near the wanted one.

    Two patients of the same block swap what they carry, whenever that takes the table
    `seats.T @ moved[order]` nearer to `goal`, until no cell is further from it than `near`. Dead ends are
    left as in the breakout method: what is still wrong gains weight.

    Parameters
    ----------
    seats : ndarray of float, shape (n, p)
        What a patient is. With whole numbers or binary fractions in all arrays every sum is exact, and the
        order the same on every machine.
    moved : ndarray of float, shape (n, q)
        What a patient carries and can pass on.
    goal : ndarray of float, shape (p, q)
        The wanted table.
    near : ndarray of float, shape (p, q)
        How far from it each cell may lie.
    rng : numpy.random.Generator
        Chooses the pairs that are looked at.
    block : ndarray of int, shape (n,), optional
        Who may swap with whom; by default everybody.

    Returns
    -------
    ndarray of int, shape (n,)
        The order: patient i ends with `moved[order[i]]`.

    Raises
    ------
    RuntimeError
        If the goal isn't met within STEPS swaps.

    References
    ----------
    Morris, The breakout method for escaping from local minima, AAAI 1993.
    """
    order = np.arange(len(seats))
    block = np.zeros(len(seats), int) if block is None else block
    neighbours = _Neighbours(block)
    usual = np.array([_commonest(column) for column in moved.T])
    error, weight = seats.T @ moved - goal, np.ones(seats.shape[1])
    for _ in range(STEPS):
        wrong = np.abs(error) > near
        if not wrong.any():
            return order
        # most patients may carry the same (be left out of a small sample, say): a pair of them is of no use
        what = rng.choice(np.flatnonzero(wrong.any(axis=0)))
        one = rng.choice(np.flatnonzero(moved[order, what] != usual[what]), BATCH)
        other = neighbours.draw(one, rng)
        seat_step, moved_step = seats[one] - seats[other], moved[order[other]] - moved[order[one]]
        size = (seat_step**2 @ weight) * (moved_step**2).sum(axis=1)
        # by how much the weighted sum of squared errors grows
        growth = size + 2 * ((seat_step @ (weight[:, None] * error)) * moved_step).sum(axis=1)
        growth[(size == 0) | (moved_step[:, what] == 0)] = np.inf
        best = int(growth.argmin())
        if growth[best] <= 0:
            i, j = one[best], other[best]
            error += np.outer(seat_step[best], moved_step[best])
            order[i], order[j] = order[j], order[i]
        else:  # a dead end: what is still wrong counts more from here on
            weight += wrong.any(axis=1)
    raise RuntimeError(f"no way found to share out {len(seats)} patients: off by {np.abs(error).max():.3g}")


def _commonest(values: np.ndarray) -> float:
    found, sizes = np.unique(values, return_counts=True)
    return found[sizes.argmax()]


class _Neighbours:
    """Who is in the same block."""

    def __init__(self, block: np.ndarray) -> None:
        self.sorted = np.argsort(block, kind="stable")
        _, self.block, self.size = np.unique(block, return_inverse=True, return_counts=True)
        self.start = np.cumsum(self.size) - self.size

    def draw(self, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One patient, of the same block, for each of `patients` (n,)."""
        block = self.block[patients]
        place = self.start[block] + (rng.random(len(patients)) * self.size[block]).astype(int)
        return self.sorted[place]
