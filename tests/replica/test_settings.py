"""Settings that can't be meant are refused before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from replica.settings import ReplicaSettings

SRC = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0.1}, {"size": 1.2}, {"train": -1}, {"severity": (0.9, 0.1)}, {"severity": (0.0, 2.5)},
     {"seed": -1}, {"mask_share": 2.0}, {"split": "odd"}, {"public": 1.5}, {"private": 100_001},
     {"train": 0, "public": 0, "private": 0}],
)  # fmt: skip
def test_out_of_range_is_refused(tmp_path, wrong):
    with pytest.raises(ValidationError):
        ReplicaSettings(out=tmp_path, **wrong)


@pytest.mark.parametrize(("size", "matrix"), [(1.0, 512), (0.375, 192), (0.125, 64), (0.3, 152)])
def test_matrix_is_a_multiple_of_eight(tmp_path, size, matrix):
    assert ReplicaSettings(out=tmp_path, size=size).matrix == matrix


def test_where_and_with_how_many_workers_do_not_count(tmp_path):
    one, two = ReplicaSettings(out=tmp_path, workers=1), ReplicaSettings(out=tmp_path / "b", workers=2)
    assert one.fingerprint() == two.fingerprint()
    assert one.fingerprint() != ReplicaSettings(out=tmp_path, seed=1).fingerprint()


def test_the_split_counts(tmp_path):
    assert ReplicaSettings(out=tmp_path).split == "published"
    even = ReplicaSettings(out=tmp_path, split="even")
    assert even.fingerprint() != ReplicaSettings(out=tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("flags", "said"), [(["--train", "-5"], "-5"), (["--split", "odd"], "odd"), (["--public", "1.5"], "1.5")]
)
def test_the_script_refuses_with_2_and_writes_nothing(tmp_path, flags, said):
    out = tmp_path / "new"
    run = subprocess.run(
        [sys.executable, str(SRC / "replicate.py"), *flags, "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert said in run.stderr
    assert flags[0].lstrip("-") in run.stderr
    assert "Traceback" not in run.stderr
    assert not out.exists()
