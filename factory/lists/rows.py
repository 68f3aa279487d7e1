"""The rows of a triplet list as they stand: JSON lines, CSV or Parquet, told by content, not by name."""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from factory.errors import InputError, ListError
from factory.untrusted_parquet.file import MAGIC, POINTER, NotParquet, UntrustedParquet
from factory.untrusted_parquet.texts import TooLong, texts

Rows = Iterator[tuple[str, Any]]
"""Where each row stands, and the row or the `ValueError` that it is."""

LINE_BYTES = 1_000_000
"""A longer line is not a triplet."""
NOT_LISTS = {
    b"\x1f\x8b": "gzip; unpack it",
    b"\x28\xb5\x2f\xfd": "Zstandard; unpack it",
    b"PK\x03\x04": "zip; unpack it",
    b"BZh": "bzip2; unpack it",
    b"\xfd7zXZ": "xz; unpack it",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"<": "a page of the web or XML",
}
"""How files begin that hold others, or are no list."""
DELIMITERS = (",", "\t", ";")
HEADER_BYTES = 10_000
"""The names of columns take no more."""


class Line(NamedTuple):
    """A line that is not blank, without its end."""

    number: int
    """From 1."""
    text: bytes
    """Its beginning, where it is longer than `LINE_BYTES`."""
    length: int
    """In bytes."""


def listed_rows(name: str, stream: BinaryIO, known: Sequence[str], wanted: str) -> Rows:
    """All rows of a list; `known` are the names of columns that mean something, `wanted` those that a
    message names.

    Raises `ListError` for what is no list at all.
    """
    head = stream.read(len(POINTER))
    stream.seek(0)
    if head.startswith(MAGIC):
        yield from _parquet_rows(name, stream, known, wanted)
        return
    if head == POINTER:
        size = stream.seek(0, 2)
        raise ListError(
            f"{name}: expected JSON lines, CSV or Parquet, got a git-lfs pointer of {size} bytes; "
            "run git lfs pull"
        )
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:2]:
        raise ListError(f"{name}: must be UTF-8, got UTF-16")
    for start, kind in NOT_LISTS.items():
        if head.startswith(start):
            raise ListError(f"{name}: must be JSON lines, CSV or Parquet, got {kind}")
    lines = _lines(stream)
    first = next(lines, None)
    if first is None:
        return
    header = _header(name, first, known, wanted)
    if header is None:
        yield from _json_rows(name, first, lines)
    else:
        yield from _csv_rows(name, lines, *header)


def _lines(stream: BinaryIO) -> Iterator[Line]:
    number = 0
    while text := stream.readline(LINE_BYTES + 1):
        number, length, end = number + 1, len(text), text[-1:]
        while end != b"\n" and (more := stream.readline(LINE_BYTES)):
            # Counted in pieces: a line may be of gigabytes.
            length, end = length + len(more), more[-1:]
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text.strip() or length > LINE_BYTES:
            yield Line(number, text.removesuffix(b"\n"), length - (end == b"\n"))


def _json_rows(name: str, first: Line, lines: Iterator[Line]) -> Rows:
    start = first.text.strip()
    if start.startswith(b"[") or start == b"{":
        got = "one over several" if start == b"{" else "a JSON array"
        raise ListError(f"{name}:{first.number}: must be one JSON object per line, got {got}")
    yield f"{name}:{first.number}", _json_row(first)
    for line in lines:
        yield f"{name}:{line.number}", _json_row(line)


def _json_row(line: Line) -> Any:
    if line.length > LINE_BYTES:
        return _too_long(line)
    try:
        return json.loads(line.text.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        return ValueError(
            f"must be UTF-8, got byte 0x{line.text[error.start]:02x} at {error.start}"
        )
    except json.JSONDecodeError as error:
        return ValueError(f"must be JSON, got {error.msg!r} at column {error.colno}")
    except RecursionError:
        return ValueError("must be JSON, got arrays or objects nested without end")
    except ValueError as error:
        return ValueError(f"must be JSON, got {str(error)[:80]!r}")


def _too_long(line: Line) -> ValueError:
    return ValueError(f"line must be at most {LINE_BYTES} bytes, got {line.length}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name} given twice")
        fields[name] = value
    return fields


def _constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON number")


def _header(
    name: str, line: Line, known: Sequence[str], wanted: str
) -> tuple[str, list[str]] | None:
    """The delimiter and the columns of a CSV file that begins so; None for another kind of list.

    Raises `ListError` where one that is called so names no column that is known, or one twice.
    """
    text = line.text[:HEADER_BYTES].decode(errors="replace").strip()
    if text.startswith(("{", "[")):
        return None
    read = {mark: next(csv.reader([text], delimiter=mark), [""]) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: len(read[mark]))
    columns = [column.strip() for column in read[delimiter]]
    if len(columns) == 1:
        return None
    found = [column for column in columns if column in known]
    twice = next((column for column in found if found.count(column) > 1), None)
    if twice:
        raise ListError(f"{name}: must have one column {twice}, got {found.count(twice)}")
    if not found and name.lower().endswith((".csv", ".tsv")):
        got = ", ".join(columns)
        raise ListError(f"{name}: must have columns {wanted}, got {got[:80]!r}")
    return (delimiter, columns) if found else None


def _csv_rows(name: str, lines: Iterator[Line], delimiter: str, columns: list[str]) -> Rows:
    """A row may span lines, and stands where it begins; an empty field is null."""
    taken: list[int] = []
    too_long: list[Line] = []

    def decoded() -> Iterator[str]:
        for line in lines:
            if line.length > LINE_BYTES:
                too_long.append(line)
                continue
            taken.append(line.number)
            # What is no UTF-8 is told of its row alone.
            yield line.text.decode(errors="surrogateescape") + "\n"

    rows = csv.reader(decoded(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        try:
            fields: Any = next(rows, None)
        except csv.Error as error:
            fields = ValueError(f"must be a row of CSV, got {str(error)!r}")
        yield from ((f"{name}:{line.number}", _too_long(line)) for line in too_long)
        too_long.clear()
        if fields is None:
            return
        yield f"{name}:{taken[0] if taken else 0}", _csv_row(fields, columns)


def _csv_row(fields: Any, columns: list[str]) -> Any:
    if isinstance(fields, ValueError):
        return fields
    if len(fields) != len(columns):
        return ValueError(f"must have {len(columns)} fields as the first line, got {len(fields)}")
    byte = next((c for field in fields for c in field if "\udc80" <= c <= "\udcff"), None)
    if byte is not None:
        return ValueError(f"must be UTF-8, got byte 0x{ord(byte) - 0xDC00:02x}")
    return {column: field or None for column, field in zip(columns, fields, strict=True)}


def _parquet_rows(name: str, stream: BinaryIO, known: Sequence[str], wanted: str) -> Rows:
    try:
        file = UntrustedParquet(stream, name)
        columns = [column for column in file.schema.names if column in known]
        if not columns:
            got = ", ".join(file.schema.names)
            raise ListError(f"{name}: must have columns {wanted}, got {got[:80]!r}")
        for column in columns:
            kind = file.type_of(column)
            if kind is not None and pa.types.is_nested(kind):
                raise ListError(f'{name}: field "{column}": expected text, got {kind}'[:200])
        number = 0
        for group in range(len(file.rows)):
            for batch in file.batches(group, columns):
                names = batch.schema.names
                are_json = map(file.is_json, names)
                for values in zip(*map(texts, batch.columns, are_json), strict=True):
                    number += 1
                    row = dict(zip(names, values, strict=True))
                    for column, value in row.items():
                        if isinstance(value, TooLong):
                            # No list of prompts, and perhaps a few bytes for gigabytes of them.
                            raise ListError(f'{name}: row {number}: field "{column}": {value}')
                    yield f"{name}: row {number}", row
    except NotParquet as error:
        why = str(error).removeprefix(f"{name}: not a Parquet file: ")
        raise ListError(
            f"{name}: must be a whole Parquet file, got {stream.seek(0, 2)} bytes that cannot be "
            f"read ({why})"
        ) from None
    except InputError as error:
        raise ListError(str(error)) from None
