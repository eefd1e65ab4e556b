"""Put together what travels to Kaggle: code, wheels and models as one dataset, and the kernel."""

import json
import shutil
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cspine import stage, storage
from cspine.errors import InputError
from cspine.inference.bundle import assemble


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Flags of push.py."""

    run: Path = Path("data/runs/t4")
    """The run whose models are bundled."""
    out: Path = Path("data/kaggle/push")
    """The folder for bundle/ and kernel/."""
    owner: str = "OWNER"
    """Your Kaggle user name; it goes into both metadata files."""
    wheels: Path | None = None
    """A folder with wheels that Kaggle's image lacks (`make wheels` fills data/wheels)."""
    kernel: Path = Path("kernels/inference")
    """The kernel's folder."""


def main(settings: Settings) -> None:
    """Assemble both folders and say which two commands send them."""
    if settings.wheels is not None and not list(settings.wheels.glob("*.whl")):
        raise InputError(f"--wheels {settings.wheels}: no .whl file in it; `make wheels` downloads them")
    with storage.locked(settings.out, "push"):
        bundle, kernel = settings.out / "bundle", settings.out / "kernel"
        files = assemble(settings.run, bundle, settings.wheels)
        storage.write_json(
            bundle / "dataset-metadata.json",
            {
                "title": "cspine bundle",
                "id": f"{settings.owner}/cspine-bundle",
                "licenses": [{"name": "MIT"}],
            },
        )
        shutil.rmtree(kernel, ignore_errors=True)
        shutil.copytree(settings.kernel, kernel)
        metadata = kernel / "kernel-metadata.json"
        text = metadata.read_text().replace("OWNER/", f"{settings.owner}/")
        storage.write_json(metadata, json.loads(text))
    size = sum(path.stat().st_size for path in files) / 1e6
    stage.say(
        "push", read=settings.run, wrote=f"{bundle} and {kernel}", files=len(files), megabytes=round(size, 1)
    )
    print(
        "nothing was sent; with Kaggle credentials these two commands do it:\n"
        f"  .venv/bin/kaggle datasets create -p {bundle} --dir-mode zip\n"
        f"  .venv/bin/kaggle kernels push -p {kernel}"
    )


if __name__ == "__main__":
    stage.run(main, Settings)
