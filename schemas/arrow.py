"""Arrow schemas derived from the records: the one place where a field becomes a column."""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.parquet.bounds import LIMITS, SPARE_ROWS
from schemas.parquet.whole import read_columns
from schemas.record import Record

R = TypeVar("R", bound=Record)


class Image(Record):
    """An encoded image as `datasets` stores it."""

    bytes: bytes
    """The encoded file."""
    path: str
    """A name for it; never a place."""


KINDS: dict[type, str] = {
    str: "str",
    bool: "bool",  # before int, of which it is a subclass
    int: "int",
    float: "float",
    bytes: "bytes",
    Image: "image",
}
"""Of columns, by the type of a record's field."""
_ARROW: dict[str, pa.DataType] = {
    "str": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bytes": pa.binary(),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
}
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_BLANK = b"sha256:" + b"0" * 64
_FEATURES: dict[str, dict[str, Any]] = {
    "str": {"dtype": "string", "_type": "Value"},
    "int": {"dtype": "int64", "_type": "Value"},
    "float": {"dtype": "float64", "_type": "Value"},
    "bool": {"dtype": "bool", "_type": "Value"},
    "bytes": {"dtype": "binary", "_type": "Value"},
    "image": {"_type": "Image"},
}


def _base_type(annotation: Any) -> type:
    """The plain type behind a field; null beside it is allowed, anything else is not."""
    if get_origin(annotation) in (Union, UnionType):
        members = [m for m in get_args(annotation) if m is not NoneType]
        if len(members) == 1:
            return _base_type(members[0])
    elif isinstance(annotation, type):
        for plain in KINDS:
            if issubclass(annotation, plain):
                return plain
    raise TypeError(f"no Arrow type for {annotation}")


def columns_of(record: type[Record]) -> dict[str, str]:
    """The record's columns in field order, each with its kind: str, bool, int, float, bytes or image."""
    bases = {name: _base_type(info.annotation) for name, info in record.model_fields.items()}
    return {name: KINDS[base] for name, base in bases.items()}


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Columns by name and kind, with `datasets` features in the metadata.

    Every column may be null for Arrow, because `datasets` knows its own features only then; the
    records are what holds a value to be there.
    """
    fields = [pa.field(name, _ARROW[kind]) for name, kind in columns.items()]
    features = {name: _FEATURES[kind] for name, kind in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields, metadata=metadata)


def to_parquet(
    record: type[Record], rows: Sequence[Record], metadata: dict[str, str] | None = None
) -> bytes:
    """Rows as one Parquet file that carries its own sha256.

    Equal rows and metadata give equal bytes under one version of pyarrow.
    """
    plain = [row.model_dump(warnings=False) for row in rows]
    return write_rows(columns_of(record), plain, metadata)


GROUP_ROWS = 1024
"""In a row group: they stay small so that readers can stream."""


def write_rows(
    columns: Mapping[str, str],
    rows: Iterable[Mapping[str, Any]],
    metadata: dict[str, str] | None = None,
) -> bytes:
    """As `to_parquet`, of plain rows; of those that come one by one two row groups' are held at most."""
    schema, coming = arrow_schema(columns), iter(rows)

    def groups() -> Iterator[pa.Table]:
        part = list(islice(coming, GROUP_ROWS))
        # A file without rows has the columns all the same.
        yield _table(schema, part)
        while part := list(islice(coming, GROUP_ROWS)):
            yield _table(schema, part)

    return write_tables(schema, groups(), metadata, GROUP_ROWS)


def _table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def write_table(
    table: pa.Table, metadata: dict[str, str] | None, row_group_rows: int, **encodings: Any
) -> bytes:
    """As `write_rows`, of columns; `encodings` are the Parquet writer's."""
    return write_tables(table.schema, [table], metadata, row_group_rows, **encodings)


def write_tables(
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    metadata: dict[str, str] | None,
    row_group_rows: int,
    **encodings: Any,
) -> bytes:
    """As `write_table`, of tables one after the other."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd", **encodings) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=row_group_rows)
        writer.add_key_value_metadata({**(metadata or {}), "editmill.digest": _BLANK.decode()})
    data = sink.getvalue()
    return _with_digest(data, _digest_of(data))


def _digest_of(data: bytes) -> bytes:
    """sha256 of a file with its own digest blanked. Raises `ValueError` where it carries none."""
    return b"sha256:" + hashlib.sha256(_with_digest(data, _BLANK)).hexdigest().encode()


def _with_digest(data: bytes, digest: bytes) -> bytes:
    found = list(_DIGEST.finditer(data))
    if not found:
        raise ValueError("file carries no digest of its own")
    # The footer is last; pixels before it may hold anything.
    start, end = found[-1].span()
    return data[:start] + digest + data[end:]


def file_metadata(data: bytes) -> dict[str, str]:
    """The file's own metadata without its rows. Raises `ValueError` where a byte was changed."""
    return _metadata(_checked(data))


def from_parquet(record: type[R], data: bytes) -> tuple[list[R], dict[str, str]]:
    """The rows and the file's own metadata.

    Raises `ValueError` where a byte is not what was written, or a row is not such a record.
    """
    rows, metadata = read_rows(record.model_fields, data)
    return [record.model_validate(row) for row in rows], metadata


def read_rows(columns: Iterable[str], data: bytes) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """As `from_parquet`, as plain rows of these columns."""
    file = _checked(data)
    count = file.metadata.num_rows
    if not 0 <= count <= len(data) + SPARE_ROWS:
        raise ValueError(
            f"must hold at most one row for each of its bytes, got {count} rows in {len(data)} bytes"
        )
    return _read(file, columns, data).to_pylist(), _metadata(file)


def read_table(columns: Iterable[str], data: bytes, repeated: Sequence[str] = ()) -> pa.Table:
    """As `read_rows`, as columns; those with few values that repeat stay Arrow's dictionaries."""
    return _read(_checked(data, repeated), columns, data, repeated)


def read_named_table(columns: Iterable[str], data: bytes) -> pa.Table:
    """As `read_table`, of bytes that were looked at by a hash of whoever names them."""
    return _read(_opened(data), columns, data)


def _checked(data: bytes, repeated: Sequence[str] = ()) -> pq.ParquetFile:
    if _with_digest(data, _digest_of(data)) != data:
        raise ValueError("bytes do not match the file's own digest")
    return _opened(data, repeated)


def _opened(data: bytes, repeated: Sequence[str] = ()) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=list(repeated), **LIMITS)
        check_plain(file.schema_arrow)
    except Exception as error:  # Arrow's, or of whoever registered a type that the file names
        raise ValueError(f"not a Parquet file of ours: {type(error).__name__}: {error}") from error
    return file


def _read(
    file: pq.ParquetFile, columns: Iterable[str], data: bytes, repeated: Sequence[str] = ()
) -> pa.Table:
    """Columns of the types that we write, within the bounds of a file of a run that may be a stranger's."""
    names = list(columns)
    for name, kind in zip(file.schema_arrow.names, file.schema_arrow.types, strict=True):
        if name in names:
            plain = kind.value_type if pa.types.is_dictionary(kind) and name in repeated else kind
            if plain not in _ARROW.values():
                raise ValueError(f"column {name!r} must be of a type that we write, got {kind}")
    return read_columns(file, data, names, repeated)


def check_plain(schema: pa.Schema) -> None:
    """Refuse columns of an extension type. Raises `ValueError`.

    Libraries that are imported elsewhere in the process read such columns, and some have unpickled
    what they hold.
    """
    for name in schema.names:
        kind = schema.field(name).type
        if _is_extended(kind):
            raise ValueError(f"column {name!r} must be of one of Arrow's own types, got {kind}")


def _is_extended(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_extended(kind.value_type)
    inner = (kind.field(i).type for i in range(kind.num_fields))
    return isinstance(kind, pa.BaseExtensionType) or any(map(_is_extended, inner))


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in (file.metadata.metadata or {}).items()}


def rows_to_json(rows: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows as plain JSON values, for hashing."""
    return [row.model_dump(mode="json") for row in rows]
