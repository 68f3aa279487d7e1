"""Read YAML with its line numbers; every refusal names the file and line."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from factory.errors import ConfigError


def read_mapping(path: Path, where: str) -> CommentedMap:
    """The mapping in a file, which messages call `where`. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be UTF-8, got a bad byte at {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    mapping = parse_yaml(text, where)
    if not isinstance(mapping, CommentedMap):
        got = json.dumps(plain(mapping))[:80]
        raise ConfigError(f"{where}: must be a YAML mapping, got {got}")
    return mapping


def parse_yaml(text: str, where: str) -> Any:
    """A value with ruamel's line marks. Raises `ConfigError`."""
    try:
        return YAML(typ="rt").load(StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # Without the values of a key that is given twice: they may be secrets.
        problem = str(error.problem or error.context).split("\n")[0].split(" with value")[0]
        raise ConfigError(f"{where}:{line}: not valid YAML: {problem}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        # The last two: a number of thousands of digits, nesting without end.
        raise ConfigError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None


def plain(value: Any) -> Any:
    """Without ruamel's own types, so that JSON can carry it."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
