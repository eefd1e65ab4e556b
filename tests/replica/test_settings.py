"""Settings that can't be meant are refused before anything is written."""

import pytest
from pydantic import ValidationError

from replica.settings import ReplicaSettings


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0.1}, {"size": 1.2}, {"train": -1}, {"severity": (0.9, 0.1)}, {"severity": (0.0, 2.5)},
     {"seed": -1}, {"mask_share": 2.0}, {"train": 0, "public": 0, "private": 0}],
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
