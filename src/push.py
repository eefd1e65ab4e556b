"""Send what a Kaggle kernel needs, check that it arrived, and start the kernel."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import BundleFlag, KaggleFlag, KernelFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(KaggleFlag, KernelFlag, BundleFlag):
    """Flags of push.py."""


def main(flags: Flags) -> None:
    """Send and start.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.account import Account
    from cspine.kaggle.push import Polling, push

    push(Account(flags.owner, flags.name), flags.kernel, flags.bundle, Polling(flags.poll_s))


if __name__ == "__main__":
    cli.run(main, Flags)
