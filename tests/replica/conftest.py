"""One small replica, written once for all tests of the replica."""

from pathlib import Path

import pytest

from replica.settings import ReplicaSettings
from replica.writer.folder import replicate


def tiny(out: Path, **changes) -> ReplicaSettings:
    """Settings of the smallest useful replica; every fracture plain, every study annotated."""
    values = {
        "train": 6, "public": 1, "private": 1, "size": 0.125, "seed": 3, "severity": (0.8, 1.0),
        "mask_share": 1.0, "box_share": 1.0, "workers": 1, **changes,
    }  # fmt: skip
    return ReplicaSettings(out=out, **values)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A written replica of eight studies, 64 x 64."""
    out = tmp_path_factory.mktemp("replica") / "small"
    replicate(tiny(out))
    return out
