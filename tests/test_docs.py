"""The pages say what the code does: commands, paths and names in them exist, and the tree is true."""

import ast
import re
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest

from cspine.settings.presets import PresetName

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md", "tests/README.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
NEEDS = ("# needs Kaggle credentials", "# needs the real data", "# needs the network")
PACKAGES = ["settings", "competition", "dicom", "execution", "preprocessing", "networks", "training"]
PACKAGES += ["inference", "evaluation", "kaggle"]
REPLICA = ["settings", "anatomy", "tissue", "scanner", "cohort", "injuries", "study", "annotators", "writer"]
OUR_WORDS = r"\brooms?\b|\bhall\b|\bwhole line\b|look-alikes?|lookalikes?"
"""Words of this kit's own making, in whose place the field has one."""


def targets() -> set[str]:
    """Every target of the Makefile."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def commands(page: str) -> list[tuple[str, str]]:
    """The lines of a page's shell blocks, each with the mark in the block's first line, if it has one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    found = []
    for block in blocks:
        first, *rest = block.splitlines()
        mark = first if first in NEEDS else ""
        found += [(line, mark) for line in ([*rest] if mark else [first, *rest]) if line]
    return found


def sentence(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0].rstrip(".")


def tree() -> list[str]:
    """What stands under src/, a line each with the first sentence of its docstring, in the packages' order."""
    src, lines = ROOT / "src", []

    def add(path: Path, depth: int, name: str = "") -> None:
        indented = "  " * depth + (name or path.name)
        lines.append(
            f"{indented:<22} {sentence(path)}" if len(indented) < 22 else f"{indented}  {sentence(path)}"
        )

    for script in sorted(src.glob("*.py")):
        add(script, 1)
    for root, order in (
        ("cspine", ["errors", "storage", "cli", "findings", *PACKAGES, "__main__"]),
        ("replica", REPLICA),
    ):
        add(src / root / "__init__.py", 1, f"{root}/")
        for name in order:
            module, package = src / root / f"{name}.py", src / root / name
            if module.is_file():
                add(module, 2)
                continue
            add(package / "__init__.py", 2, f"{name}/")
            for inner in sorted(package.glob("*.py")):
                if inner.name != "__init__.py":
                    add(inner, 3)
    return lines


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= 1500


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page):
    named = set(re.findall(r"(?:`|^|\s{2})make ([a-z-]+)", text_of(page), re.MULTILINE))
    assert named <= targets()


def test_every_target_is_named_on_a_page():
    words = set(re.findall(r"[a-z-]+", " ".join(map(text_of, PAGES))))
    assert targets() - words == set()


def test_the_makefile_lists_every_target_with_a_sentence():
    text = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)) == targets() - {""}


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page):
    quoted = re.findall(r"`([\w./-]*/[\w.-]+\.\w+)`", text_of(page))
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text_of(page))
    made = [path for path in quoted if path.startswith("data/") and path != "data/README.md"]
    beside = (ROOT / page).parent
    missing = [
        path for path in {*quoted} - {*made} if not any((top / path).exists() for top in (ROOT, beside))
    ]
    assert missing + [path for path in linked if not (beside / path).exists()] == []


def test_the_tree_lists_exactly_what_stands_under_src():
    (block,) = re.findall(r"^src/\n(.*?)^```", text_of("docs/architecture.md"), re.MULTILINE | re.DOTALL)
    assert block.splitlines() == tree(), "the tree in docs/architecture.md should be:\n" + "\n".join(tree())
    listed = {line.split()[0].rstrip("/") for line in tree()}
    assert listed >= {path.name for path in (ROOT / "src").rglob("*.py")} - {"__init__.py"}


def test_every_test_file_mirrors_a_module_or_is_listed_as_a_theme():
    listed = set(re.findall(r"`([\w/]*test_\w+\.py)`", text_of("tests/README.md")))
    for path in (ROOT / "tests").rglob("test_*.py"):
        name = path.relative_to(ROOT / "tests").as_posix()
        folder, stem = path.parent.name, path.stem.removeprefix("test_")
        if folder in ("replica", "benchmarks") or name in listed:
            continue
        homes = [ROOT / "src" / "cspine" / folder / f"{stem}.py", ROOT / "src" / "cspine" / f"{stem}.py"]
        assert any(home.is_file() for home in homes), f"{name} mirrors no module and is no listed theme"


def test_every_command_runs_in_ci_or_says_what_it_needs():
    """Targets that .ci/run calls, and those that these call in turn, are run; all others need a mark."""
    makefile = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", makefile, re.MULTILINE))
    run = set(re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    for target in list(run):
        for line in re.findall(r"\$\(MAKE\) (.*)", recipes[target]):
            run |= targets() & set(line.split())
    for page in PAGES:
        for line, mark in commands(page):
            words = line.split()
            assert mark or (words[0] == "make" and words[1] in run), f"{page}: {line}"
            if "kaggle" in words[0]:
                assert mark == NEEDS[0], f"{page}: {line}"


def test_variables_in_commands_are_the_makefiles():
    known = set(re.findall(r"^([A-Z]+)\s*[?:]?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for line, _ in commands(page):
            if line.startswith("make "):
                assert set(re.findall(r"\b([A-Z]+)=", line)) <= known, f"{page}: {line}"


def test_the_recipe_has_a_column_for_every_preset():
    (head,) = re.findall(r"^\| \|(.*)\|$\n\|---", text_of("docs/recipe.md"), re.MULTILINE)
    assert tuple(name.strip() for name in head.split("|")) == get_args(PresetName)


@pytest.mark.parametrize("recipe", ["encoder", "window", "loss", "metric form", "preset", "stage", "kernel"])
def test_contributing_has_a_recipe(recipe):
    assert re.search(rf"^\*\*An? {recipe}\.\*\*", text_of("CONTRIBUTING.md"), re.MULTILINE)


def test_the_fields_words_are_used():
    files = [*PAGES, "Makefile", ".ci/run"]
    files += [path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")]
    allowed = re.compile(r"make room|no room|room (to|for|between|in|on)|without room", re.IGNORECASE)
    for name in files:
        for number, line in enumerate(text_of(name).splitlines(), 1):
            found = re.search(OUR_WORDS, allowed.sub("", line), re.IGNORECASE)
            assert not found, f"{name}:{number}: {line.strip()}"


def test_the_picture_needs_nothing_from_outside():
    root = ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot()
    tags = {part.tag.rpartition("}")[2] for part in root.iter()}
    assert tags.isdisjoint({"script", "image", "foreignObject"})
    words = " ".join("".join(part.itertext()) for part in root.iter() if part.tag.endswith("}text"))
    positions = [words.index(f" {package} ") for package in PACKAGES]
    assert positions == sorted(positions)
    for script in (ROOT / "src").glob("*.py"):
        assert script.stem in words, f"the picture lacks {script.name}"
