"""The packages keep their order, and each library its home."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
BASE = ["errors", "storage", "cli", "findings"]
PACKAGES = [
    "settings",
    "competition",
    "dicom",
    "execution",
    "preprocessing",
    "networks",
    "training",
    "inference",
    "evaluation",
    "kaggle",
]
REPLICA = ["settings", "anatomy", "tissue", "scanner", "cohort", "injuries", "study", "annotators", "writer"]
HOMES = {
    "pydicom": {"dicom", "replica"},
    "dicomsdl": {"dicom"},
    "gdcm": {"replica"},
    "nibabel": {"preprocessing", "replica"},
    "pebble": {"execution"},
    "distributed": {"execution"},
    "timm": {"networks", "training"},
    "matplotlib": {"evaluation", "replica"},
    "albumentations": {"training"},
    "torch": {"networks", "training", "inference"},
    "sklearn": {"evaluation"},
    "pydantic": {"cli", "settings", "networks", "evaluation", "replica"},
    "tyro": {"cli"},
}
LARGEST_SHARE = 0.3
"""Of the library's lines in one package."""


def imports(path: Path) -> list[str]:
    """Every module that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{name.name}" for name in node.names]
    return found


def package_of(path: Path) -> str:
    """settings ... kaggle, replica, or the name of a base module."""
    parts = path.relative_to(SRC).parts
    return parts[0] if parts[0] == "replica" else parts[1].removesuffix(".py")


LIBRARY = sorted([*SRC.glob("cspine/**/*.py"), *SRC.glob("replica/**/*.py")])


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(SRC)))
def test_a_package_imports_only_packages_above_it(path):
    package, order = package_of(path), [*BASE, *PACKAGES, "__main__"]
    for name in imports(path):
        parts = name.split(".")
        if package == "replica":
            assert parts[0] != "cspine", f"the replica shares no code with what reads it: {name}"
            here = path.relative_to(SRC / "replica").parts[0].removesuffix(".py")
            if parts[0] == "replica" and here != "__init__":
                assert REPLICA.index(parts[1]) <= REPLICA.index(here), f"{here} may not import {name}"
        elif parts[0] == "cspine" and len(parts) > 1 and parts[1] != "__version__":
            assert order.index(parts[1]) <= order.index(package), f"{package} may not import {name}"
        else:
            assert parts[0] != "replica", f"cspine may not lean on the replica: {name}"


def test_no_modules_import_each_other_in_a_circle():
    """Within packages too; imports inside of functions count."""
    name_of = {".".join(path.relative_to(SRC).with_suffix("").parts): path for path in LIBRARY}
    above = {
        name: {
            found for used in imports(path) for found in (used, used.rpartition(".")[0]) if found in name_of
        }
        for name, path in name_of.items()
    }
    TopologicalSorter(above).prepare()  # raises CycleError with the circle


def test_no_package_outgrows_the_others():
    lines = Counter()
    for path in SRC.glob("cspine/**/*.py"):
        lines[package_of(path)] += len(path.read_text().splitlines())
    (largest, count), total = lines.most_common(1)[0], lines.total()
    assert count <= LARGEST_SHARE * total, f"{largest} has {count} of {total} lines"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(SRC)))
def test_each_library_has_its_home(path):
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or package_of(path) in homes, f"{name} does not belong in {package_of(path)}"


def test_there_is_something_to_hold():
    assert len(LIBRARY) > 25
    assert {package_of(path) for path in LIBRARY} >= {*BASE, *PACKAGES, "replica"}
    assert {path.stem for path in (SRC / "replica").iterdir() if path.stem[0] != "_"} == {*REPLICA}


def test_preparing_needs_no_torch():
    """Settings, competition and all that reads and cuts scans run on machines without torch.

    So do the processes that decode for those with the networks, which import `device_process` again.
    """
    modules = (
        "cspine.preprocessing.prepare, cspine.preprocessing.columns, cspine.preprocessing.stores, "
        "cspine.inference.device_process, cspine.inference.decoded"
    )
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=SRC, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_stage_before_training_imports_training():
    for script in ("describe", "split", "prepare", "columns"):
        names = imports(SRC / f"{script}.py")
        assert not [name for name in names if name.startswith(("cspine.training", "cspine.networks"))]
