"""What `pyproject.toml` asks for is what the code imports: nobody is lent a package by another."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = ("schemas", "factory", "trainer", "cluster", "editmill")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = [
    *(path for package in OURS[:-1] for path in sorted((ROOT / package).rglob("*.py"))),
    ROOT / "editmill.py",
]


def normal(name: str) -> str:
    """Of a distribution, by which installers compare. Source: the packaging guide, name normalization."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in requirements}


EVERYBODY = asked(PROJECT["dependencies"])
EXTRAS = asked(
    [
        line
        for extra, lines in PROJECT["optional-dependencies"].items()
        for line in lines
        if extra != "dev"  # who runs the program has no test tools
    ]
)


def imports(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """First names of the modules that are imported below, and whether only when something is called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0], lazy
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, lazy or inside)


@cache
def users() -> dict[tuple[str, bool], set[str]]:
    """Files that import somebody else's module, by its distribution and whether they do so lazily.

    A module that is not installed here stands for a distribution of its own name.
    """
    owners = importlib.metadata.packages_distributions()
    found: dict[tuple[str, bool], set[str]] = {}
    for path in SOURCES:
        for name, lazy in imports(ast.parse(path.read_text())):
            if name in sys.stdlib_module_names or name in OURS:
                continue
            # A name that several share, as `google`, is one of theirs that is declared, where one is.
            owner = min(map(normal, owners.get(name, [name])), key=lambda it: it not in EVERYBODY)
            found.setdefault((owner, lazy), set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_imports_are_found_wherever_they_stand():
    code = "import a.b\nif x:\n  from c import d\nclass K:\n  import e\ndef f():\n  if x:\n    import h.i"
    found = [("a", False), ("c", False), ("e", False), ("h", True)]
    assert list(imports(ast.parse(code))) == found


def test_everything_that_is_imported_is_declared():
    found = users()
    assert {"torch", "ray", "pillow", "ruamel-yaml", "grpcio", "open-clip-torch"} <= {
        name for name, _ in found
    }
    undeclared = {key: files for key, files in found.items() if key[0] not in EVERYBODY | EXTRAS}
    assert not undeclared


def test_what_only_an_extra_brings_is_imported_when_it_is_asked_for():
    """Or the command would not start where it is not installed."""
    optional = {key: files for key, files in users().items() if key[0] not in EVERYBODY}
    assert ("wandb", True) in optional
    assert not {key: files for key, files in optional.items() if not key[1]}


UNUSED = {
    "torchvision": "open_clip's; it must fit torch's build, so that both are resolved in one go"
}
"""What is declared although no file of ours imports it, each with its reason."""


def test_what_is_declared_is_imported_or_has_a_reason():
    assert EVERYBODY - {owner for owner, _ in users()} == UNUSED.keys()
