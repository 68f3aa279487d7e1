"""Pickles that tell on whoever unpickles them: each makes a folder."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import arrow


class Payload:
    """What unpickles as a call of `os.mkdir`."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.canary,)


def raw(canary: Path) -> bytes:
    """A plain pickle."""
    return pickle.dumps({"state_dict": Payload(canary)}, protocol=2)


def newest(canary: Path) -> bytes:
    """As Ray stores objects in columns."""
    return pickle.dumps(Payload(canary), protocol=pickle.HIGHEST_PROTOCOL)


def zipped(canary: Path) -> bytes:
    """As `torch.save` has written since 1.6."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("archive/data.pkl", raw(canary))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return sink.getvalue()


def safetensors_around(data: bytes) -> bytes:
    """A whole safetensors file whose one weight is a pickle."""
    entry = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    header = json.dumps({"weight": entry}).encode()
    return len(header).to_bytes(8, "little") + header + data


EXTENSIONS = (
    "arrow.py_extension_type",
    "ray.data.arrow_pickled_object",
    "ray.data.arrow_tensor",
    "ray.data.arrow_tensor_v2",
    "ray.data.arrow_variable_shaped_tensor",
)
"""Arrow types whose owners have unpickled what a file says of them, or holds in them."""


def extended(data: bytes, column: str, name: str, pickled: bytes) -> bytes:
    """A file of ours in which one column is of an extension type, with a digest that fits."""
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    kept = pq.ParquetFile(pa.BufferReader(data)).metadata.metadata
    at = table.schema.get_field_index(column)
    # Ray's type of pickled objects is the one whose own form a file must keep to be read at all.
    said = b"" if name == "ray.data.arrow_pickled_object" else pickled
    extension = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": said}
    field = pa.field(column, pa.large_binary(), metadata=extension)
    table = table.set_column(at, field, pa.array([pickled] * len(table), pa.large_binary()))
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        own = {k: v for k, v in kept.items() if k != b"ARROW:schema"}
        writer.add_key_value_metadata(own | {b"editmill.digest": arrow._BLANK})
    written = sink.getvalue()
    return arrow._with_digest(written, arrow._digest_of(written))
