"""Count what lies in a competition folder and say what is missing; writes describe.json into the cache."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag, RawFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(CacheFlag, RawFlag):
    """Flags of describe.py."""


def main(flags: Flags) -> None:
    """Count, print, write.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.preprocessing.describe import describe_folder

    describe_folder(flags.raw, flags.cache)


if __name__ == "__main__":
    cli.run(main, Flags)
