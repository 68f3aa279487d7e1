"""A dataset of pairs as the trainer sees it: prompts, the rows of each, and their pictures."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.errors import InputError, first_line
from schemas.canonical import content_hash
from schemas.fit import Columns
from trainer.shelf import Shelf, find_files

OPEN_GROUPS = 64
"""Row groups that are kept in memory."""


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
        return f"{self.shelf.names[number]}: row group {group}, row {offset}"

    def pair(self, row: int) -> EditPair:
        """One row's pictures and instruction. Raises `InputError` where a value is missing."""
        number, group, offset = self._places[row]
        table = self._table(number, group)
        names = self.columns
        found = [
            table[name][offset].as_py()
            for name in (names.original_image, names.edit_prompt, names.edited_image)
        ]
        original, instruction, edited = found
        if isinstance(original, dict):
            original = original.get("bytes")
        if isinstance(edited, dict):
            edited = edited.get("bytes")
        if not original or not edited or not isinstance(instruction, str):
            raise InputError(
                f"{self.where(row)}: both pictures and the instruction must be there, got nulls"
            )
        return EditPair(original, instruction, edited)

    def _index(self, number: int, name: str) -> list[tuple[str, tuple[int, int]]]:
        """Each row's prompt and place in a file."""
        file = self._open(number, name)
        present, names = set(file.schema_arrow.names), self.columns
        needed = (names.original_image, names.edit_prompt, names.edited_image)
        missing = [column for column in needed if column not in present]
        if missing:
            raise InputError(
                f"{name}: must have the columns {', '.join(needed)}, got no {missing[0]} among "
                f"{', '.join(sorted(present))}; reading.columns names them otherwise"
            )
        captions = [c for c in (names.original_prompt, names.edited_prompt) if c in present]
        wanted = [names.edit_prompt, *captions]
        found: list[tuple[str, tuple[int, int]]] = []
        for group in range(file.num_row_groups):
            columns = file.read_row_group(group, columns=wanted).to_pydict()
            words = zip(*(columns[column] for column in wanted), strict=True)
            found += [(_prompt(said), (group, row)) for row, said in enumerate(words)]
        return found

    def _table(self, number: int, group: int) -> pa.Table:
        place = (number, group)
        if place not in self._groups:
            file = self._open(number, self.shelf.names[number])
            names = self.columns
            wanted = [names.original_image, names.edit_prompt, names.edited_image]
            self._groups[place] = file.read_row_group(group, columns=wanted)
            if len(self._groups) > OPEN_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]

    def _open(self, number: int, name: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.shelf.path(number), memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a Parquet file: {first_line(error)}") from None


def _prompt(said: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def open_pairs(uri: str, columns: Columns | None = None, cache: Path | None = None) -> Pairs:
    """A dataset by its URI. Raises `InputError`."""
    return Pairs(find_files(uri, cache), columns or Columns())
