"""A column's values as Python has them, where a stranger may have put anything."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MOST_TEXT = 100_000
"""Bytes; more is no prompt."""


class TooLong(ValueError):
    """A text of more bytes."""

    def __init__(self, length: int) -> None:
        super().__init__(f"must be at most {MOST_TEXT} bytes, got {length}")


def texts(column: pa.Array, is_json: bool = False) -> list[Any]:
    """The values, where `is_json` what strings of JSON say.

    In the place of text that is too long, not UTF-8 or no such string the `ValueError` that says so.
    """
    found = _texts(column)
    return (
        [_decoded(value) if isinstance(value, str) else value for value in found]
        if is_json
        else found
    )


def _decoded(text: str) -> str | ValueError:
    """By a string of JSON."""
    try:
        value = json.loads(text)
        if isinstance(value, str):
            value.encode()
            return value
    except (ValueError, RecursionError):
        pass
    return ValueError(f"must be a string of JSON, got {text!r:.80}")


def _texts(column: pa.Array) -> list[Any]:
    if not pa.types.is_string(column.type):
        return column.to_pylist()
    plain = column.cast(pa.binary())
    lengths = pc.binary_length(plain)
    if (pc.max(lengths).as_py() or 0) <= MOST_TEXT:
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            pass
    return [_text(plain[place], length.as_py()) for place, length in enumerate(lengths)]


def _text(value: pa.Scalar, length: int | None) -> str | ValueError | None:
    if length is None:
        return None
    if length > MOST_TEXT:
        return TooLong(length)
    data: bytes = value.as_py()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return ValueError(f"must be UTF-8, got {data[error.start :][:8]!r}")
