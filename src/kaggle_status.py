"""Follow a Kaggle kernel until it has ended, fetch its log and its small files, check its submission."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import BundleFlag, KaggleFlag, KernelFlag, RawFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(KaggleFlag, KernelFlag, BundleFlag, RawFlag):
    """Flags of kaggle_status.py."""

    fetched: Path = Path("data/kaggle/fetched")
    """The folder for what is fetched, one a kernel."""
    once: bool = False
    """Ask once instead of waiting for the end."""


def main(flags: Flags) -> None:
    """Follow and fetch.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.account import Account
    from cspine.kaggle.follow import Following, follow
    from cspine.kaggle.push import Polling

    following = Following(flags.kernel, flags.bundle, flags.raw, flags.fetched)
    follow(Account(flags.owner, flags.name), following, None if flags.once else Polling(flags.poll_s))


if __name__ == "__main__":
    cli.run(main, Flags)
