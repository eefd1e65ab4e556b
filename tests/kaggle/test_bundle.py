import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cspine.errors import InputError
from cspine.kaggle import bundle as bundle_module
from cspine.kaggle import wheels
from cspine.kaggle.bundle import BundleSources, assemble_code, assemble_models, make_bundle
from cspine.kaggle.marker import CODE, MODELS
from cspine.settings.layout import CALIBRATION

ROOT = Path(__file__).resolve().parents[2]
IMPORT_ALL = """
import sys
sys.path.insert(0, sys.argv[1])
import cspine.kaggle.kernel
names = [name for name in sys.modules if name.split(".")[0] == "cspine"]
strays = [name for name in names if not (sys.modules[name].__file__ or "").startswith(sys.argv[1])]
print(len(names), strays, [name for name in ("tyro", "kaggle", "pytest") if name in sys.modules])
"""


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("marker", [CODE, MODELS])
def test_each_half_holds_a_list_of_what_is_in_it(run, tmp_path, marker):
    folder = tmp_path / "half"
    files = assemble_code(folder) if marker == CODE else assemble_models(run, folder)
    names = names_in(folder)
    assert names == {path.relative_to(folder).as_posix() for path in files} | {marker}
    content = json.loads((folder / marker).read_text())
    assert list(content["files"]) == sorted(names - {marker})
    for name, total in content["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == total
    assert not [name for name in names if "__pycache__" in name]
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_the_code_is_whole_and_says_of_which_commit_it_is(tmp_path):
    assemble_code(tmp_path / "code")
    source = ROOT / "src" / "cspine"
    code = {f"src/cspine/{path.relative_to(source).as_posix()}" for path in source.rglob("*.py")}
    assert code <= names_in(tmp_path / "code")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    assert json.loads((tmp_path / "code" / CODE).read_text())["git"].rstrip("+") == (head or "unknown")


def test_the_models_are_all_that_a_kernel_needs_of_a_run(run, tmp_path):
    assemble_models(run, tmp_path / "models")
    wanted = {
        f"models/{kind}/fold{fold}/model.safetensors" for kind in ("locator", "classifier") for fold in (0, 1)
    }
    assert names_in(tmp_path / "models") == wanted | {f"models/{CALIBRATION}", MODELS}


def test_the_kernel_imports_from_the_bundle_alone(tmp_path):
    assemble_code(tmp_path / "code")
    command = [sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path / "code" / "src")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    count, strays = done.stdout.split(maxsplit=1)
    assert int(count) > 20
    assert strays.strip() == "[] []"


def test_a_bundle_is_made_anew(own_run, tmp_path):
    wheels_folder = packed(tmp_path)
    assemble_code(tmp_path / "code", wheels_folder)
    assert len(list((tmp_path / "code" / "wheels").iterdir())) == 2
    (tmp_path / "code" / "stray.bin").touch()
    assemble_code(tmp_path / "code")
    assert not (tmp_path / "code" / "wheels").exists() and not (tmp_path / "code" / "stray.bin").exists()


def test_a_run_without_a_finished_fold_is_refused_and_the_old_bundle_stays(own_run, tmp_path):
    folder = tmp_path / "models"
    assemble_models(own_run, folder)
    for fold in (0, 1):
        (own_run / "classifier" / f"fold{fold}" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no finished classifier"):
        assemble_models(own_run, folder)
    assert (folder / "models" / "classifier" / "fold0" / "model.safetensors").is_file()
    (own_run / CALIBRATION).unlink()
    with pytest.raises(InputError, match="make cv"):
        assemble_models(own_run, folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_of_one_finished_fold_is_bundled(own_run, tmp_path):
    (own_run / "classifier" / "fold0" / "model.safetensors").unlink()
    assemble_models(own_run, tmp_path / "models")
    names = names_in(tmp_path / "models")
    assert "models/classifier/fold1/model.safetensors" in names
    assert "models/classifier/fold0/model.safetensors" not in names


def packed(folder: Path, *versions: str) -> Path:
    """A folder with wheels."""
    wheels_folder = folder / "wheels"
    wheels_folder.mkdir()
    for version in versions or ("312", "313"):
        (wheels_folder / f"some-1.0-cp{version}-cp{version}-linux_x86_64.whl").write_bytes(b"")
    return wheels_folder


def nan_in(run: Path) -> None:
    path = run / "classifier" / "fold1" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4096:] = np.full(1024, np.nan, np.float32).tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("versions", "harm", "words"),
    [
        (("",), None, "no .whl file in it; `make wheels`"),
        (("312",), None, "no wheel of some for Python 3.13"),
        (("312", "313"), nan_in, "classifier/fold1/model.safetensors: its answer to a probe is not finite"),
        (("312", "313"), lambda run: (run / CALIBRATION).unlink(), "make cv"),
    ],
)
def test_what_would_fail_on_kaggle_is_refused(own_run, tmp_path, versions, harm, words):
    wheels_folder = packed(tmp_path, *versions) if versions[0] else tmp_path
    if harm:
        harm(own_run)
    with pytest.raises(InputError, match=re.escape(words)):
        make_bundle(BundleSources(own_run, wheels_folder, dirty=True), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "code").exists()


def test_changes_that_are_not_committed_travel_only_if_told(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_module, "uncommitted", lambda: ["src/cspine/cli.py"])
    sources = BundleSources(run, packed(tmp_path))
    with pytest.raises(InputError, match=r"1 files are not as committed \(src/cspine/cli.py\).*--dirty"):
        make_bundle(sources, tmp_path / "bundle")
    make_bundle(replace(sources, dirty=True), tmp_path / "bundle")
    assert json.loads((tmp_path / "bundle" / "code" / CODE).read_text())["git"].endswith(("+", "unknown+"))


def test_a_file_that_is_not_committed_is_seen(tmp_path, monkeypatch):
    package = tmp_path / "src" / "cspine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(bundle_module.cspine, "__file__", str(package / "__init__.py"))
    assert bundle_module.uncommitted() == []  # no git checkout
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    assert bundle_module.uncommitted() == []
    (package / "new.py").write_text("")
    (tmp_path / "notes.txt").write_text("does not travel")
    assert bundle_module.uncommitted() == ["src/cspine/new.py"]


def test_the_code_alone_is_bundled_and_a_demo_is_warned_of(run, tmp_path, capsys):
    sources = BundleSources(run, packed(tmp_path), dirty=True)
    make_bundle(sources, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "models" / MODELS).is_file()
    assert "it is for trying the kit, not for the competition" in capsys.readouterr().out
    make_bundle(replace(sources, run=None), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "models").exists()
    assert (tmp_path / "bundle" / "code" / CODE).is_file()


def test_too_big_a_bundle_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_module, "LIMIT_BYTES", 1_000_000)
    with pytest.raises(InputError, match="expected less than"):
        make_bundle(BundleSources(run, packed(tmp_path), dirty=True), tmp_path / "bundle")


def test_wheels_that_travel_are_those_that_kaggle_lacks():
    names = wheels.travelling((ROOT / "requirements.txt").read_text())
    assert {name.split("==")[0] for name in names} >= {"pydicom", "dicomsdl", "pylibjpeg", "pebble"}
    assert not [name for name in names if name.split("==")[0] in ("torch", "numpy", "pytest", "tyro")]
    text = f"a==1\n\n{wheels.HEADING}: so\nb==2\n# why\nc==3\n\nd==4\n"
    assert wheels.travelling(text) == ["b==2", "c==3"]
    with pytest.raises(InputError, match="Not in Kaggle's image"):
        wheels.travelling("a==1\n")
