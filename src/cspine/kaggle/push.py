"""Send what a kernel needs and then the kernel, and make sure that it arrived."""

import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cspine import cli, storage
from cspine.errors import InputError
from cspine.kaggle.account import Account, Sent
from cspine.kaggle.client import KaggleClient
from cspine.kaggle.marker import CODE, HALVES, sizes_of
from cspine.kaggle.stage import TAKES
from cspine.settings.flags import KernelName

KERNELS = Path("kernels")
METADATA, DATASET_METADATA = "kernel-metadata.json", "dataset-metadata.json"
OWNER = "OWNER/cspine-"
"""How the metadata files name what is ours."""
SENT = "sent.json"
"""In the bundle's folder: what was sent when."""
PATIENCE_S = 1800.0
"""How long Kaggle may take to make a dataset ready."""


@dataclass(frozen=True)
class Polling:
    """How often Kaggle is asked, and for how long."""

    every_s: float = 10.0
    patience_s: float = PATIENCE_S


def push(account: Account, kernel: KernelName, bundle: Path, polling: Polling | None = None) -> int:
    """Send the datasets that a kernel needs, as far as they are not there yet, and start the kernel.

    Parameters
    ----------
    account : Account
        In whose name.
    kernel : str
        Which kernel.
    bundle : Path
        What `make bundle` made.
    polling : Polling, optional
        How often Kaggle is asked.

    Returns
    -------
    int
        The kernel's version.

    Raises
    ------
    InputError
        If the bundle or the owner is not right, a kernel that this one needs has not finished, or something did not
        arrive.
    """
    polling, client = polling or Polling(), KaggleClient()
    halves = [half for half in HALVES if (bundle / half / HALVES[half]).is_file()]
    if "code" not in halves:
        raise InputError(f"{bundle / 'code'}: no {CODE} in it; `make bundle` puts the bundle together")
    account.check_login(client)
    metadata = kernel_metadata(account, kernel, halves)
    with storage.locked(bundle, "push"):
        sent = Sent(bundle / SENT)
        _check_sources(client, metadata["kernel_sources"])
        if kernel in TAKES and _has_output(client, metadata["id"]):
            metadata["kernel_sources"] = [*metadata["kernel_sources"], metadata["id"]]
        for ref in metadata["dataset_sources"]:
            send_half(client, ref, bundle / ref.removeprefix(account.ref("")), sent, polling)
        folder = bundle / f"kernel-{kernel}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(KERNELS / kernel / metadata["code_file"], folder / metadata["code_file"])
        storage.write_json(folder / METADATA, metadata)
        said = client.ask("kernels", "push", "-p", str(folder))
        found = re.search(r"Kernel version (\d+) successfully pushed", said)
        if found is None:
            raise InputError(f"kaggle kernels push: expected the number of a version, found {said[:300]!r}")
        version = int(found.group(1))
        git = storage.read_json(bundle / "code" / CODE).get("git", "unknown")
        sent.note(metadata["id"], version=version, git=git, at=time.strftime("%Y-%m-%d %H:%M:%S%z"))
    cli.log_stage("push", read=bundle, wrote=metadata["id"], version=version, git=git)
    print(f"it runs on Kaggle now; `make kaggle-status OWNER={account.owner} KERNEL={kernel}` follows it")
    return version


def kernel_metadata(account: Account, kernel: KernelName, halves: list[str]) -> dict[str, Any]:
    """Read a kernel's metadata and put our names into it.

    Parameters
    ----------
    account : Account
        In whose name.
    kernel : str
        Which kernel.
    halves : list of str
        Of the bundle, those that are there: without "models" they come from the kernel that trains.

    Returns
    -------
    dict
        As the client wants it.

    Raises
    ------
    InputError
        If the kernel's folder can't be read.
    """
    path = KERNELS / kernel / METADATA
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the command in the folder that holds {KERNELS}/")
    metadata = json.loads(path.read_text().replace(OWNER, account.ref("")))
    metadata["title"] = f"{account.name} {kernel}"
    models = account.ref("models")
    if models in metadata["dataset_sources"] and "models" not in halves:
        metadata["dataset_sources"].remove(models)
        metadata["kernel_sources"] = [*metadata["kernel_sources"], account.ref("train")]
    return metadata


def send_half(client: KaggleClient, ref: str, folder: Path, sent: Sent, polling: Polling) -> None:
    """Make a dataset on Kaggle hold what a folder holds, and wait until it does.

    Parameters
    ----------
    client : KaggleClient
        The client.
    ref : str
        The dataset, as "owner/slug".
    folder : Path
        A half of the bundle.
    sent : Sent
        What was sent before.
    polling : Polling
        How often Kaggle is asked.

    Raises
    ------
    InputError
        If it can't be sent, is not ready in time, or lacks a file afterwards.
    """
    marker = folder / HALVES[folder.name]
    content = hashlib.sha256(marker.read_bytes()).hexdigest()
    wanted = sizes_of(marker)
    wanted.pop(DATASET_METADATA, None)  # the client keeps that one
    megabytes = f"{sum(wanted.values()) / 1e6:.1f} MB"
    there = client.dataset(ref)
    if there is not None and not there.is_broken:
        _wait(client, ref, polling)  # a version on top of one that is still in the making is refused with 403
        if sent.of(ref).get("content") == content and not differences(wanted, client.dataset_files(ref)):
            print(f"{ref}: is there as it should be, {megabytes}")
            return
    _write_dataset_metadata(ref, folder)
    before = 0 if there is None else client.dataset_version(ref)
    print(
        f"{ref}: {'first version' if there is None else f'version {before + 1}'}, sending {megabytes}",
        flush=True,
    )
    words = ["create"] if there is None else ["version", "-m", f"content {content[:12]}"]
    said = client.ask("datasets", *words, "-p", str(folder), "--dir-mode", "zip", shown=True)
    if "is being created" not in said:
        raise InputError(
            f"kaggle datasets {words[0]} {ref}: expected that it is being created, found {said[-300:]!r}"
        )
    _wait(client, ref, polling)
    _wait_for_version(client, ref, before + 1, polling)
    wrong = differences(wanted, client.dataset_files(ref))
    if wrong:
        raise InputError(
            f"{ref}: what arrived is not what was sent: {'; '.join(wrong[:5])}{' ...' if wrong[5:] else ''}; give the "
            "command again, it sends a new version"
        )
    sent.note(ref, content=content, version=before + 1)


def differences(wanted: dict[str, int], there: dict[str, int]) -> list[str]:
    """Compare what a dataset should hold with what Kaggle lists.

    Parameters
    ----------
    wanted : dict of str to int
        Path -> bytes.
    there : dict of str to int
        The same, as Kaggle lists it once it has unpacked the folders that were sent as zips.

    Returns
    -------
    list of str
        What is wrong.
    """
    wrong = []
    for name, size in wanted.items():
        if name not in there:
            wrong.append(f"{name} is missing")
        elif there[name] != size:
            wrong.append(f"{name} has {there[name]} bytes instead of {size}")
    return wrong


def _write_dataset_metadata(ref: str, folder: Path) -> None:
    storage.write_json(
        folder / DATASET_METADATA,
        {
            "title": ref.split("/")[1].replace("-", " "),
            "id": ref,
            "licenses": [{"name": "other"}],  # MIT is not among those that the client documents
            "description": "Of a kit for the RSNA 2022 cervical spine competition. The code is under the MIT License.",
        },
    )


def _wait(client: KaggleClient, ref: str, polling: Polling) -> None:
    """Wait until a dataset is ready."""
    began = told = time.monotonic()
    while True:
        state = client.dataset(ref)
        if state is not None and state.is_ready:
            return
        words = "not there" if state is None else state.status
        if state is not None and state.is_broken:
            raise InputError(
                f"{ref}: Kaggle could not make the dataset ({words}); give the command again, it sends a new version"
            )
        if time.monotonic() - began > polling.patience_s:
            raise InputError(
                f"{ref}: not ready after {cli.duration(polling.patience_s)} (Kaggle says {words}); give the command "
                "again later, what has arrived is not sent twice"
            )
        if time.monotonic() - told > cli.LOG_EVERY_S:
            told = time.monotonic()
            print(f"{ref}: Kaggle says {words}, waiting since {cli.duration(told - began)}", flush=True)
        time.sleep(polling.every_s)


def _wait_for_version(client: KaggleClient, ref: str, version: int, polling: Polling) -> None:
    """Wait until the version just sent is the dataset's newest: the one before may still be told as ready."""
    began = time.monotonic()
    while (found := client.dataset_version(ref)) < version:
        if time.monotonic() - began > polling.patience_s:
            raise InputError(
                f"{ref}: version {version} did not appear within {cli.duration(polling.patience_s)}, Kaggle has "
                f"{found}; give the command again"
            )
        time.sleep(polling.every_s)
    _wait(client, ref, polling)


def _check_sources(client: KaggleClient, kernels: list[str]) -> None:
    """Refuse to start a kernel whose input is not finished."""
    for ref in kernels:
        state = client.kernel(ref)
        name = ref.rsplit("-", 1)[1]
        if state is None:
            raise InputError(
                f"{ref}: not on Kaggle yet; `make push KERNEL={name}` starts it, its output is needed here"
            )
        if state[0] != "complete":
            raise InputError(
                f"{ref}: its output is needed here and its state is {state[0]}"
                f"{': ' + state[1] if state[1] else ''}; `make kaggle-status KERNEL={name}` follows it"
            )


def _has_output(client: KaggleClient, ref: str) -> bool:
    """Whether a kernel's last version left something to go on from; refuse to start it while it runs."""
    state = client.kernel(ref)
    if state is None:
        return False
    if state[0] in ("running", "queued"):
        raise InputError(
            f"{ref}: a version of it is {state[0]}; a new one would not see its output. Wait until it has ended: "
            f"`make kaggle-status KERNEL={ref.rsplit('-', 1)[1]}`"
        )
    return True
