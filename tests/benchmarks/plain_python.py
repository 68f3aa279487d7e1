"""A Python with torch, torchvision and transformers, and beside them what docs/gpu.md names alone."""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
THERE = ("torch", "torchvision", "transformers", "setuptools")
"""With all that they need themselves."""


def documented(*programs):
    """Packages that the table of docs/gpu.md names for these programs, in the order of its rows."""
    rows = re.findall(r"^\| `(.*?)` \| (.*) \|$", (ROOT / "docs/gpu.md").read_text(), re.MULTILINE)
    named = {program: re.findall("`(.*?)`", packages) for program, packages in rows}
    return [package for program in programs for package in named[program]]


def needed(packages):
    """These and all that they need."""
    found, left = set(), list(packages)
    while left:
        name = re.sub("[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            requires = distribution(name).requires or ()
        except PackageNotFoundError:
            continue
        found.add(name)
        wanted = map(Requirement, requires)
        left += [
            one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return found


def plain_python(folder, *programs):
    """The command of one, whose packages are links in a folder."""
    for name in sorted({*needed(THERE), *documented(*programs)}):
        of = distribution(name)
        for top in {
            file.parts[0] for file in of.files or () if file.parts[0] not in ("..", "__pycache__")
        }:
            link = folder / top
            if not link.exists():
                link.symlink_to(of.locate_file(top))
    begin = f"import runpy, sys; sys.path += [{str(folder)!r}, {str(ROOT)!r}]; "
    begin += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    # Without the environment's own packages.
    return [sys.executable, "-S", "-c", begin]
