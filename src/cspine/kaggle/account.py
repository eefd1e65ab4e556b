"""An account on Kaggle: the names of its datasets and kernels, and what was sent when."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cspine import storage
from cspine.errors import InputError
from cspine.kaggle.client import KaggleClient

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])")
"""A Kaggle user name, or the name of a dataset or a kernel."""


@dataclass(frozen=True)
class Account:
    """Whose the datasets and kernels are, and how they are called."""

    owner: str
    """A Kaggle user name."""
    name: str
    """What all names begin with."""

    def __post_init__(self) -> None:
        """Refuse what can't be a name."""
        if not SLUG.fullmatch(self.owner):
            raise InputError(
                f"--owner {self.owner}: expected your Kaggle user name as it stands in the address of your page, "
                "in small letters, digits and hyphens"
            )
        if not SLUG.fullmatch(self.name) or len(self.name) > 30:
            raise InputError(f"--name {self.name}: expected up to 30 small letters, digits and hyphens")

    def ref(self, what: str) -> str:
        """Name a dataset or a kernel.

        Parameters
        ----------
        what : str
            "code" or "models", or a kernel.

        Returns
        -------
        str
            As "owner/cspine-code".
        """
        return f"{self.owner}/{self.name}-{what}"

    def check_login(self, client: KaggleClient) -> None:
        """Compare the owner with the name in which the client acts.

        Parameters
        ----------
        client : KaggleClient
            The client.

        Raises
        ------
        InputError
            If they differ, or there are no credentials.
        """
        user = client.user()
        if user.lower() != self.owner:
            raise InputError(
                f"--owner {self.owner}: the Kaggle client acts for {user}; give OWNER={user.lower()}, or log in as "
                f"{self.owner}"
            )


class Sent:
    """What was sent, in a JSON file: reference -> facts."""

    def __init__(self, path: Path):
        """Read it.

        Parameters
        ----------
        path : Path
            The file, which need not exist.

        Raises
        ------
        InputError
            If it can't be read.
        """
        self.path = path
        self.facts: dict[str, dict[str, Any]] = storage.read_json(path) if path.is_file() else {}

    def of(self, ref: str) -> dict[str, Any]:
        """Tell what is known of a dataset or kernel.

        Parameters
        ----------
        ref : str
            As "owner/slug".

        Returns
        -------
        dict
            Its facts; empty where nothing was sent.
        """
        return self.facts.get(ref, {})

    def note(self, ref: str, **facts: Any) -> None:
        """Note facts, in place of those of the same names.

        Parameters
        ----------
        ref : str
            As "owner/slug".
        **facts : object
            What JSON can hold.
        """
        self.facts[ref] = {**self.of(ref), **facts}
        storage.write_json(self.path, self.facts)
