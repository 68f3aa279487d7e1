"""A stranger's Parquet file: its columns as they are stored, in batches that fit into memory.

A file of 2 kB may say truly that it unpacks to gigabytes, or falsely that it does not. Nothing is unpacked
before its footer and the headers of its pages were looked at, and no batch is larger than `BATCH_BYTES` or
one row. Types that other libraries of this process have registered are never made: what a file says of
Arrow types is covered up, so that a column is what Parquet stores of it.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from factory.errors import InputError, StorageError, first_line
from schemas.parquet.bounds import (
    BATCH_BYTES,
    LIMITS,
    MOST_FOOTER,
    MOST_LISTED,
    SPARE_ROWS,
    known_options,
    most_unpacked,
)
from schemas.parquet.pages import Unpacked, first_page, unpacked

MAGIC = b"PAR1"
TAIL = 8
"""A file ends with its footer's length in four bytes, and four letters."""
POINTER = b"version https://git-lfs"
POINTER_BYTES = 1024
"""A git-lfs pointer is shorter."""
_ARROW_TYPES, _COVERED = b"ARROW:schema", b"-----:schema"
_OPTIONS = LIMITS | known_options({"arrow_extensions_enabled": False})


class NotParquet(InputError):
    """Not a Parquet file, or no whole one."""


class Stream(Protocol):
    """A binary file that can be read anywhere."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def read(self, size: int = -1, /) -> bytes: ...


class UntrustedParquet:
    """Opened by its footer alone; for one reader at a time."""

    def __init__(self, stream: Stream | pa.NativeFile, name: str) -> None:
        """`name` is what messages call it. Raises `NotParquet`, `InputError`, the stream's errors."""
        self.name = name
        self._hold = getattr(stream, "hold", None)
        self._file = stream if isinstance(stream, pa.NativeFile) else pa.PythonFile(stream, "r")
        self.bytes = int(self._file.size())
        self.footer = read_footer(self._file, name)
        """Its bytes."""
        self._wanted: dict[tuple[str, ...], list[int]] = {}
        covered = self.footer.replace(_ARROW_TYPES, _COVERED)
        alone = MAGIC + covered + len(covered).to_bytes(4, "little") + MAGIC
        try:
            self.metadata = pq.ParquetFile(pa.BufferReader(alone), **_OPTIONS).metadata
            self._parquet = pq.ParquetFile(
                self._file, metadata=self.metadata, pre_buffer=False, **_OPTIONS
            )
            self.schema: pa.Schema = self._parquet.schema_arrow.remove_metadata()
        except StorageError:
            raise
        except Exception as error:  # Arrow's kinds vary with what is amiss
            raise NotParquet(f"{name}: not a Parquet file: {first_line(error)}") from None
        rows = sum(self.rows)
        if rows > self.bytes + SPARE_ROWS:
            raise InputError(
                f"{name}: must hold at most one row for each of its bytes, got {rows} rows in "
                f"{self.bytes} bytes"
            )

    @cached_property
    def rows(self) -> list[int]:
        """How many each row group has."""
        groups = self.metadata.num_row_groups
        return [self.metadata.row_group(group).num_rows for group in range(groups)]

    @cached_property
    def _leaves(self) -> dict[str, int]:
        """The number of each stored column by its path; of a doubled one the last."""
        schema = self.metadata.schema
        return {schema.column(number).path: number for number in range(len(schema))}

    def type_of(self, column: str) -> pa.DataType | None:
        """A column's type, or None where there is none. Raises `InputError` where there are several."""
        count = len(self.schema.get_all_field_indices(column))
        if count > 1:
            raise InputError(f"{self.name}: must have one column {column}, got {count}")
        return self.schema.field(column).type if count else None

    def is_json(self, column: str) -> bool:
        """Whether a column holds JSON, by Parquet's own kinds, and its text is to be decoded."""
        number = self._leaves.get(column)
        if number is None:
            return False
        return bool(self.metadata.schema.column(number).logical_type.type == "JSON")

    def batches(self, group: int, paths: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows of a row group in order: of columns by their names, or parts of them (`image.bytes`).

        Raises `InputError` where it would unpack to too much, or cannot be read, and the `StorageError` of
        the store that it lies in.
        """
        try:
            rows = self._rows_at_once(group, paths)
            # Whoever reads has threads of his own.
            yield from self._parquet.iter_batches(
                rows, row_groups=[group], columns=list(paths), use_threads=False
            )
        except (InputError, StorageError):
            raise
        except Exception as error:  # Arrow's, or of a page that is none
            raise InputError(
                f"{self.name}: row group {group} cannot be read: {first_line(error)}"
            ) from None

    def null_count(self, group: int, path: str) -> int | None:
        """How many values of a stored column are null; None where the file does not say."""
        number = self._leaves.get(path)
        if number is None:
            return None
        found = self.metadata.row_group(group).column(number).statistics
        return found.null_count if found is not None and found.has_null_count else None

    def most(self, group: int, paths: Sequence[str]) -> int:
        """Bytes to which columns of a row group may unpack."""
        return self._most(self._chunks(group, tuple(paths)))

    def _most(self, chunks: Sequence[Any]) -> int:
        packed = sum(chunk.total_compressed_size for chunk in chunks)
        return most_unpacked(min(packed, self.bytes))

    def _rows_at_once(self, group: int, paths: Sequence[str]) -> int:
        """How many rows a batch may have. Raises `InputError` for too large a row group."""
        chunks = self._chunks(group, tuple(paths))
        most, rows = self._most(chunks), self.rows[group]
        # By the footer before anything is fetched, then by the pages' own headers.
        self._check_size(group, sum(chunk.total_uncompressed_size for chunk in chunks), most)
        places = [(first_page(chunk), chunk.total_compressed_size) for chunk in chunks]
        if self._hold is not None:
            self._hold(places)
        found = [self._unpacked(start, length) for start, length in places]
        self._check_size(group, sum(chunk.bytes for chunk in found), most)
        whole = sum(chunk.value * rows if chunk.repeats else chunk.bytes for chunk in found)
        if whole <= BATCH_BYTES:
            return max(1, min(rows, MOST_LISTED))
        return max(1, min(BATCH_BYTES // max(1, sum(chunk.value for chunk in found)), MOST_LISTED))

    def _unpacked(self, start: int, length: int) -> Unpacked:
        if start < len(MAGIC) or length < 0 or start + length > self.bytes:
            raise ValueError(f"a column at byte {start} of {length} bytes in {self.bytes}")
        return unpacked(self._file.read_at, start, length)

    def _check_size(self, group: int, size: int, most: int) -> None:
        if not 0 <= size <= most:
            raise InputError(
                f"{self.name}: row group {group} must unpack to at most {most} bytes, got {size} in "
                f"a file of {self.bytes}"
            )

    def _chunks(self, group: int, paths: tuple[str, ...]) -> list[Any]:
        """What the footer says of the stored columns of columns."""
        described = self.metadata.row_group(group)
        return [described.column(number) for number in self._numbers(paths)]

    def _numbers(self, paths: tuple[str, ...]) -> list[int]:
        if paths not in self._wanted:
            begin = tuple(f"{path}." for path in paths)
            self._wanted[paths] = [
                number
                for path, number in self._leaves.items()
                if path in paths or path.startswith(begin)
            ]
        return self._wanted[paths]


def read_footer(file: pa.NativeFile, name: str) -> bytes:
    """A Parquet file's footer. Raises `NotParquet`, and `InputError` for one that is too long."""
    size = int(file.size())
    # Of a larger file its beginning would be another request to a store.
    if size < POINTER_BYTES and file.read_at(min(size, len(POINTER)), 0) == POINTER:
        raise NotParquet(
            f"{name}: expected Parquet, got a git-lfs pointer of {size} bytes; run git lfs pull"
        )
    end = file.read_at(min(size, TAIL), max(0, size - TAIL))
    length = int.from_bytes(end[:4], "little")
    if len(end) < TAIL or end[4:] != MAGIC or length > size - TAIL - len(MAGIC):
        try:
            # Refused by its end in the library's words.
            pq.read_metadata(file)
        except StorageError:
            raise
        except Exception as error:
            raise NotParquet(f"{name}: not a Parquet file: {first_line(error)}") from None
        raise NotParquet(f"{name}: not a Parquet file: it ends with {end!r}")
    if length > MOST_FOOTER:
        raise InputError(f"{name}: must have a footer of at most {MOST_FOOTER} bytes, got {length}")
    return bytes(file.read_at(length, size - TAIL - length))
