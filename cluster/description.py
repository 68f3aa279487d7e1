"""Read a cluster file, or another description; every refusal names the file and line."""

import difflib
import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from factory.console.yaml_text import MOST_BYTES, mapping_of, read_mapping
from factory.errors import ConfigError
from factory.storage.read import open_object
from schemas.record import Record
from schemas.running.cluster import LOCAL, Cluster

REMOTE = ("s3://", "gs://", "https://")
"""A `working_dir` that the nodes fetch themselves."""

FILL_IN = "FILL-IN"
"""What marks in a shipped file that somebody has to decide."""

R = TypeVar("R", bound=Record)


def read_cluster(file: str) -> Cluster:
    """The cluster that a file describes; `local` stands for a file that says `address: local`.

    Raises `ConfigError`: `FILE:LINE: key: rule, got value`.
    """
    if file == LOCAL:
        return Cluster(address=LOCAL)
    cluster, mapping = read_description(Cluster, file)
    return cluster.model_copy(update={"working_dir": _working_dir(cluster, mapping, file)})


def beside(file: str, name: str) -> str:
    """A file that another names, from where that lies: on this machine or in a bucket."""
    if "://" in name or Path(name).is_absolute():
        return name
    return f"{file.rpartition('/')[0]}/{name}" if "://" in file else str(Path(file).parent / name)


def read_description(kind: type[R], file: str) -> tuple[R, CommentedMap]:
    """What a file, local or s3://, describes, and its mapping with its lines. Raises `InputError`."""
    if "://" in file:
        with open_object(file) as stream:
            mapping = mapping_of(stream.read(MOST_BYTES + 1), file, file)
    else:
        mapping = read_mapping(Path(file), file)
    try:
        # Through JSON, where strictness still lets 1 be a float.
        found = kind.model_validate_json(json.dumps(mapping, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, mapping, file, kind)) from None
    return found, mapping


def line_of(mapping: CommentedMap, key: str, file: str) -> str:
    """`FILE:LINE` of a key, or `FILE` where it is not there."""
    return f"{file}:{mapping.lc.key(key)[0] + 1}" if key in mapping else file


def _first_problem(
    error: ValidationError, mapping: CommentedMap, file: str, kind: type[Record]
) -> str:
    """One line for the first problem, unknown keys before all others."""
    problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in problem["loc"])
    where = line_of(mapping, str(problem["loc"][0]), file)
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(key, kind.model_fields, 1)
            known = ", ".join(kind.model_fields)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {known}"
            return f"{where}: unknown key {key!r}; {hint}"
        case "missing":
            return f"{where}: {key}: missing"
        case _:
            rule = problem["msg"].removeprefix("Value error, ")
            got = "" if ", got " in rule else f", got {json.dumps(problem['input'])[:80]}"
            return f"{where}: {key}: {rule}{got}"


def _working_dir(cluster: Cluster, mapping: CommentedMap, file: str) -> str | None:
    """Absolute where it is a folder, so that it means the same from anywhere."""
    wanted = cluster.working_dir
    if wanted is None or wanted.startswith(REMOTE):
        return wanted
    folder = Path(file).parent / wanted
    if "://" in file or not folder.is_dir():
        where = line_of(mapping, "working_dir", file)
        raise ConfigError(
            f"{where}: working_dir: must be a folder or a zip at {', '.join(REMOTE)}, got {wanted!r}"
        )
    return str(folder.resolve())
