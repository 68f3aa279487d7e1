"""A dataset's index, made by reading the captions of all its files."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from factory.errors import InputError, first_line
from schemas.arrow import check_plain
from schemas.fit import Columns
from trainer.index import Index, instruction_name, where
from trainer.remote_file import RemoteFile
from trainer.shelf import Shelf

READERS = 16
"""Files that are fetched and read at once."""
TAIL = 8
"""A Parquet file ends with its footer's length in four bytes, and four letters."""

Rows = tuple[str, list[tuple[int, int]], list[bytes], list[bytes]]
"""A file's footer, and its rows' places, prompts and instructions."""


def scan(shelf: Shelf, columns: Columns) -> Index:
    """Read every file's captions. Raises `InputError`."""
    with ThreadPoolExecutor(READERS) as threads:
        found = list(
            threads.map(lambda number: _rows(shelf, number, columns), range(len(shelf.names)))
        )
    counts = [len(places) for _, places, _, _ in found]
    if not sum(counts):
        raise InputError(f"{shelf.store.uri}: must hold at least one pair, got no rows")
    place = np.array([one for _, places, _, _ in found for one in places], np.int32)
    return Index(
        files=tuple(shelf.names),
        footers=tuple(footer for footer, _, _, _ in found),
        file=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        group=place[:, 0],
        offset=place[:, 1],
        prompt=_array([one for _, _, prompts, _ in found for one in prompts]),
        said=_array([one for _, _, _, said in found for one in said]),
    )


def footer_hash(place: Path | RemoteFile, name: str) -> str:
    """sha256 of a file's size and footer, 32 hex digits: where columns lie, their sizes and extremes.

    Other pictures under the same captions give another, without reading them all: unless not one has
    another size, nor is the first or last in order of bytes. Raises `InputError`.
    """
    try:
        with nullcontext(place) if isinstance(place, RemoteFile) else place.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            length = int.from_bytes(file.read(TAIL)[:4], "little")
            file.seek(max(0, size - TAIL - length))
            footer = file.read(length)
    except OSError as error:
        raise InputError(f"{name}: not a Parquet file: {first_line(error)}") from None
    return hashlib.sha256(f"{size}\n".encode() + footer).hexdigest()[:32]


def open_file(place: Path | RemoteFile, name: str) -> pq.ParquetFile:
    """A file of a dataset. Raises `InputError`."""
    try:
        return pq.ParquetFile(place, memory_map=True, pre_buffer=isinstance(place, RemoteFile))
    except FileNotFoundError:
        raise InputError(f"{name}: must be a Parquet file, none is there") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: not a Parquet file: {first_line(error)}") from None


def read_group(file: pq.ParquetFile, name: str, group: int, columns: list[str]) -> pa.Table:
    """Some columns of a row group. Raises `InputError`."""
    try:
        return file.read_row_group(group, columns=columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name}: row group {group} cannot be read: {first_line(error)}") from None


def _rows(shelf: Shelf, number: int, names: Columns) -> Rows:
    place, name = shelf.place(number), shelf.names[number]
    # Opened first: of what is no Parquet file any four bytes would be taken for a footer's length.
    file, footer = open_file(place, name), footer_hash(place, name)
    present = set(file.schema_arrow.names)
    _check(name, file.schema_arrow, names)
    captions = [c for c in (names.original_prompt, names.edited_prompt) if c in present]
    wanted = [names.edit_prompt, *captions]
    places: list[tuple[int, int]] = []
    prompts: list[bytes] = []
    instructions: list[bytes] = []
    for group in range(file.num_row_groups):
        read = read_group(file, name, group, wanted).to_pydict()
        words = zip(*(read[column] for column in wanted), strict=True)
        for row, said in enumerate(words):
            if not isinstance(said[0], str):
                raise InputError(
                    f"{where(name, group, row)}: {wanted[0]} must be text, got {said[0]!r:.40}"
                )
            places.append((group, row))
            prompts.append(_prompt(said))
            instructions.append(instruction_name(said[0]))
    return footer, places, prompts, instructions


def _check(name: str, schema: pa.Schema, names: Columns) -> None:
    """Raises `InputError` where a file lacks what is read of it."""
    needed = (names.original_image, names.edit_prompt, names.edited_image)
    missing = [column for column in needed if column not in schema.names]
    if missing:
        raise InputError(
            f"{name}: must have the columns {', '.join(needed)}, got no {missing[0]} among "
            f"{', '.join(sorted(schema.names))}; reading.columns names them otherwise"
        )
    try:
        check_plain(schema)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    for column in (names.original_image, names.edited_image):
        if not _holds_pictures(schema.field(column).type):
            raise InputError(
                f"{name}: {column} must hold encoded pictures (binary, or a struct with bytes), "
                f"got {schema.field(column).type}"
            )


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _prompt(said: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(repr(said).encode()).digest()[:8]


def _array(names: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(names), np.uint8).reshape(len(names), -1)
