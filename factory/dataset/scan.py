"""A dataset's index, made by reading the captions of all its files."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.index import Index, instruction_name, where
from factory.dataset.picture_columns import check_pictures
from factory.errors import InputError, first_line
from factory.storage.remote_file import RemoteFile
from factory.storage.shelf import Shelf
from factory.untrusted_parquet.file import NotParquet, UntrustedParquet, read_footer
from factory.untrusted_parquet.texts import texts
from schemas.training.fit import Columns
from schemas.training.root import InstructionsRecord

READERS = 16
"""Files that are fetched and read at once."""


class TokenLimit(Protocol):
    """How much of an instruction a text encoder reads; asked by several threads."""

    tokens: int
    """The two marks included."""

    def cuts(self, instruction: str) -> bool:
        """Whether it reads less than all of it."""


@dataclass(frozen=True)
class _Rows:
    """What was read of a file."""

    name: str
    footer: str
    captions: tuple[str, ...]
    """The columns of captions that it has."""
    counts: list[int]
    """Rows of each row group."""
    prompts: bytes
    """8 for each row."""
    instructions: bytes
    """16 for each row."""
    cut: bytearray
    """1 for each row: whether its instruction is longer than the text encoder takes."""


def scan(
    shelf: Shelf, columns: Columns, limit: TokenLimit | None = None
) -> tuple[Index, InstructionsRecord | None]:
    """Read every file's captions; count the instructions that a `limit` cuts. Raises `InputError`."""
    with ThreadPoolExecutor(READERS) as threads:
        found = list(
            threads.map(
                lambda number: _rows(shelf, number, columns, limit), range(len(shelf.names))
            )
        )
    filled = [rows for rows in found if rows.cut]
    if not filled:
        raise InputError(f"{shelf.store.uri}: must hold at least one pair, got no rows")
    _check_captions(filled)
    groups = [(group, count) for rows in found for group, count in enumerate(rows.counts)]
    index = Index(
        files=tuple(shelf.names),
        footers=tuple(rows.footer for rows in found),
        file=np.repeat(np.arange(len(found), dtype=np.int32), [len(rows.cut) for rows in found]),
        group=np.concatenate([np.full(count, group, np.int32) for group, count in groups]),
        offset=np.concatenate([np.arange(count, dtype=np.int32) for _, count in groups]),
        prompt=_array([rows.prompts for rows in found], 8),
        instruction=_array([rows.instructions for rows in found], 16),
    )
    if limit is None:
        return index, None
    is_cut = _array([rows.cut for rows in found], 1)[:, 0] > 0
    whole, cut = (
        len(np.unique(names, axis=0)) for names in (index.instruction, index.instruction[is_cut])
    )
    return index, InstructionsRecord(instructions=whole, truncated=cut, limit=limit.tokens)


def footer_hash(place: Path | RemoteFile, name: str) -> str:
    """sha256 of a file's size and footer, 32 hex digits: where columns lie, their sizes and extremes.

    Other pictures under the same captions give another hash, though no picture is read. It stays the same
    only where each picture has the size of the one before it, and those that are the first and the last in
    order of bytes are the same, too. Raises `InputError`.
    """
    file = _native(place, name)
    return _footer_hash(int(file.size()), read_footer(file, name))


def hash_of(file: UntrustedParquet) -> str:
    """As `footer_hash`, of a file that is open."""
    return _footer_hash(file.bytes, file.footer)


def open_file(place: Path | RemoteFile, name: str) -> UntrustedParquet:
    """A file of a dataset. Raises `InputError`."""
    stream = place if isinstance(place, RemoteFile) else _native(place, name)
    return UntrustedParquet(stream, name)


def _footer_hash(size: int, footer: bytes) -> str:
    return hashlib.sha256(f"{size}\n".encode() + footer).hexdigest()[:32]


def _native(place: Path | RemoteFile, name: str) -> pa.NativeFile:
    if isinstance(place, RemoteFile):
        return pa.PythonFile(place, "r")
    try:
        # An empty file cannot be mapped.
        mapped = place.stat().st_size > 0
        return (pa.memory_map if mapped else pa.OSFile)(os.fsencode(place))
    except FileNotFoundError:
        raise InputError(f"{name}: must be a Parquet file, none is there") from None
    except (pa.ArrowException, OSError) as error:
        raise NotParquet(f"{name}: not a Parquet file: {first_line(error)}") from None


def _rows(shelf: Shelf, number: int, names: Columns, limit: TokenLimit | None) -> _Rows:
    name = shelf.names[number]
    file = open_file(shelf.place(number), name)
    captions: tuple[str, ...] = ()
    prompts, instructions, cut = bytearray(), bytearray(), bytearray()
    # What a file without rows says of its columns matters to nobody.
    if any(file.rows):
        captions = _check(file, names)
        check_pictures(file, names)
        for row in _texts(file, [names.edit_prompt, *captions]):
            prompts += hashlib.sha256(repr(row).encode()).digest()[:8]
            instructions += instruction_name(row[0])
            cut.append(limit is not None and limit.cuts(row[0]))
    return _Rows(name, hash_of(file), captions, file.rows, bytes(prompts), bytes(instructions), cut)


def _texts(file: UntrustedParquet, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The instruction and the captions of each row. Raises `InputError`."""
    are_json = [file.is_json(name) for name in columns]
    for group in range(len(file.rows)):
        row = 0
        for batch in file.batches(group, columns):
            read = [
                texts(batch.column(name), is_json)
                for name, is_json in zip(columns, are_json, strict=True)
            ]
            kinds = [set(map(type, values)) for values in read]
            if kinds[0] != {str} or any(issubclass(k, ValueError) for k in set().union(*kinds)):
                for offset, values in enumerate(zip(*read, strict=True)):
                    _check_row(values, columns, where(file.name, group, row + offset))
            yield from zip(*read, strict=True)
            row += batch.num_rows


def _check_row(values: tuple[Any, ...], columns: list[str], place: str) -> None:
    for column, value in zip(columns, values, strict=True):
        if isinstance(value, ValueError):
            raise InputError(f"{place}: {column} {value}")
    if not isinstance(values[0], str):
        raise InputError(f"{place}: {columns[0]} must be text, got {values[0]!r:.40}")


def _check(file: UntrustedParquet, names: Columns) -> tuple[str, ...]:
    """The columns of captions that a file has. Raises `InputError` where it lacks what is read of it."""
    needed = (names.original_image, names.edit_prompt, names.edited_image)
    missing = [column for column in needed if file.type_of(column) is None]
    if missing:
        raise InputError(
            f"{file.name}: must have the columns {', '.join(needed)}, got no {missing[0]} among "
            f"{', '.join(sorted(file.schema.names))}; reading.columns names them otherwise"
        )
    kinds = {c: file.type_of(c) for c in (names.original_prompt, names.edited_prompt)}
    captions = tuple(column for column, kind in kinds.items() if kind is not None)
    for column in (names.edit_prompt, *captions):
        kind = file.type_of(column)
        if pa.types.is_nested(kind):
            raise InputError(f"{file.name}: {column} must be text, got {kind}"[:300])
    return captions


def _check_captions(files: list[_Rows]) -> None:
    """Raises `InputError` where one file's rows would be grouped by other columns than another's."""
    most = max(files, key=lambda rows: len(rows.captions))
    for rows in files:
        missing = [column for column in most.captions if column not in rows.captions]
        if missing:
            lacking = sum(other.captions == rows.captions for other in files)
            raise InputError(
                f"{rows.name}: must have the column {missing[0]} as {most.name} has, got none (in "
                f"{lacking} of {len(files)} files); reading.files chooses files"
            )


def _array(parts: list[bytes] | list[bytearray], width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, width)
