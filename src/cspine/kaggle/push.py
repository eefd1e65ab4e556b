"""Put together what travels to Kaggle: code, wheels and models as one dataset, and the kernel."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from cspine import cli, storage
from cspine.errors import InputError
from cspine.inference.blends import in_words
from cspine.kaggle.bundle import assemble


@dataclass(frozen=True)
class PushSources:
    """What is sent, and in whose name."""

    run: Path
    """The run whose models are bundled."""
    kernel: Path
    """The kernel's folder."""
    owner: str
    """A Kaggle user name; it goes into both metadata files."""
    wheels: Path | None
    """A folder with wheels that Kaggle's image lacks, None to send none."""


def prepare_push(sources: PushSources, out: Path) -> None:
    """Assemble out/bundle and out/kernel, and say which two commands send them; nothing is sent.

    Parameters
    ----------
    sources : PushSources
        What is sent, and in whose name.
    out : Path
        The folder for bundle/ and kernel/.

    Raises
    ------
    InputError
        If the run is not complete or the folder of wheels holds none.
    """
    if sources.wheels is not None and not list(sources.wheels.glob("*.whl")):
        raise InputError(f"--wheels {sources.wheels}: no .whl file in it; `make wheels` downloads them")
    bundle, kernel = out / "bundle", out / "kernel"
    with storage.locked(out, "push"):
        files = assemble(sources.run, bundle, sources.wheels)
        storage.write_json(
            bundle / "dataset-metadata.json",
            {
                "title": "cspine bundle",
                "id": f"{sources.owner}/cspine-bundle",
                "licenses": [{"name": "MIT"}],
            },
        )
        shutil.rmtree(kernel, ignore_errors=True)
        shutil.copytree(sources.kernel, kernel)
        metadata = kernel / "kernel-metadata.json"
        text = metadata.read_text().replace("OWNER/", f"{sources.owner}/")
        storage.write_json(metadata, json.loads(text))
    megabytes = round(sum(path.stat().st_size for path in files) / 1e6, 1)
    cli.log_stage(
        "push",
        read=sources.run,
        wrote=f"{bundle} and {kernel}",
        models=in_words(sources.run),
        files=len(files),
        megabytes=megabytes,
    )
    print(
        "nothing was sent; with Kaggle credentials these two commands do it:\n"
        f"  .venv/bin/kaggle datasets create -p {bundle} --dir-mode zip\n"
        f"  .venv/bin/kaggle kernels push -p {kernel}"
    )
