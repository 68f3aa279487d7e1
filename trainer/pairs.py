"""A dataset of pairs as the trainer sees it: prompts, the rows of each, and their pictures."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from factory.errors import InputError
from schemas.fit import Columns
from trainer.find_files import find_files
from trainer.index import Index
from trainer.scan import footer_hash, open_file, read_group, scan
from trainer.shelf import Shelf

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

    def __init__(self, shelf: Shelf, columns: Columns, index: Index, passing: bool = False) -> None:
        """`shelf` holds the files that the index names.

        A store's files are fetched and kept, or read where they lie for a reader that is `passing`
        from row to row: then each row group that it comes to is fetched.
        """
        self.shelf = shelf
        self._place_of = shelf.place if passing else shelf.path
        self.columns = columns
        self.index = index
        self.digest = index.digest
        """sha256 over files, prompts and places: equal for one dataset wherever it lies."""
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = Lock()
        grouped: dict[bytes, list[int]] = {}
        for row, prompt in enumerate(map(bytes, index.prompt)):
            grouped.setdefault(prompt, []).append(row)
        names = sorted(grouped)
        self.prompts = [name.hex() for name in names]
        """Names of the prompts, 16 hex digits each."""
        self.rows = [grouped[name] for name in names]
        """The rows of each prompt."""

    def __len__(self) -> int:
        return len(self.index)

    def where(self, row: int) -> str:
        """A row for a message."""
        return self.index.where(row)

    def pair(self, row: int) -> EditPair:
        """One row's pictures, empty where they are null, and its instruction.

        Raises `InputError` where the file cannot be read, or is not the one that was indexed.
        """
        number, group, offset = self._place(row)
        table = self._table(number, group)
        names = self.columns
        original, instruction, edited = (
            table[name][offset].as_py()
            for name in (names.original_image, names.edit_prompt, names.edited_image)
        )
        return EditPair(_bytes(original), instruction, _bytes(edited))

    def is_unchanged(self) -> bool:
        """Whether all files are those that were indexed."""
        footers = zip(self.shelf.names, self.index.footers, strict=True)
        return all(
            footer_hash(self.shelf.place(number), name) == footer
            for number, (name, footer) in enumerate(footers)
        )

    def _place(self, row: int) -> tuple[int, int, int]:
        index = self.index
        return int(index.file[row]), int(index.group[row]), int(index.offset[row])

    def _table(self, number: int, group: int) -> pa.Table:
        place, names, name = (number, group), self.columns, self.shelf.names[number]
        with self._lock:
            if place in self._groups:
                self._groups.move_to_end(place)
                return self._groups[place]
        where = self._place_of(number)
        file = open_file(where, name)
        if footer_hash(where, name) != self.index.footers[number]:
            raise InputError(
                f"{self.shelf.store.uri}/{name}: must be the file that it was when this dataset was "
                "first read, got another"
            )
        wanted = [names.original_image, names.edit_prompt, names.edited_image]
        table = read_group(file, name, group, wanted)
        with self._lock:
            self._groups[place] = table
            held = sum(other.nbytes for other in self._groups.values())
            while held > OPEN_BYTES and len(self._groups) > 1:
                held -= self._groups.popitem(last=False)[1].nbytes
        return table


def _bytes(picture: Any) -> bytes:
    """As `datasets` stores one, or bare."""
    if isinstance(picture, dict):
        picture = picture["bytes"]
    return picture or b""


def open_pairs(
    uri: str,
    columns: Columns | None = None,
    cache: Path | None = None,
    pattern: str | None = None,
) -> Pairs:
    """A dataset by its URI, all its captions read; see `find_files`. Raises `InputError`."""
    shelf, columns = find_files(uri, cache, pattern), columns or Columns()
    return Pairs(shelf, columns, scan(shelf, columns))
