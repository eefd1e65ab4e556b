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
    """A random generator for one sample: the same key gives the same numbers in any process."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(stream), *key]))


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's own numbers (dropout) in one step of one process."""
    return (seed * 1_000_003 + step) * 64 + rank
