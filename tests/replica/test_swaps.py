"""Exchanging must meet the wanted table, keep to its blocks, and say so when there is no way."""

import numpy as np
import pytest

from replica.cohort.swaps import settle


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seats, what is carried, and a table that some order of it has."""
    rng = np.random.default_rng(seed)
    seats = (rng.random((120, 4)) < 0.4).astype(float)
    moved = np.eye(3)[rng.integers(3, size=120)]
    return seats, moved, seats.T @ moved[rng.permutation(120)]


def test_the_table_is_met_to_the_patient():
    seats, moved, goal = example()
    order = settle(seats, moved, goal, np.zeros_like(goal), np.random.default_rng(1))
    assert sorted(order) == list(range(120))
    assert (seats.T @ moved[order] == goal).all()
    assert (seats.T @ moved != goal).any()


def test_nobody_swaps_across_blocks():
    seats, moved, _ = example()
    block = np.arange(120) % 3
    swapped = np.concatenate([np.random.default_rng(2).permutation(np.arange(b, 120, 3)) for b in range(3)])
    goal_order = np.empty(120, int)
    goal_order[np.concatenate([np.arange(b, 120, 3) for b in range(3)])] = swapped
    goal = seats.T @ moved[goal_order]
    order = settle(seats, moved, goal, np.zeros_like(goal), np.random.default_rng(1), block)
    assert (block[order] == block).all()
    assert (seats.T @ moved[order] == goal).all()


def test_a_table_that_is_near_enough_is_left_alone():
    seats, moved, goal = example()
    near = np.abs(seats.T @ moved - goal)
    order = settle(seats, moved, goal, near, np.random.default_rng(1))
    assert (order == np.arange(120)).all()


def test_no_way_is_an_error(monkeypatch):
    monkeypatch.setattr("replica.cohort.swaps.STEPS", 50)
    seats, moved, goal = example()
    goal[0, 0] += 1000
    with pytest.raises(RuntimeError, match="no way"):
        settle(seats, moved, goal, np.zeros_like(goal), np.random.default_rng(1))
