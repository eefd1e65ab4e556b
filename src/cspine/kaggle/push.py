"""Put together what travels to Kaggle: code, wheels and models as one dataset, and the kernel."""

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cspine import cli, storage
from cspine.errors import InputError
from cspine.inference.blends import in_words, members_of
from cspine.inference.ensemble import models_of
from cspine.inference.sound import sound_models
from cspine.kaggle.bundle import assemble
from cspine.networks.fold_models import preset_of
from cspine.networks.precision import best_device
from cspine.settings.layout import CLASSIFIER
from cspine.settings.presets import PRESETS

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
"""A Kaggle user name."""


@dataclass(frozen=True)
class PushSources:
    """What is sent, and in whose name."""

    run: Path
    """The run whose models are bundled."""
    kernel: Path
    """The kernel's folder."""
    owner: str
    """A Kaggle user name; it goes into both metadata files."""
    wheels: Path
    """A folder with wheels that Kaggle's image lacks."""


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
        If the run is not complete or holds a network whose answer is not finite, the folder of wheels holds none, or
        the owner is no Kaggle user name.
    """
    if not SLUG.fullmatch(sources.owner):
        raise InputError(
            f"--owner {sources.owner}: expected your Kaggle user name as it stands in the address of your page, "
            "in small letters, digits and hyphens"
        )
    if not list(sources.wheels.glob("*.whl")):
        raise InputError(f"--wheels {sources.wheels}: no .whl file in it; `make wheels` downloads them")
    _check_networks(sources.run)
    bundle, kernel = out / "bundle", out / "kernel"
    with storage.locked(out, "push"):
        files = assemble(sources.run, bundle, sources.wheels)
        storage.write_json(
            bundle / "dataset-metadata.json",
            {
                "title": "cspine bundle",
                "id": f"{sources.owner}/cspine-bundle",
                "licenses": [{"name": "other"}],
                "description": "Code, wheels and models of the cspine kit. The code is under the MIT License.",
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


def _check_networks(run: Path) -> None:
    """Refuse a run with a network that can't be used; warn of one that is not for the competition."""
    with tempfile.TemporaryDirectory() as folder:
        folds, dropped = sound_models(run, {}, Path(folder) / "sound", best_device())
    if dropped:
        words = "; ".join(f"{name}: {why}" for name, why in dropped.items())
        raise InputError(f"{run}: {words}; delete that fold and train it again, nothing was assembled")
    for member in members_of(run):
        preset = preset_of(models_of(member)[1][0], CLASSIFIER)
        small = [name for name in ("smoke", "demo") if PRESETS[name].stacks == preset.stacks]
        if small:
            print(
                f"WARNING: {member} was trained with the preset {small[0]} ({len(folds)} folds): it is for trying the "
                "kit, not for the competition"
            )
