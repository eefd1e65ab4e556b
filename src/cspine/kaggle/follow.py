"""Follow a kernel on Kaggle, fetch what it left, and submit its version."""

import contextlib
import json
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cspine import cli, storage
from cspine.competition.labels import SLUG
from cspine.competition.submission import check
from cspine.competition.tables import read_sample, read_submission
from cspine.errors import InputError
from cspine.kaggle.account import Account, Sent
from cspine.kaggle.client import KaggleClient
from cspine.kaggle.push import SENT, Polling
from cspine.kaggle.stage import marker_of
from cspine.settings.flags import KernelName
from cspine.settings.layout import FALLBACKS, FOLD_LOGITS, INFERENCE_REPORT, SUBMISSION

FETCHED = "|".join((SUBMISSION, INFERENCE_REPORT, FALLBACKS, FOLD_LOGITS, r"cspine-\w+\.json"))
"""The files that are fetched: what a person reads, none of the gigabytes that the next kernel takes over."""
LAST_LINES = 20
"""Of a log, that are shown."""
SCORED_WITHIN_S = 10 * 3600.0


@dataclass(frozen=True)
class Following:
    """Which kernel is followed, and how."""

    kernel: KernelName
    """The kernel."""
    bundle: Path
    """Where it was noted what was sent."""
    raw: Path
    """The competition folder, for its sample; without it the sample is fetched."""
    out: Path
    """The folder for what is fetched, one a kernel."""


def follow(account: Account, following: Following, polling: Polling | None = None) -> int:
    """Wait until a kernel has ended, fetch its log and its small files, check the submission.

    Parameters
    ----------
    account : Account
        In whose name.
    following : Following
        Which kernel.
    polling : Polling, optional
        How often Kaggle is asked; without one it is asked once.

    Returns
    -------
    int
        The version that was sent last, 0 if it is not known here.

    Raises
    ------
    InputError
        If there is no such kernel, it failed, or its submission is not valid.
    """
    client, ref = KaggleClient(), account.ref(following.kernel)
    account.check_login(client)
    sent = Sent(following.bundle / SENT)
    version = int(sent.of(ref).get("version", 0))
    state = _ended(client, ref, polling)
    if state in ("running", "queued", "new_script"):
        print(f"{ref}: {state}, version {version or 'unknown'}; what it leaves is fetched when it has ended")
        return version
    folder = following.out / following.kernel
    with storage.locked(folder, "kaggle-status"):
        for old in folder.glob("*.*"):
            old.unlink()
        client.ask("kernels", "output", ref, "-p", str(folder), "--file-pattern", f"^({FETCHED})$", "--force")
        for line in last_lines(folder / f"{ref.split('/')[1]}.log"):
            print(f"  {line}")
        if state != "complete":
            failure = (client.kernel(ref) or ("", ""))[1]
            raise InputError(
                f"{ref}: ended as {state}{': ' + failure if failure else ''}; its last lines are above, the rest in "
                f"{folder}"
            )
        facts: dict[str, Any] = {}
        if following.kernel == "inference":
            facts = _check_submission(client, folder, following.raw)
        else:
            facts = _check_stage(folder, following.kernel)
    if facts.get("complete", True):
        sent.note(ref, complete=version)
    cli.log_stage("status", read=ref, wrote=folder, state=state, version=version or "unknown", **facts)
    return version


def _ended(client: KaggleClient, ref: str, polling: Polling | None) -> str:
    """Wait for the end of a kernel's newest version."""
    began = told = time.monotonic()
    while True:
        state = client.kernel(ref)
        if state is None:
            raise InputError(f"{ref}: not on Kaggle; `make push KERNEL={ref.rsplit('-', 1)[1]}` sends it")
        if polling is None or state[0] not in ("running", "queued", "new_script", "cancel_requested"):
            return state[0]
        if time.monotonic() - told > cli.LOG_EVERY_S:
            told = time.monotonic()
            print(f"{ref}: {state[0]} since {cli.duration(told - began)} at least", flush=True)
        time.sleep(polling.every_s)


def last_lines(log: Path) -> list[str]:
    """Read the end of a kernel's log, which Kaggle gives as JSON or as text.

    Parameters
    ----------
    log : Path
        The file, which need not exist.

    Returns
    -------
    list of str
        Up to `LAST_LINES` lines.
    """
    if not log.is_file():
        return ["(Kaggle gave no log)"]
    text = log.read_text(encoding="utf-8", errors="replace")
    with contextlib.suppress(json.JSONDecodeError, AttributeError, TypeError):  # else it is text
        text = "".join(str(entry.get("data", "")) for entry in json.loads(text))
    return [line for line in text.splitlines() if line.strip()][-LAST_LINES:]


def _check_submission(client: KaggleClient, folder: Path, raw: Path) -> dict[str, Any]:
    """Compare the fetched submission with the sample, and read what the kernel noted."""
    made = folder / SUBMISSION
    if not made.is_file():
        raise InputError(f"{folder}: the kernel's output holds no {SUBMISSION}; its log is above")
    with tempfile.TemporaryDirectory() as temporary:
        if not (raw / "sample_submission.csv").is_file():
            client.ask("competitions", "download", SLUG, "-f", "sample_submission.csv", "-p", temporary)
            raw = Path(temporary)
        check(read_submission(made), read_sample(raw), made)
    report = storage.read_json(folder / INFERENCE_REPORT)
    rehearsal = report.get("rehearsal") or {}
    return {
        "rehearsed": rehearsal.get("studies", 0),
        "of them on constants": rehearsal.get("on_constants", 0),
        "hours for the scoring run": rehearsal.get("hours_for_1093_studies", "unknown"),
    }


def _check_stage(folder: Path, stage: str) -> dict[str, Any]:
    """Read what a stage's kernel says of its output."""
    path = folder / marker_of(stage)
    if not path.is_file():
        raise InputError(f"{folder}: the kernel's output holds no {path.name}; its log is above")
    summary = storage.read_json(path)
    if summary["problem"]:
        raise InputError(
            f"{stage}: {summary['problem']}; what was done is kept ({summary['done']}), `make push KERNEL={stage}` "
            "goes on from it"
        )
    if not summary["complete"]:
        print(f"{stage} is not complete: `make push KERNEL={stage}` goes on from here")
    return {
        "done": summary["done"],
        "failed": len(summary["failed"]),
        "complete": summary["complete"],
        "hours": summary["hours"],
        "GB": summary["gigabytes"],
    }


def submit(account: Account, following: Following, message: str, polling: Polling | None = None) -> None:
    """Submit the version of the inference kernel that was pushed last, once; print its scores when they come.

    Parameters
    ----------
    account : Account
        In whose name.
    following : Following
        The inference kernel.
    message : str
        What the submission is called in the list.
    polling : Polling, optional
        How often Kaggle is asked; without one it is asked once.

    Raises
    ------
    InputError
        If no version was pushed from here, it has not finished or not well, or scoring failed.
    """
    client, ref = KaggleClient(), account.ref("inference")
    sent = Sent(following.bundle / SENT)
    version = int(sent.of(ref).get("version", 0))
    if not version:
        raise InputError(
            f"{ref}: no version of it was sent from here; `make push` sends one and notes its number"
        )
    number = sent.of(ref).get("submissions", {}).get(str(version))
    if number is None:
        follow(account, following)
        sent = Sent(following.bundle / SENT)
        if sent.of(ref).get("complete") != version:
            raise InputError(f"{ref}: version {version} has not finished; `make kaggle-status` follows it")
        words = ["competitions", "submit", SLUG, "-k", ref, "-v", str(version), "-f", SUBMISSION]
        said = client.ask(*words, "-m", message or f"{ref} version {version}")
        found = re.search(r"Submission ref: (\d+)", said)
        if found is None:
            raise InputError(
                f"kaggle competitions submit: expected a submission's number, found {said[:300]!r}"
            )
        number = found.group(1)
        submissions = {**sent.of(ref).get("submissions", {}), str(version): number}
        sent.note(ref, submissions=submissions)
        print(f"submitted version {version} of {ref} as {number}", flush=True)
    _tell_scores(client, number, polling)


def _tell_scores(client: KaggleClient, number: str, polling: Polling | None) -> None:
    """Print the scores of a submission, waiting for them as long as scoring may take."""
    began = told = time.monotonic()
    while True:
        rows = client.table("competitions", "submissions", SLUG)
        row: dict[str, Any] = next((row for row in rows if str(row.get("ref")) == number), {})
        state = str(row.get("status", "pending")).rsplit(".", 1)[-1].lower()
        if state == "complete":
            print(
                f"submission {number}: public {row.get('publicScore') or 'not told'}, "
                f"private {row.get('privateScore') or 'not told'}"
            )
            return
        if state == "error":
            raise InputError(
                f"submission {number}: scoring failed; the kernel writes a valid file before all else, so look at its "
                "page on Kaggle: an exception or the time limit is told there"
            )
        if polling is None or time.monotonic() - began > SCORED_WITHIN_S:
            print(f"submission {number}: {state}; `make submit` asks again and submits nothing twice")
            return
        if time.monotonic() - told > cli.LOG_EVERY_S:
            told = time.monotonic()
            print(f"submission {number}: {state} since {cli.duration(told - began)}", flush=True)
        time.sleep(polling.every_s)
