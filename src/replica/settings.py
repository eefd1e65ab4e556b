"""What a replica is made from; two replicas with equal settings are equal byte for byte."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

VERSION = 3  # of the generator: raise it whenever the bytes of a replica change
FULL_MATRIX = 512


class ReplicaError(ValueError):
    """A replica can't be written as asked; the message says why and what to do."""


@dataclass(frozen=True)
class ReplicaSettings:
    """Flags of `replicate.py`."""

    out: Path
    """folder to write; new, empty, or a replica begun with the same settings"""
    train: Annotated[int, Field(ge=0, le=100_000)] = 2019
    """training studies"""
    public: Annotated[int, Field(ge=0, le=100_000)] = 304
    """studies of the public test set"""
    private: Annotated[int, Field(ge=0, le=100_000)] = 789
    """studies of the private test set"""
    split: Literal["published", "even"] = "published"
    """published: each set has its own share of positives and levels, as in the original; even: all sets alike"""
    coverage: Literal["published", "wide"] = "published"
    """published: necks, as in the original; wide: also heads, chests, cut necks, fields of 120 to 500 mm"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """other seed, other patients"""
    size: Annotated[float, Field(ge=0.125, le=1.0)] = 1.0
    """scale of the 512 matrix; the field of view stays, so voxels grow"""
    mask_share: Annotated[float, Field(ge=0, le=1)] = 0.043
    """share of the training studies with a vertebra mask"""
    box_share: Annotated[float, Field(ge=0, le=1)] = 0.245
    """share of the positive training studies with fracture boxes"""
    severity: tuple[Annotated[float, Field(ge=0, le=2)], Annotated[float, Field(ge=0, le=2)]] = (0.0, 1.0)
    """lowest and highest severity: 0 a hairline, 1 a gaping fracture; above 1 a caricature for quick demos"""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """processes; 0 takes every core"""
    labels_only: bool = False
    """write the tables without a single image"""

    @model_validator(mode="after")
    def _check(self) -> "ReplicaSettings":
        if self.severity[0] > self.severity[1]:
            raise ValueError(f"severity must be given as lowest, highest; found {self.severity}")
        if self.train + self.public + self.private == 0:
            raise ValueError("a replica needs at least one study")
        return self

    @property
    def matrix(self) -> int:
        """Rows and columns of a slice: a multiple of 8."""
        return max(8, round(FULL_MATRIX * self.size / 8) * 8)

    @property
    def processes(self) -> int:
        """How many processes work, with 0 resolved to the cores this process may use."""
        here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or here

    def fingerprint(self) -> dict:
        """Everything that shapes the bytes: not where they go, nor how many workers write them."""
        fields = asdict(self)
        del fields["out"], fields["workers"]
        fields["severity"] = list(self.severity)
        return {"version": VERSION, **fields}
