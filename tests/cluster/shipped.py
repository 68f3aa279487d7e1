"""The files to fill in, as they are shipped and with every option in them chosen."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
OPTION = re.compile(r"^#~", re.MULTILINE)


def text_of(name: str, options: bool = False) -> str:
    """A file below `cluster/`; with `options`, as one would have who took every `#~` away."""
    text = (CLUSTER / name).read_text()
    return OPTION.sub("", text) if options else text


def read(name: str, options: bool = False) -> Any:
    return YAML(typ="safe").load(text_of(name, options))


def changed(mapping: Any, path: Sequence[str | int], value: Any) -> Any:
    """A copy with another value at one place."""
    copied = copy.deepcopy(mapping)
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copied


def constrained(package: str) -> str:
    """The version that `constraints.txt` pins."""
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]
