"""Parquet files written by hand, so that they may say what is not so.

Source: github.com/apache/parquet-format, parquet.thrift; Thrift's compact protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa

PLAIN, DELTA_BYTE_ARRAY, DICTIONARY_INDICES = 0, 7, 8
DATA, DICTIONARY = 0, 2
ZSTD = 6


@dataclass(frozen=True)
class Page:
    """A page as it lies in the file, and what its header says of it."""

    packed: bytes
    unpacked: int
    values: int
    kind: int = DATA
    encoding: int = PLAIN


@dataclass(frozen=True)
class Column:
    """A column of text, or of bytes; `said` is what the footer says that it unpacks to."""

    name: str
    pages: Sequence[Page] = field(default=())
    said: int | None = None
    is_text: bool = True


def page(data: bytes, values: int, **fields: int) -> Page:
    """A page of these bytes, compressed."""
    return Page(pa.compress(data, "zstd", asbytes=True), len(data), values, **fields)


def repeated(value: bytes, rows: int) -> tuple[Page, Page]:
    """Pages of so many rows that all have this value."""
    # One run of the index 0, of which no bit is needed: it takes none.
    run = bytes([0]) + natural(rows << 1)
    words = page(plain(value), 1, kind=DICTIONARY)
    return words, page(run, rows, encoding=DICTIONARY_INDICES)


def plain(*values: bytes) -> bytes:
    """Text in the encoding of that name."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def parquet_file(
    columns: Sequence[Column], rows: int, metadata: Mapping[str, str] | None = None
) -> bytes:
    """One row group of required columns; `metadata` is the file's own."""
    body, chunks = bytearray(b"PAR1"), []
    for column in columns:
        start, unpacked = len(body), 0
        first_data = start
        for one in column.pages:
            header = page_header(one)
            if one.kind == DATA and first_data == start:
                first_data = len(body)
            body += header + one.packed
            unpacked += len(header) + one.unpacked
        footers = unpacked if column.said is None else column.said
        chunks.append(chunk(column, start, first_data, len(body) - start, footers, rows))
    group = struct((1, listed(chunks)), (2, long(1)), (3, long(rows)))
    schema = [struct((4, text("schema")), (5, integer(len(columns))))]
    schema += [
        struct(
            (1, integer(6)),
            (3, integer(0)),
            (4, text(column.name)),
            *([(6, integer(0))] if column.is_text else []),
        )
        for column in columns
    ]
    said = [struct((1, text(key)), (2, text(value))) for key, value in (metadata or {}).items()]
    footer = struct(
        (1, integer(1)),
        (2, listed(schema)),
        (3, long(rows)),
        (4, listed([group])),
        *([(5, listed(said))] if said else []),
    )[1]
    return bytes(body) + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def page_header(one: Page) -> bytes:
    described = struct((1, integer(one.values)), (2, integer(one.encoding)))
    if one.kind == DATA:
        described = struct(
            (1, integer(one.values)),
            (2, integer(one.encoding)),
            (3, integer(3)),
            (4, integer(3)),
        )
    place = 5 if one.kind == DATA else 7
    return struct(
        (1, integer(one.kind)),
        (2, integer(one.unpacked)),
        (3, integer(len(one.packed))),
        (place, described),
    )[1]


def chunk(
    column: Column, start: int, first_data: int, length: int, said: int, rows: int
) -> tuple[int, bytes]:
    encodings = sorted({one.encoding for one in column.pages})
    dictionary = [(11, long(start))] if first_data > start else []
    described = struct(
        (1, integer(6)),
        (2, listed([integer(encoding) for encoding in encodings])),
        (3, listed([text(column.name)])),
        (4, integer(ZSTD)),
        (5, long(rows)),
        (6, long(said)),
        (7, long(length)),
        (9, long(first_data)),
        *dictionary,
    )
    return struct((2, long(start)), (3, described))


Value = tuple[int, bytes]
"""A Thrift type and a value of it."""


def integer(value: int) -> Value:
    return 5, natural(value << 1 if value >= 0 else (-value << 1) - 1)


def long(value: int) -> Value:
    return 6, integer(value)[1]


def text(value: str) -> Value:
    return 8, natural(len(value.encode())) + value.encode()


def listed(values: Sequence[Value]) -> Value:
    kind = values[0][0] if values else 5
    return 9, bytes([0xF0 | kind]) + natural(len(values)) + b"".join(data for _, data in values)


def struct(*fields: tuple[int, Value]) -> Value:
    data, before = bytearray(), 0
    for number, (kind, value) in fields:
        if number - before < 16:
            data += bytes([(number - before) << 4 | kind]) + value
        else:
            data += bytes([kind]) + natural(number << 1) + value
        before = number
    return 12, bytes(data) + b"\0"


def natural(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes(data) + bytes([value])


def delta_packed(numbers: Sequence[int]) -> bytes:
    """Integers in the encoding DELTA_BINARY_PACKED."""
    data = natural(128) + natural(4) + natural(len(numbers)) + integer(numbers[0])[1]
    deltas = [after - before for before, after in pairwise(numbers)]
    for start in range(0, len(deltas), 128):
        block = deltas[start : start + 128]
        least = min(block)
        above = [delta - least for delta in block] + [0] * (128 - len(block))
        parts = [above[place : place + 32] for place in range(0, 128, 32)]
        widths = [max(part).bit_length() for part in parts]
        data += integer(least)[1] + bytes(widths)
        for part, width in zip(parts, widths, strict=True):
            bits = sum(value << (width * place) for place, value in enumerate(part))
            data += bits.to_bytes(width * 4, "little")
    return data
