"""Weigh several runs against each other; writes a folder that can be asked and pushed like a run."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import RawFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(RawFlag):
    """Flags of blend.py; the runs have the same split, and `make cv` was run for each."""

    runs: tuple[Path, ...] = ()
    """At least two runs' folders."""
    out: Path = Path("data/runs/blend")
    """The blend's folder: blend.json, oof_logits.csv, oof.csv, calibration.json."""


def main(flags: Flags) -> None:
    """Read every run's held-out logits, fit the weights, compare, and write.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.evaluation.blend import blend_runs

    blend_runs(flags.raw, flags.runs, flags.out)


if __name__ == "__main__":
    cli.run(main, Flags)
