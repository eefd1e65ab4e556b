"""The kit as pip installs it: the committed weights go along, and the command `cspine` is there."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_holds_library_weights_and_command(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("cspine-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert "cspine/networks/weights/locator-replica.safetensors" in names
    code = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "cspine").rglob("*.py")}
    assert code <= set(names) and not [name for name in names if name.startswith("replica")]
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert "cspine = cspine.__main__:main" in (tmp_path / "installed" / entry).read_text()
    run = [sys.executable, "-m", "cspine", "predict", "--help"]
    done = subprocess.run(
        run,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "--input" in done.stdout, done.stderr


def test_what_is_needed_is_pinned_for_the_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    names = {re.split(r"[<>=]", one)[0] for one in project["dependencies"]}
    assert names <= pinned and {"torch", "timm", "pydicom", "dicomsdl", "tyro"} <= names
