"""Arrow schemas derived from the records: the one place where a field becomes a column."""

import io
import json
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.pair import Image
from schemas.record import Record

R = TypeVar("R", bound=Record)

_PLAIN: dict[type, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),  # before int, of which it is a subclass
    int: pa.int64(),
    float: pa.float64(),
    bytes: pa.binary(),
}
_FEATURES: dict[type, dict[str, Any]] = {
    str: {"dtype": "string", "_type": "Value"},
    int: {"dtype": "int64", "_type": "Value"},
    float: {"dtype": "float64", "_type": "Value"},
    bool: {"dtype": "bool", "_type": "Value"},
    Image: {"_type": "Image"},
}


def _base_type(annotation: Any) -> tuple[type, bool]:
    """The plain type of a field, and whether it may be null."""
    if get_origin(annotation) in (Union, UnionType):
        members = [m for m in get_args(annotation) if m is not NoneType]
        if len(members) == 1:
            return _base_type(members[0])[0], True
        raise TypeError(f"a stored field has one type or null, got {annotation}")
    if isinstance(annotation, type):
        for plain in _PLAIN:
            if issubclass(annotation, plain):
                return plain, False
        if annotation is Image:
            return Image, False
    raise TypeError(f"no Arrow type for {annotation}")


def arrow_schema(record: type[Record]) -> pa.Schema:
    """The record's columns in field order, with `datasets` features in the metadata."""
    fields: list[pa.Field] = []
    features: dict[str, Any] = {}
    for name, info in record.model_fields.items():
        plain, nullable = _base_type(info.annotation)
        if plain is Image:
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        else:
            kind = _PLAIN[plain]
        fields.append(pa.field(name, kind, nullable=nullable))
        features[name] = _FEATURES[plain]
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields, metadata=metadata)


def to_parquet(
    record: type[Record], rows: Sequence[Record], metadata: dict[str, str] | None = None
) -> bytes:
    """Rows as one Parquet file; equal rows and metadata give equal bytes under one pyarrow."""
    schema = arrow_schema(record)
    columns = [[_plain(getattr(row, name)) for row in rows] for name in schema.names]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    merged = {
        **(schema.metadata or {}),
        **{k.encode(): v.encode() for k, v in (metadata or {}).items()},
    }
    table = pa.Table.from_arrays(arrays, schema=schema.with_metadata(merged))
    sink = io.BytesIO()
    # Image bytes are compressed already; row groups stay small so that readers can stream.
    pq.write_table(table, sink, compression="zstd", row_group_size=1024, store_schema=True)
    return sink.getvalue()


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, Record) else value


def from_parquet(record: type[R], data: bytes) -> tuple[list[R], dict[str, str]]:
    """The rows and the file's own metadata. Raises `pa.ArrowInvalid` or pydantic's error on damage."""
    table = pq.read_table(pa.BufferReader(data))
    names = list(record.model_fields)
    rows = [record.model_validate(row) for row in table.select(names).to_pylist()]
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    return rows, metadata


def rows_to_json(rows: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows as plain JSON values, for hashing."""
    return [row.model_dump(mode="json") for row in rows]
