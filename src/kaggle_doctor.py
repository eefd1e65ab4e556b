"""Look at everything that a push to Kaggle depends on: client, credentials, rules, quota, names, bundle."""

from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import BundleFlag, KaggleFlag
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(KaggleFlag, BundleFlag):
    """Flags of kaggle_doctor.py."""


def main(flags: Flags) -> None:
    """Print a line for each thing, with what to do.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    from cspine.findings import report
    from cspine.kaggle.account import Account
    from cspine.kaggle.doctor import examine

    report(examine(Account(flags.owner, flags.name), flags.bundle), "to push")


if __name__ == "__main__":
    cli.run(main, Flags)
