"""Where random numbers come from: a seed, what they are for, and which sample or step they belong to."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are drawn for; the same sample draws others for another purpose."""

    ORDER = 1
    """The order of an epoch's samples."""
    STUDY = 2
    """How a study's stacks are varied."""
    VOLUME = 3
    """How a locator's volume is varied."""
    VERTEBRA = 4
    """Which whole vertebra is shown, and how a vertebra's stack is varied."""


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Make a random generator for one sample: the same key gives the same numbers in any process.

    Parameters
    ----------
    seed : int
        The run's or the fold's seed.
    stream : Stream
        What the numbers are drawn for.
    *key : int
        Which sample, for example (epoch + 1, repeat, study); none of them below 0.

    Returns
    -------
    numpy.random.Generator
        A new one, at its start.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, int(stream), *key]))


def step_seed(seed: int, step: int, rank: int) -> int:
    """Compute the seed of torch's own numbers (dropout) in one step of one process.

    Parameters
    ----------
    seed : int
        The fold's seed.
    step : int
        The step's number, counted over all epochs.
    rank : int
        The process's number, below 64.

    Returns
    -------
    int
        The seed; another one for each step and each process.
    """
    return (seed * 1_000_003 + step) * 64 + rank
