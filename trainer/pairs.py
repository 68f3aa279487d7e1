"""A dataset of pairs as the trainer sees it: prompts, the rows of each, and their pictures."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.errors import InputError, first_line
from schemas.arrow import check_plain
from schemas.canonical import content_hash
from schemas.fit import Columns
from trainer.shelf import Shelf, find_files

OPEN_BYTES = 2**30
"""Row groups are kept in memory up to this size."""


@dataclass(frozen=True)
class EditPair:
    """One row: two encoded pictures and the instruction."""

    original: bytes
    instruction: str
    edited: bytes


class Pairs:
    """Rows by number, grouped by prompt; pictures are read when they are asked for."""

    def __init__(self, shelf: Shelf, columns: Columns) -> None:
        """Reads every file's captions. Raises `InputError`."""
        self.shelf = shelf
        self.columns = columns
        self._places: list[tuple[int, int, int]] = []
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = Lock()
        grouped: dict[str, list[int]] = {}
        for number, name in enumerate(shelf.names):
            for prompt, place in self._index(number, name):
                grouped.setdefault(prompt, []).append(len(self._places))
                self._places.append((number, *place))
        if not grouped:
            raise InputError(f"{shelf.store.uri}: must hold at least one pair, got no rows")
        self.prompts = sorted(grouped)
        """Names of the prompts, 16 hex digits each."""
        self.rows = [grouped[prompt] for prompt in self.prompts]
        """The rows of each prompt."""

    def __len__(self) -> int:
        return len(self._places)

    @property
    def digest(self) -> str:
        """sha256 over prompts and places: equal for one sealed dataset wherever it lies."""
        return content_hash([self.shelf.names, self.prompts, self.rows])

    def where(self, row: int) -> str:
        """A row for a message."""
        number, group, offset = self._places[row]
        return _where(self.shelf.names[number], group, offset)

    def pair(self, row: int) -> EditPair:
        """One row's pictures, empty where they are null, and its instruction."""
        number, group, offset = self._places[row]
        table = self._table(number, group)
        names = self.columns
        found = [
            table[name][offset].as_py()
            for name in (names.original_image, names.edit_prompt, names.edited_image)
        ]
        original, instruction, edited = found
        return EditPair(_bytes(original), instruction, _bytes(edited))

    def _index(self, number: int, name: str) -> list[tuple[str, tuple[int, int]]]:
        """Each row's prompt and place in a file."""
        file = self._open(number, name)
        schema, names = file.schema_arrow, self.columns
        present = set(schema.names)
        needed = (names.original_image, names.edit_prompt, names.edited_image)
        missing = [column for column in needed if column not in present]
        if missing:
            raise InputError(
                f"{name}: must have the columns {', '.join(needed)}, got no {missing[0]} among "
                f"{', '.join(sorted(present))}; reading.columns names them otherwise"
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
        captions = [c for c in (names.original_prompt, names.edited_prompt) if c in present]
        wanted = [names.edit_prompt, *captions]
        found: list[tuple[str, tuple[int, int]]] = []
        for group in range(file.num_row_groups):
            columns = _read(file, name, group, wanted).to_pydict()
            words = zip(*(columns[column] for column in wanted), strict=True)
            for row, said in enumerate(words):
                if not isinstance(said[0], str):
                    raise InputError(
                        f"{_where(name, group, row)}: {wanted[0]} must be text, got {said[0]!r:.40}"
                    )
                found.append((_prompt(said), (group, row)))
        return found

    def _table(self, number: int, group: int) -> pa.Table:
        place, names, name = (number, group), self.columns, self.shelf.names[number]
        with self._lock:
            if place in self._groups:
                self._groups.move_to_end(place)
                return self._groups[place]
        wanted = [names.original_image, names.edit_prompt, names.edited_image]
        table = _read(self._open(number, name), name, group, wanted)
        with self._lock:
            self._groups[place] = table
            held = sum(other.nbytes for other in self._groups.values())
            while held > OPEN_BYTES and len(self._groups) > 1:
                held -= self._groups.popitem(last=False)[1].nbytes
        return table

    def _open(self, number: int, name: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.shelf.path(number), memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a Parquet file: {first_line(error)}") from None


def _read(file: pq.ParquetFile, name: str, group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name}: row group {group} cannot be read: {first_line(error)}") from None


def _where(name: str, group: int, row: int) -> str:
    return f"{name}: row group {group}, row {row}"


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _bytes(picture: Any) -> bytes:
    """As `datasets` stores one, or bare."""
    if isinstance(picture, dict):
        picture = picture["bytes"]
    return picture or b""


def _prompt(said: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def open_pairs(uri: str, columns: Columns | None = None, cache: Path | None = None) -> Pairs:
    """A dataset by its URI. Raises `InputError`."""
    return Pairs(find_files(uri, cache), columns or Columns())
