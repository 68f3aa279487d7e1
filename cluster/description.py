"""Read a cluster file; every refusal names the file and line."""

import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from factory.console.yaml_text import read_mapping
from factory.errors import ConfigError
from schemas.cluster import LOCAL, Cluster

REMOTE = ("s3://", "gs://", "https://")
"""A `working_dir` that the nodes fetch themselves."""


def read_cluster(file: str) -> Cluster:
    """The cluster that a file describes; `local` stands for a file that says `address: local`.

    Raises `ConfigError`: `FILE:LINE: key: rule, got value`.
    """
    if file == LOCAL:
        return Cluster(address=LOCAL)
    path = Path(file)
    mapping = read_mapping(path, str(path))
    try:
        # Through JSON, where strictness still lets 1 be a float.
        cluster = Cluster.model_validate_json(json.dumps(mapping, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, mapping, path)) from None
    return cluster.model_copy(update={"working_dir": _working_dir(cluster, mapping, path)})


def _where(mapping: CommentedMap, key: str, path: Path) -> str:
    return f"{path}:{mapping.lc.key(key)[0] + 1}" if key in mapping else str(path)


def _first_problem(error: ValidationError, mapping: CommentedMap, path: Path) -> str:
    """One line for the first problem, unknown keys before all others."""
    problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in problem["loc"])
    where = _where(mapping, str(problem["loc"][0]), path)
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(key, Cluster.model_fields, 1)
            known = ", ".join(Cluster.model_fields)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {known}"
            return f"{where}: unknown key {key!r}; {hint}"
        case "missing":
            return f"{where}: {key}: missing"
        case _:
            rule = problem["msg"].removeprefix("Value error, ")
            got = "" if ", got " in rule else f", got {json.dumps(problem['input'])[:80]}"
            return f"{where}: {key}: {rule}{got}"


def _working_dir(cluster: Cluster, mapping: Any, path: Path) -> str | None:
    """Absolute where it is a folder, so that it means the same from anywhere."""
    wanted = cluster.working_dir
    if wanted is None or wanted.startswith(REMOTE):
        return wanted
    folder = path.parent / wanted
    if not folder.is_dir():
        where = _where(mapping, "working_dir", path)
        raise ConfigError(
            f"{where}: working_dir: must be a folder or a zip at {', '.join(REMOTE)}, got {wanted!r}"
        )
    return str(folder.resolve())
