"""Random numbers that belong to what they are for: never shared, and the same wherever they are drawn."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from cspine.settings.presets import Preset
from cspine.training.randomness import Stream, generator, step_seed

SRC = Path(__file__).parents[2] / "src"
KEYS = [(0, Stream.ORDER, 0), (0, Stream.STUDY, 1, 0, 5), (403, Stream.VOLUME, 12, 3, 86)]


def draw(seed, stream, *key):
    return tuple(generator(seed, stream, *key).integers(2**63, size=4).tolist())


def test_streams_are_distinct():
    """An enum takes a second name for the same number without a word."""
    numbers = [stream.value for stream in Stream.__members__.values()]
    assert len(set(numbers)) == len(numbers) > 1
    assert len({draw(3, stream, 1, 0, 5) for stream in Stream}) == len(numbers)


def test_every_part_of_a_key_counts():
    keys = list(product(range(3), list(Stream), range(3), range(3), range(3)))
    assert len({draw(*key) for key in keys}) == len(keys)


def test_the_same_key_gives_the_same_numbers_in_another_process():
    code = (
        "import json\nfrom cspine.training.randomness import Stream, generator\n"
        f"keys = {[(seed, int(stream), *key) for seed, stream, *key in KEYS]}\n"
        "print(json.dumps([generator(s, Stream(t), *k).integers(2**63, size=4).tolist() for s, t, *k in keys]))"
    )
    there = [
        subprocess.run([sys.executable, "-c", code], cwd=SRC, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    here = [list(draw(*key)) for key in KEYS]
    assert [json.loads(done.stdout) for done in there] == [here, here]


def test_drawing_elsewhere_changes_nothing():
    """Neither the global generators nor one of another key have a say."""
    before = draw(*KEYS[1])
    np.random.seed(1)
    torch.manual_seed(1)
    generator(*KEYS[0]).random(100)
    assert draw(*KEYS[1]) == before


def test_keys_below_zero_are_refused():
    """Epoch -1 asks for a sample without variation; whoever forgets to add 1 must not get numbers."""
    with pytest.raises(ValueError):
        generator(0, Stream.STUDY, -1, 0, 0)


def test_no_two_steps_or_processes_share_a_seed():
    """Within two folds, whose seeds are neighbours, and at the far end of a long run."""
    steps = [*range(300), *range(999_700, 1_000_000)]
    seeds = [step_seed(seed, step, rank) for seed in (400, 401) for step in steps for rank in range(64)]
    assert len(set(seeds)) == len(seeds)


def test_torch_takes_the_seed_of_any_step():
    largest = Preset(seed=2**31 - 1).fold_seed(99)
    torch.manual_seed(step_seed(largest, 1_000_000, 63))
    far = torch.rand(1)
    torch.manual_seed(step_seed(largest, 1_000_000, 62))
    assert torch.rand(1) != far
