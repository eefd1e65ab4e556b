"""The rooms of the house keep their order, and each library its home."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
ROOMS = ["competition", "scans", "networks", "training", "inference", "evidence"]
REPLICA = ["settings", "anatomy", "tissue", "scanner", "cohort", "injuries", "study", "annotators", "writer"]
HOMES = {
    "pydicom": {"scans", "replica"},
    "dicomsdl": {"scans"},
    "gdcm": {"replica"},
    "nibabel": {"scans", "replica"},
    "pebble": {"scans"},
    "distributed": {"scans"},
    "timm": {"networks", "training"},
    "matplotlib": {"evidence", "replica"},
    "albumentations": {"training"},
    "torch": {"networks", "training", "inference"},
    "sklearn": {"competition", "evidence"},
    "tyro": {"stage.py"},
}


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


def room_of(path: Path) -> str:
    """competition ... evidence, replica, or the name of a file in the hall."""
    parts = path.relative_to(SRC).parts
    return parts[0] if parts[0] == "replica" else parts[1]


LIBRARY = sorted([*SRC.glob("cspine/**/*.py"), *SRC.glob("replica/**/*.py")])


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(SRC)))
def test_a_room_imports_only_rooms_above_it(path):
    room = room_of(path)
    for name in imports(path):
        parts = name.split(".")
        if room == "replica":
            assert parts[0] != "cspine", f"the replica shares no code with what reads it: {name}"
            here = path.relative_to(SRC / "replica").parts[0].removesuffix(".py")
            if parts[0] == "replica" and here != "__init__":
                assert REPLICA.index(parts[1]) <= REPLICA.index(here), f"{here} may not import {name}"
        elif parts[0] == "cspine" and len(parts) > 1 and parts[1] in ROOMS:
            assert room in ROOMS, f"the hall imports no room: {name}"
            assert ROOMS.index(parts[1]) <= ROOMS.index(room), f"{room} may not import {name}"
        else:
            assert parts[0] != "replica", f"cspine may not lean on the replica: {name}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(SRC)))
def test_each_library_has_its_home(path):
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or room_of(path) in homes, f"{name} does not belong in {room_of(path)}"


def test_there_is_something_to_hold():
    assert len(LIBRARY) > 25
    assert {room_of(path) for path in LIBRARY} >= {*ROOMS, "replica"}
    assert {path.stem for path in (SRC / "replica").iterdir() if path.stem[0] != "_"} == {*REPLICA}


def test_preparing_needs_no_torch():
    """competition, scans and the presets run on machines without torch."""
    import subprocess
    import sys

    modules = "cspine.scans.prepare, cspine.scans.cutting, cspine.training.cached"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=SRC, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
