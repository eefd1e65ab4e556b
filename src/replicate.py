"""Write a replica: a synthetic competition with the files, headers, quirks and statistics of the real one."""

import sys
import time

from cspine import cli
from replica.settings import ReplicaError, ReplicaSettings


def main(settings: ReplicaSettings) -> None:
    """Write or finish the replica, and say what is there.

    Parameters
    ----------
    settings : ReplicaSettings
        The checked flags of the command line.
    """
    from replica.writer.folder import replicate

    start = time.monotonic()
    try:
        counts = replicate(settings)
    except ReplicaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    cli.log_stage(
        "replica",
        read=f"seed {settings.seed}",
        wrote=settings.out,
        **counts,
        seconds=round(time.monotonic() - start),
    )


if __name__ == "__main__":
    cli.run(main, ReplicaSettings)
