"""Read YAML with its line numbers; every refusal names the file and line."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    NodeEvent,
    ScalarEvent,
)

from factory.errors import ConfigError

MOST_BYTES = 1_000_000
"""Of a file; the largest configuration in use has some 5,000."""
MOST_VALUES = 2_000
"""Keys and values, each alias counted as all that it stands for."""
DEEPEST = 20
"""Collections within collections."""


def read_mapping(path: Path, where: str) -> CommentedMap:
    """The mapping in a file, which messages call `where`. Raises `ConfigError`."""
    return _mapping(read_text(path), where)


def mapping_of(data: bytes, where: str, file: str) -> CommentedMap:
    """The mapping in a file's bytes, of which MOST_BYTES and one more are enough. Raises `ConfigError`."""
    return _mapping(_text(data, file), where)


def read_text(path: Path) -> str:
    """What a YAML file says. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            # Not to its end: it may be a checkpoint by mistake, or have none.
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return _text(data, str(path))


def _text(data: bytes, file: str) -> str:
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{file}: must be YAML of at most {MOST_BYTES:,} bytes, got more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: must be UTF-8, got a bad byte at {error.start}") from None


def _mapping(text: str, where: str) -> CommentedMap:
    mapping = parse_yaml(text, where)
    if not isinstance(mapping, CommentedMap):
        got = json.dumps(plain(mapping))[:80]
        raise ConfigError(f"{where}: must be a YAML mapping, got {got}")
    return mapping


def parse_yaml(text: str, where: str) -> Any:
    """A value with ruamel's line marks. Raises `ConfigError`."""
    try:
        _check_extent(text, where)
        return YAML(typ="rt").load(StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # Without the values of a key that is given twice: they may be secrets.
        problem = str(error.problem or error.context).split("\n")[0].split(" with value")[0]
        raise ConfigError(f"{where}:{line}: not valid YAML: {problem}") from None
    except (YAMLError, ValueError) as error:
        # The second: a number of thousands of digits.
        raise ConfigError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None


def _check_extent(text: str, where: str) -> None:
    """Refuse what would grow without bound, by the parser's events, before anything is built of it.

    Aliases of aliases make a few lines stand for more values than any memory holds.
    """
    sizes: dict[str, int] = {}
    open_collections: list[tuple[str | None, int]] = []
    count = 0
    for event in YAML(typ="rt").parse(StringIO(text)):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            # One within what it names is empty, so it counts as one value.
            count += sizes.get(event.anchor, 1)
            if count > MOST_VALUES:
                raise ConfigError(
                    f"{where}:{line}: must hold at most {MOST_VALUES:,} values, aliases counted as what "
                    f"they stand for, got more by *{event.anchor}; write out what is meant"
                )
        elif isinstance(event, NodeEvent):
            count += 1
            if isinstance(event, ScalarEvent) and event.anchor:
                sizes[event.anchor] = 1
            if isinstance(event, CollectionStartEvent):
                open_collections.append((event.anchor, count - 1))
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_collections.pop()
            if anchor:
                sizes[anchor] = count - before
        if len(open_collections) > DEEPEST:
            raise ConfigError(
                f"{where}:{line}: must be nested at most {DEEPEST} deep, got a deeper one"
            )
        if count > MOST_VALUES:
            raise ConfigError(f"{where}:{line}: must hold at most {MOST_VALUES:,} values, got more")


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
