"""Say what a preset needs before anything is trained: memory, arithmetic, hours"""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import PresetFlag
from cspine.settings.presets import PRESETS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(PresetFlag):
    """Flags of plan.py."""


def main(flags: Flags) -> None:
    """Count and print.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.training.cost import describe_cost

    print(describe_cost(flags.preset, PRESETS[flags.preset]))


if __name__ == "__main__":
    cli.run(main, Flags)
