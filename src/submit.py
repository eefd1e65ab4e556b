"""Submit the version of the inference kernel that was pushed last, and print its scores when they come."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import BundleFlag, KaggleFlag, RawFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(KaggleFlag, BundleFlag, RawFlag):
    """Flags of submit.py."""

    fetched: Path = Path("data/kaggle/fetched")
    """The folder for what is fetched, one a kernel."""
    message: str = ""
    """What the submission is called in the list; by default the kernel and its version."""
    once: bool = False
    """Ask for the scores once instead of waiting for them."""


def main(flags: Flags) -> None:
    """Submit once, then wait.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.kaggle.account import Account
    from cspine.kaggle.follow import Following, submit
    from cspine.kaggle.push import Polling

    following = Following("inference", flags.bundle, flags.raw, flags.fetched)
    polling = None if flags.once else Polling(flags.poll_s)
    submit(Account(flags.owner, flags.name), following, flags.message, polling)


if __name__ == "__main__":
    cli.run(main, Flags)
