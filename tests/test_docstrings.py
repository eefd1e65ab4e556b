"""Public functions of the library and the replica are documented in NumPy's grammar, and truly."""

import ast
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

SRC = Path(__file__).parents[1] / "src"
MODULES = sorted(path for name in ("cspine", "replica") for path in (SRC / name).rglob("*.py"))
SECTIONS = {"Parameters", "Returns", "Yields", "Raises", "Notes", "References", "See Also"}
ARRAYS = ("ndarray", "Tensor")


def public_functions(path: Path) -> list[tuple[str, ast.FunctionDef]]:
    """Functions and methods of a module without an underscore, with their dotted names."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.append((node.name, node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [
                (f"{node.name}.{part.name}", part) for part in node.body if isinstance(part, ast.FunctionDef)
            ]
    return [(name, node) for name, node in found if not node.name.startswith("_")]


def parameters_of(node: ast.FunctionDef) -> dict[str, str]:
    """Name -> annotation of a function's parameters, without self and cls."""
    arguments = node.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        arguments.vararg,
        *arguments.kwonlyargs,
        arguments.kwarg,
    ]
    every = [part for part in every if part]
    names = {part.arg: ast.unparse(part.annotation) if part.annotation else "" for part in every}
    return {name: kind for name, kind in names.items() if name not in ("self", "cls")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_public_functions_are_documented_in_numpys_grammar(path):
    for name, node in public_functions(path):
        text = ast.get_docstring(node)
        assert text, f"{name} has no docstring"
        first = text.splitlines()[0]
        assert first.rstrip().endswith((".", "?")), f"{name}: its first line is no sentence: {first}"
        lines = text.splitlines()
        heads = [above for above, line in zip(lines, lines[1:], strict=False) if line and set(line) == {"-"}]
        assert set(heads) <= SECTIONS, f"{name}: sections {heads}"
        asked = parameters_of(node)
        if not asked:
            continue
        documented = NumpyDocString(text)
        listed = {
            one.strip().lstrip("*"): part for part in documented["Parameters"] for one in part.name.split(",")
        }
        assert list(listed) == list(asked), (
            f"{name}: parameters {list(listed)}, its signature has {list(asked)}"
        )
        for parameter, kind in asked.items():
            if any(array in kind for array in ARRAYS) and "Callable" not in kind:
                what = listed[parameter].type + " ".join(listed[parameter].desc)
                assert "shape" in what, f"{name}: {parameter} does not say its shape"
        returns = ast.unparse(node.returns) if node.returns else "None"
        if returns != "None":
            result = documented["Returns"] or documented["Yields"]
            assert result, f"{name} returns {returns}, which its docstring does not tell"
