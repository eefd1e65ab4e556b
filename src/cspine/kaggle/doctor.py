"""Look at everything that a push depends on, and say what to do about each thing that is not right."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

from cspine import storage
from cspine.competition.labels import SLUG
from cspine.errors import InputError
from cspine.findings import Finding, find
from cspine.kaggle.account import Account
from cspine.kaggle.bundle import LIMIT_BYTES, uncommitted
from cspine.kaggle.client import PINNED, KaggleClient, Refused, installed
from cspine.kaggle.marker import HALVES, sizes_of
from cspine.kaggle.packages import fits
from cspine.kaggle.wheels import PYTHONS
from cspine.settings.flags import KernelName

GPU_HOURS = 12.0
"""What a session of a GPU kernel may take."""
CREDENTIALS = (
    ("environment variable KAGGLE_API_TOKEN", lambda home: "KAGGLE_API_TOKEN" in os.environ),
    ("file access_token", lambda home: (home / "access_token").is_file()),
    (
        "environment variables KAGGLE_USERNAME and KAGGLE_KEY",
        lambda home: {"KAGGLE_USERNAME", "KAGGLE_KEY"} <= set(os.environ),
    ),
    ("file kaggle.json", lambda home: (home / "kaggle.json").is_file()),
    ("a login in the browser", lambda home: (home / "credentials.json").is_file()),
)
"""Kinds of credentials in the client's order, and whether there are such."""


def examine(account: Account, bundle: Path) -> list[Finding]:
    """Look at everything.

    Parameters
    ----------
    account : Account
        In whose name.
    bundle : Path
        What `make bundle` made.

    Returns
    -------
    list of Finding
        In the order in which they matter; after a missing client or login, Kaggle isn't asked.
    """
    client = KaggleClient()
    online: list[tuple[str, Callable[[], str]]] = [
        ("login", lambda: _login(account, client)),
        ("rules", lambda: _rules(client)),
        ("quota", lambda: _quota(client)),
        ("datasets", lambda: _datasets(account, client)),
        ("kernels", lambda: _kernels(account, client)),
    ]
    findings = [find("client", _client), find("credentials", _credentials)]
    for subject, look in online:
        if all(finding.is_right for finding in findings[:3]):
            findings.append(find(subject, look))
    findings.append(find("bundle", lambda: _bundle(bundle)))
    findings.append(find("python", lambda: _python(bundle)))
    findings.append(find("tree", _tree))
    return findings


def examine_credentials() -> Finding:
    """Look whether there are credentials, which only Kaggle's own commands need.

    Returns
    -------
    Finding
        Their kind, never a value; advice where there are none.
    """
    found = find("kaggle", _credentials)
    return found if found.is_right else replace(found, is_right=True, is_advice=True)


def _client() -> str:
    version = installed()
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < tuple(
        map(int, PINNED.split("."))
    ):
        raise InputError(
            f"the Kaggle client is {version}: before {PINNED} it lost files silently; install kaggle=={PINNED}"
        )
    return f"version {version}" + ("" if version == PINNED else f", tried with {PINNED}")


def _credentials() -> str:
    home = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle"))
    found = [kind for kind, has in CREDENTIALS if has(home)]
    if not found:
        raise InputError(
            "none found; make a token on your Kaggle settings page (API, Generate New Token) and save it as "
            "~/.kaggle/access_token, or run `.venv/bin/kaggle auth login`"
        )
    for path in (home / "access_token", home / "kaggle.json"):
        if path.is_file() and path.stat().st_mode & 0o077:
            raise InputError(f"{path} can be read by others; `chmod 600 {path}`")
    return found[0] + (f" (also there, not used: {', '.join(found[1:])})" if found[1:] else "")


def _login(account: Account, client: KaggleClient) -> str:
    account.check_login(client)
    return f"as {account.owner}"


def _rules(client: KaggleClient) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            client.ask("competitions", "download", SLUG, "-f", "sample_submission.csv", "-p", folder)
        except Refused as error:
            if error.status != 403:
                raise
            raise InputError(
                f"not accepted: open the competition's page ({SLUG}), choose Late Submission, and accept its rules"
            ) from error
    return "of the competition are accepted"


def _quota(client: KaggleClient) -> str:
    rows = client.table("quota")
    row = next((row for row in rows if row.get("resource") == "GPU"), None)
    if row is None:
        raise InputError(
            "Kaggle tells no GPU quota; confirm your phone number in your Kaggle settings, it comes with it"
        )
    left = float(str(row["remaining"]).rstrip("h"))
    if left < 1:
        raise InputError(
            f"{left:.1f} GPU hours are left; they are filled up again at {row.get('refreshAt') or '?'}"
        )
    hint = "" if left >= GPU_HOURS else f", less than the {GPU_HOURS:.0f} of a whole session of `train`"
    return f"{left:.1f} GPU hours are left this week{hint}"


def _datasets(account: Account, client: KaggleClient) -> str:
    words = []
    for half in HALVES:
        state = client.dataset(account.ref(half))
        words.append(f"{account.ref(half)} {'not there yet' if state is None else state.status}")
        if state is not None and state.is_broken:
            raise InputError(f"{words[-1]}; `make push` sends a new version")
    return ", ".join(words) + "; licence other"


def _kernels(account: Account, client: KaggleClient) -> str:
    states = {}
    for kernel in get_args(KernelName):
        state = client.kernel(account.ref(kernel))
        states[kernel] = "not there yet" if state is None else state[0]
    return ", ".join(f"{kernel} {state}" for kernel, state in states.items())


def _bundle(bundle: Path) -> str:
    markers = [bundle / half / HALVES[half] for half in HALVES]
    there = [marker for marker in markers if marker.is_file()]
    if markers[0] not in there:
        raise InputError(f"{bundle}: none there; `make bundle` puts it together")
    sizes = [size for marker in there for size in sizes_of(marker).values()]
    if sum(sizes) > LIMIT_BYTES:
        raise InputError(f"{sum(sizes) / 1e9:.1f} GB, expected less than {LIMIT_BYTES / 1e9:.0f}")
    kinds = (
        "code and models" if len(there) == 2 else "code alone, the models come from the kernel that trains"
    )
    git = storage.read_json(markers[0]).get("git", "unknown")
    return f"{kinds}, {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB, of commit {git[:12]}"


def _python(bundle: Path) -> str:
    wheels = sorted((bundle / "code" / "wheels").glob("*.whl"))
    for version in PYTHONS:
        major, minor = (int(word) for word in version.split("."))
        if not [wheel for wheel in wheels if fits(wheel, (major, minor))]:
            raise InputError(
                f"no wheel for Python {version} in the bundle; `make wheels`, then `make bundle`"
            )
    return f"wheels for {' and '.join(PYTHONS)}; Kaggle's image has {PYTHONS[0]}"


def _tree() -> str:
    changed = uncommitted()
    return f"{len(changed)} files are not as committed" if changed else "as committed"
