"""A list by its URI, row by row; what a cell of it says."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO

from factory.errors import InputError, StorageError
from factory.lists.rows import Rows, listed_rows
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.storage.read import open_object
from factory.untrusted_parquet.names import SUFFIX, other_names, parquet_names


def rows_of(uri: str, name: str, known: Sequence[str], wanted: str) -> Rows:
    """All rows of a list, which messages call `name`; `known` are the names of columns that mean something,
    `wanted` those that a message names.

    Raises `InputError` where it cannot be read, `ListError` for what is no list.
    """
    for part, stream in _streams(uri, name):
        with closing(stream):
            try:
                yield from listed_rows(part, stream, known, wanted)
            except OSError as error:
                raise InputError(f"{uri}: cannot be read: {error.strerror or error}") from None


def _streams(uri: str, name: str) -> Iterator[tuple[str, BinaryIO]]:
    """A list's file; of a folder that is called as one, as Spark writes them, its parts."""
    try:
        stream = open_object(uri)
    except InputError:
        parts = _names(uri, parquet_names)
        others = [] if parts else _names(uri, other_names)
        if others:
            raise InputError(
                f"{name}: must hold {SUFFIX} files where it is a folder, got {others[0]!r:.100}; name the "
                "list's own file"
            ) from None
        if not parts:
            raise
    else:
        yield name, stream
        return
    for part in parts:
        yield f"{name}/{part}", open_object(f"{uri.rstrip('/')}/{part}")


def _names(uri: str, found: Callable[[ObjectStore], list[str]]) -> list[str]:
    """Of files in a folder that is called as a list."""
    if not uri.endswith(SUFFIX):
        return []
    try:
        return found(open_store(uri))
    except (InputError, StorageError):
        return []


def is_unicode(text: str) -> bool:
    """Whether it is whole: JSON may hold half a surrogate pair."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_missing(value: Any) -> bool:
    """Null, what other programs write for it, or text of which nothing would show.

    That is blanks, and marks of no width and of direction.
    """
    if isinstance(value, str):
        return not any(c.isprintable() and not c.isspace() for c in value)
    return value is None or value != value
