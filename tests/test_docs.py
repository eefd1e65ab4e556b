"""The pages and notebooks say what the code does: commands, paths and names in them exist."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALLOWED = {"cspine", "numpy", "pandas", "matplotlib", "pathlib"}
NEEDS = ("# needs Kaggle credentials", "# needs the real data", "# needs the network")


def targets() -> set[str]:
    """Every target of the Makefile."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def commands(page: str) -> list[str]:
    """The lines of a page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def tree() -> dict[str, str]:
    """What the README's tree names: path -> comment; folders end with a slash."""
    (block,) = re.findall(r"^```text\n(README\.md.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)
    found, above = {}, []
    for line in block.splitlines()[1:]:
        indent = (len(line) - len(line.lstrip())) // 2
        name, _, comment = line.strip().partition(" ")
        above = [*above[:indent], name]
        found["".join(above)] = comment.strip()
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page):
    named = set(re.findall(r"(?:`|^|\s{2})make ([a-z-]+)", text_of(page), re.MULTILINE))
    assert named, f"{page} names no target"
    assert named <= targets()


def test_every_target_is_named_in_the_readme():
    words = set(re.findall(r"[a-z-]+", text_of("README.md") + text_of("CONTRIBUTING.md")))
    assert targets() - words == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_backticks_exists(page):
    quoted = re.findall(r"`([\w./-]*/[\w.-]+\.\w+)`", text_of(page))
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text_of(page))
    made = [path for path in quoted if path.startswith("data/") and path != "data/README.md"]
    missing = [path for path in {*quoted, *linked} - {*made} if not (ROOT / path).exists()]
    assert missing == []


def test_the_tree_lists_exactly_what_stands_under_src():
    named = {path for path in tree() if path.startswith("src/")}
    folders = {path.parent for path in (ROOT / "src").rglob("*.py")}
    files = {path for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"}
    there = {f"{path.relative_to(ROOT).as_posix()}/" for path in folders}
    there |= {path.relative_to(ROOT).as_posix() for path in files}
    assert named == there


def test_the_rest_of_the_tree_exists_and_has_comments():
    assert [path for path in tree() if not (ROOT / path).exists()] == []
    assert [
        path for path, comment in tree().items() if not comment and path not in ("Makefile", "src/")
    ] == []


def test_every_command_runs_in_ci_or_says_what_it_needs():
    """Targets that .ci/run calls, and those that these call in turn, are run; all others need a mark."""
    makefile = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", makefile, re.MULTILINE))
    run = set(re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    for target in list(run):
        for line in re.findall(r"\$\(MAKE\) (.*)", recipes[target]):
            run |= targets() & set(line.split())
    for page in PAGES:
        for line in commands(page):
            words = line.split()
            marked = any(mark in line for mark in NEEDS)
            assert marked or (words[0] == "make" and words[1] in run), f"{page}: {line}"
            if "kaggle" in words[0]:
                assert NEEDS[0] in line, f"{page}: {line}"


def test_variables_in_commands_are_the_makefiles():
    known = set(re.findall(r"^([A-Z]+)\s*[?:]?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for line in commands(page):
            if line.startswith("make "):
                assert set(re.findall(r"\b([A-Z]+)=", line)) <= known, f"{page}: {line}"


def sources(path: Path) -> list[str]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def module_file(name: str) -> Path | None:
    """The file of a module of the library; None if there is no such module."""
    place = ROOT.joinpath("src", *name.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or class defines or imports, by name."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            parts = [part for target in node.targets for part in ast.walk(target)]
            found |= {part.id: node for part in parts if isinstance(part, ast.Name)}
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
    return found


def contents(module: str) -> dict[str, ast.stmt]:
    """What a module of the library defines, without importing it."""
    file = module_file(module)
    assert file, f"no module {module}"
    return names_in(ast.parse(file.read_text()).body)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_well_formed_and_hold_no_output(path):
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) > 5
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert all(isinstance(line, str) for line in cell["source"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
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
                assert alias.name in defined, f"{node.module} has no {alias.name}"
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_begin_at_the_demos_paths(path):
    text = "\n".join(sources(path))
    demo = set(re.findall(r"data/(\w+)/demo", (ROOT / "Makefile").read_text()))
    used = re.findall(r'ROOT / "data" / "(\w+)" / "demo"', text)
    assert used and set(used) <= demo


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3


def test_the_picture_needs_nothing_from_outside():
    from xml.etree import ElementTree

    root = ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot()
    assert {part.tag.rpartition("}")[2] for part in root.iter()}.isdisjoint(
        {"script", "image", "foreignObject"}
    )
    words = " ".join("".join(part.itertext()) for part in root.iter() if part.tag.endswith("}text"))
    rooms = ["competition", "scans", "networks", "training", "inference", "evidence"]
    places = [words.index(f" {room} ") for room in rooms]
    assert places == sorted(places)
    for script in (ROOT / "src").glob("*.py"):
        assert script.stem in words, f"the picture lacks {script.name}"
