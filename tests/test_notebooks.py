"""The notebooks define nothing, name what the library has, and hold what they gave on the demo's replica."""

import ast
import base64
import json
import re
from pathlib import Path

import pytest

from cspine.competition.checks import UID_COLUMN
from replica.cohort.studies import make_cohort
from replica.settings import ReplicaSettings

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALLOWED = {"cspine", "numpy", "pandas", "matplotlib", "pathlib"}
MAX_BYTES = 3_000_000
"""All notebooks together: what changes in them stays in the repository's history."""
MACHINE_PATHS = r"(?<![\w.:/])/(?:work|home|tmp|root|usr|opt|mnt|media|var|Users|private|content|kaggle)\b"
STUDY_UID = r"\b1\.2(?:\.\d+){3,}"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def cells(path: Path, kind: str) -> list[dict]:
    """A notebook's cells of one kind, code or markdown."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def sources(path: Path) -> list[str]:
    """The code cells of a notebook, but for the one line in them that is not Python."""
    return ["".join(cell["source"]).replace("%matplotlib inline", "") for cell in cells(path, "code")]


def outputs(path: Path) -> list[dict]:
    """What the cells of a notebook gave."""
    return [output for cell in cells(path, "code") for output in cell["outputs"]]


def words_of(output: dict) -> str:
    """The text of an output; of a picture only what stands beside it."""
    data = {kind: content for kind, content in output.get("data", {}).items() if kind != "image/png"}
    return json.dumps({**output, "data": data})


def module_file(name: str) -> Path | None:
    """The file of a module of the library; None if there is no such module."""
    place = ROOT.joinpath("src", *name.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or class defines, by name; not what it imports, which belongs elsewhere."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            parts = [part for target in node.targets for part in ast.walk(target)]
            found |= {part.id: node for part in parts if isinstance(part, ast.Name)}
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
    return found


def contents(module: str) -> dict[str, ast.stmt]:
    """What a module of the library defines, without importing it."""
    file = module_file(module)
    assert file, f"no module {module}"
    return names_in(ast.parse(file.read_text()).body)


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3


@each_notebook
def test_notebooks_are_well_formed(path):
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) > 5
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert all(isinstance(line, str) for line in cell["source"])


@each_notebook
def test_notebooks_define_nothing_and_import_little(path):
    for source in sources(path):
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda), (
                source
            )
            if isinstance(node, ast.Import):
                assert {name.name.split(".")[0] for name in node.names} <= ALLOWED, source
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in ALLOWED, source


@each_notebook
def test_what_notebooks_take_from_the_library_exists(path):
    code = ast.parse("\n".join(sources(path)))
    modules, classes = {"cspine": contents("cspine")}, {}
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "cspine":
            for alias in node.names:
                inner, local = f"{node.module}.{alias.name}", alias.asname or alias.name
                if module_file(inner):
                    modules[local] = contents(inner)
                    continue
                defined = contents(node.module)
                assert alias.name in defined, f"{node.module} defines no {alias.name}"
                if isinstance(defined[alias.name], ast.ClassDef):
                    classes[local] = names_in(defined[alias.name].body)
    assert len(modules) > 1 or classes
    for node in ast.walk(code):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and not node.attr.startswith("__")
        ):
            known = modules.get(node.value.id) or classes.get(node.value.id)
            assert known is None or node.attr in known, f"{node.value.id}.{node.attr} does not exist"


@each_notebook
def test_notebooks_begin_at_the_demos_paths(path):
    text = "\n".join(sources(path))
    demo = set(re.findall(r"data/(\w+)/demo", (ROOT / "Makefile").read_text()))
    used = re.findall(r'ROOT / "data" / "(\w+)" / "demo"', text)
    assert used and set(used) <= demo


@each_notebook
def test_notebooks_say_that_their_outputs_are_synthetic(path):
    first = "".join(cells(path, "markdown")[0]["source"])
    assert "synthetic replica" in first and "`make notebooks`" in first


@each_notebook
def test_every_code_cell_was_executed_in_order_and_without_an_error(path):
    counts = [cell["execution_count"] for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"
    assert all(output["output_type"] != "error" for output in outputs(path))
    assert all(output.get("name") != "stderr" for output in outputs(path)), "a cell warns"


@each_notebook
def test_every_figure_is_there_as_a_picture(path):
    """A figure that pyplot did not make is a mere line of text until matplotlib's inline backend is on."""
    shown = [output["data"] for output in outputs(path) if "data" in output]
    figures = [data for data in shown if "".join(data.get("text/plain", "")).startswith("<Figure")]
    assert len(figures) >= 3
    for data in figures:
        assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG\r\n")


@each_notebook
def test_nothing_in_a_notebook_tells_of_the_machine_or_the_hour(path):
    notebook = json.loads(path.read_text())
    texts = [words_of(output) for output in outputs(path)]
    texts += [json.dumps(notebook["metadata"]), *(json.dumps(cell["metadata"]) for cell in notebook["cells"])]
    for text in texts:
        assert str(ROOT) not in text
        assert not re.search(MACHINE_PATHS, text), text
    for cell in notebook["cells"]:
        assert "execution" not in cell["metadata"], "the times of a run"


def test_notebooks_are_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MAX_BYTES


def test_every_study_in_an_output_is_one_of_the_demos_replica():
    """Real studies have UIDs of the same form, so the demo's patients are drawn again and compared."""
    (flags,) = re.findall(
        r'^demo:.*?EXTRA="(--train [^"]*)"', (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL
    )
    counts = {name: int(count) for name, count in re.findall(r"--(train|public|private) (\d+)", flags)}
    assert set(counts) == {"train", "public", "private"} and "--seed" not in flags and "--split" not in flags
    known = set(make_cohort(ReplicaSettings(out=Path("unused"), **counts))[UID_COLUMN])
    for path in NOTEBOOKS:
        named = {uid for output in outputs(path) for uid in re.findall(STUDY_UID, words_of(output))}
        assert named, f"{path.name} names no study"
        assert named <= known, f"{path.name}: studies {sorted(named - known)} are not the demo's"
