"""The genuine Kaggle client in a process of its own: its text is read, its exit code is not trusted."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cspine import cli
from cspine.errors import InputError

PINNED = "2.2.5"
"""The first version that ends with an error when a file's upload fails (kaggle-cli 1150)."""
SECRETS = ("KAGGLE_KEY", "KAGGLE_API_TOKEN")
"""Environment variables whose values are never printed."""
MEANING = {
    401: "Kaggle doesn't know these credentials; `make kaggle-doctor` tells which are used and how to renew them",
    403: "Kaggle forbids it: the rules of the competition may not be accepted, the name may be another user's, or the "
    "first version of a dataset may still be in the making; `make kaggle-doctor` looks at each",
    404: "Kaggle finds nothing of that name; `make kaggle-doctor` looks at each name",
    429: "Kaggle has had too many requests from this account; wait a few minutes and give the command again",
    500: "Kaggle failed; where a dataset of this name was deleted before, its name can't be used again: give another "
    "with NAME=, else try again later",
    503: "Kaggle can't be reached at the moment; give the command again later, what has arrived is not sent twice",
}
"""HTTP status -> what it means here and what to do."""
HINTS = {
    "Authentication required": 401,
    "You don't have access to this resource": 403,
    " was denied": 403,
    "The resource was not found": 404,
    "Could not find competition": 404,
    "You have been rate limited": 429,
    "This is a problem on Kaggle's side": 500,
    "Max retries exceeded": 503,
}
"""What the client says in place of a status -> that status."""


class Refused(InputError):
    """What Kaggle or its client did not do."""

    def __init__(self, words: str, status: int):
        """Note the status.

        Parameters
        ----------
        words : str
            What happened.
        status : int
            HTTP status, or 0.
        """
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class DatasetState:
    """Of a dataset on Kaggle."""

    status: str
    """As "ready"."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be attached."""
        return self.status == "ready"

    @property
    def is_broken(self) -> bool:
        """Whether waiting is in vain."""
        return self.status in ("failed", "deleted", "error")


class KaggleClient:
    """Asks the client that is installed beside this Python."""

    def ask(self, *words: str, shown: bool = False) -> str:
        """Give the client a command.

        Parameters
        ----------
        *words : str
            What follows `kaggle`.
        shown : bool
            Whether its progress bars are shown on a terminal.

        Returns
        -------
        str
            What it printed.

        Raises
        ------
        Refused
            If it says, by its exit code or its words, that it failed.
        """
        command = [sys.executable, "-m", "kaggle", "-W", *words]
        errors: list[bytes] = []
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout and process.stderr
            copy = threading.Thread(
                target=_collect, args=(process.stderr, errors, shown and cli.on_terminal())
            )
            copy.start()
            said = process.stdout.read().decode(errors="replace")
            copy.join()
        failed = b"".join(errors).decode(errors="replace")
        if process.returncode or _confesses(said):
            raise _refused(words, without_secrets(said), without_secrets(failed))
        return without_secrets(said)

    def table(self, *words: str) -> list[dict[str, Any]]:
        """Give a command that prints a table, page after page where there are several.

        Parameters
        ----------
        *words : str
            What follows `kaggle`.

        Returns
        -------
        list of dict
            Its rows.

        Raises
        ------
        Refused
            If it failed, or printed no table.
        """
        rows: list[dict[str, Any]] = []
        token: list[str] = []
        while True:
            said = self.ask(*words, "--format", "json", *token)
            begins = said.find("[")
            if begins < 0:
                return rows
            try:
                rows += json.loads(said[begins:])
            except json.JSONDecodeError as error:
                raise Refused(
                    f"kaggle {' '.join(words)}: expected a table, found {said[:200]!r}", 0
                ) from error
            following = re.search(r"^Next Page Token = (\S+)", said[:begins], re.MULTILINE)
            if following is None:
                return rows
            token = ["--page-token", following.group(1)]

    def user(self) -> str:
        """Ask in whose name the client acts.

        Returns
        -------
        str
            A user name.

        Raises
        ------
        Refused
            If there are no credentials.
        """
        found = re.search(r"^- username: (\S+)", self.ask("config", "view"), re.MULTILINE)
        if found is None or found.group(1) == "None":
            raise Refused("the Kaggle client has no user name: " + MEANING[401], 401)
        return found.group(1)

    def dataset(self, ref: str) -> DatasetState | None:
        """Ask for the state of a dataset.

        Parameters
        ----------
        ref : str
            As "owner/slug".

        Returns
        -------
        DatasetState or None
            None where there is no such dataset of ours: Kaggle says 403 or 404.

        Raises
        ------
        Refused
            If Kaggle can't be asked.
        """
        try:
            return DatasetState(self.ask("datasets", "status", ref).strip().lower())
        except Refused as error:
            if error.status in (403, 404):
                return None
            raise

    def dataset_version(self, ref: str) -> int:
        """Ask for the newest version of a dataset.

        Parameters
        ----------
        ref : str
            As "owner/slug".

        Returns
        -------
        int
            Its number.

        Raises
        ------
        Refused
            If Kaggle can't be asked.
        """
        said = self.ask("datasets", "status", ref, "--format", "json(current_version_number)")
        return int(json.loads(said)["current_version_number"] or 0)

    def dataset_files(self, ref: str) -> dict[str, int]:
        """Ask what a dataset holds.

        Parameters
        ----------
        ref : str
            As "owner/slug".

        Returns
        -------
        dict of str to int
            Path -> bytes.

        Raises
        ------
        Refused
            If Kaggle can't be asked.
        """
        rows = self.table("datasets", "files", ref, "--page-size", "200")
        return {row["name"]: int(row["size"]) for row in rows}

    def kernel(self, ref: str) -> tuple[str, str] | None:
        """Ask for the state of a kernel's newest version.

        Parameters
        ----------
        ref : str
            As "owner/slug".

        Returns
        -------
        tuple of str or None
            Its status, as "complete", and why it failed; None where there is no such kernel of ours.

        Raises
        ------
        Refused
            If Kaggle can't be asked.
        """
        try:
            said = self.ask("kernels", "status", ref)
        except Refused as error:
            if error.status in (403, 404):
                return None
            raise
        found = re.search(r'has status "(?:KernelWorkerStatus\.)?(\w+)"', said)
        if found is None:
            raise Refused(f"kaggle kernels status {ref}: no status in {said[:200]!r}", 0)
        why = re.search(r'Failure message: "(.*)"', said, re.DOTALL)
        return found.group(1).lower(), why.group(1) if why else ""


def installed() -> str:
    """Tell which version of the client is installed.

    Returns
    -------
    str
        As "2.2.5".

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        return importlib.metadata.version("kaggle")
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"the Kaggle client is not installed in this Python; `{Path(sys.executable)} -m pip install "
            f"kaggle=={PINNED}` or `make setup` does it"
        ) from error


def without_secrets(words: str) -> str:
    """Take the values of credentials out of what is printed.

    Parameters
    ----------
    words : str
        What somebody said.

    Returns
    -------
    str
        The same, with *** in their place.
    """
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= 4:
            words = words.replace(value, "***")
    return words


def _collect(stream: IO[bytes], parts: list[bytes], shown: bool) -> None:
    """Read a stream to its end, and show it."""
    while part := stream.read1(4096):  # type: ignore[attr-defined]
        parts.append(part)
        if shown:
            sys.stderr.write(without_secrets(part.decode(errors="replace")))
            sys.stderr.flush()


def _confesses(said: str) -> bool:
    """Whether the client's words tell of a failure that its exit code does not."""
    return bool(re.search(r"\b(?:creation|push) error:|Upload unsuccessful|not valid .* sources", said))


def _refused(words: tuple[str, ...], said: str, failed: str) -> Refused:
    """Turn what the client said into an error that tells what to do."""
    version = installed()  # an error of its own if there is none
    status = next((code for hint, code in HINTS.items() if hint in said + failed), 0)
    if found := re.search(r"\b([45]\d\d) (?:Client|Server) Error", said + failed):
        status = int(found.group(1))
    lines = [
        line.strip() for line in re.split(r"[\r\n]+", failed) if not re.search(r"%\||Will retry in", line)
    ]
    told = [line.strip() for line in said.splitlines() if _confesses(line)]
    what = next((line for line in [*told, *lines] if line), f"it ended without a word on {words[-1]}")
    meaning = MEANING.get(status) or (MEANING[503] if status >= 500 else "")
    if status == 401:
        what = "authentication required"
    return Refused(
        f"kaggle {' '.join(words[:2])} (client {version}): {what}" + (f"; {meaning}" if meaning else ""),
        status,
    )
