"""Columns of a whole Parquet file in memory, unless they would come to more than it may unpack to.

A run may be a stranger's, who stamps what he likes: a file of 2 kB may say truly that it unpacks to
gigabytes, or falsely that it does not. So the headers of its pages are looked at before any is unpacked,
and where a value may come again in many rows the rows are counted while they are read.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.parquet.bounds import BATCH_BYTES, most_unpacked
from schemas.parquet.pages import first_page, unpacked

_ROW_BYTES = 8
"""Of a column in memory, beside its text."""
_FIXED = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE")


@dataclass
class _Sizes:
    """What becomes of the columns of a file that are read, in bytes."""

    least: int = 0
    """All pages, and what each row takes beside them."""
    most: int = 0
    """The same, where each row had its column's longest value."""
    row: int = 0
    """The longest row: of values that may come again, the longest of each column."""


def read_columns(
    file: pq.ParquetFile, data: bytes, columns: Sequence[str], repeated: Collection[str] = ()
) -> pa.Table:
    """All rows of some columns of a file that was opened over `data`.

    `repeated` are those that it was opened to read as Arrow's dictionaries. Raises `ValueError` where they
    come to more than `most_unpacked` of the file's bytes, are lists, or stand in no encoding of ours.
    """
    names, allowed = list(columns), most_unpacked(len(data))
    sizes = _sizes(file.metadata, data, names, repeated)
    _check(sizes.least, allowed, data)
    try:
        if sizes.most <= allowed:
            # In this thread: a process that ends soon after Arrow began its threads may be aborted by it.
            return file.read(names, use_threads=False)
        batches, held = [], 0
        rows = max(1, BATCH_BYTES // max(1, sizes.row))
        for batch in file.iter_batches(rows, columns=names, use_threads=False):
            plain = (
                c
                for n, c in zip(batch.schema.names, batch.columns, strict=True)
                if n not in repeated
            )
            held += sum(column.nbytes for column in plain)
            _check(held, allowed, data)
            batches.append(batch)
        return pa.Table.from_batches(batches)
    except ValueError:
        raise
    except Exception as error:  # Arrow's kinds vary with what is amiss
        raise ValueError(f"cannot be read: {type(error).__name__}: {error}") from None


def _sizes(
    metadata: pq.FileMetaData, data: bytes, names: Sequence[str], repeated: Collection[str]
) -> _Sizes:
    """By the headers of all pages that would be read. Raises `ValueError`."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    found, packed = _Sizes(), 0
    for number in range(len(metadata.schema)):
        column = metadata.schema.column(number)
        name = column.path.partition(".")[0]
        if name not in names:
            continue
        if column.max_repetition_level:
            raise ValueError(f"column {name!r} must hold no lists")
        is_fixed, longest = column.physical_type in _FIXED, 0
        for group in groups:
            rows, chunk = group.num_rows, group.column(number)
            start, length = first_page(chunk), chunk.total_compressed_size
            packed += length
            if (
                min(rows, length) < 0
                or start < len(b"PAR1")
                or max(start + length, packed) > len(data)
            ):
                raise ValueError(f"column {name!r} must lie in the file, got byte {start}")
            pages = unpacked(lambda count, at: data[at : at + count], start, length)
            if pages.is_delta:
                raise ValueError(f"column {name!r} must have no values that begin as others")
            least = pages.bytes + _ROW_BYTES * rows
            comes_again = pages.is_dictionary and not is_fixed and name not in repeated
            found.least += least
            found.most += least + (pages.value * rows if comes_again else 0)
            longest = max(longest, 0 if is_fixed else pages.value)
        found.row += longest
    return found


def _check(size: int, allowed: int, data: bytes) -> None:
    if not 0 <= size <= allowed:
        raise ValueError(
            f"must unpack to at most {allowed} bytes, got {size} or more in a file of {len(data)}"
        )
