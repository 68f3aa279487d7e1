"""Rows of files: two pictures and an instruction each, by the row's number."""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa

from factory.dataset.index import Index
from factory.dataset.picture_columns import bytes_and_path, stored_parts
from factory.dataset.scan import footer_hash, hash_of, open_file
from factory.errors import InputError
from factory.storage.shelf import Shelf
from factory.untrusted_parquet.file import UntrustedParquet
from factory.untrusted_parquet.texts import texts
from schemas.training.fit import Columns

OPEN_BYTES = 2**30
"""Row groups are kept in memory up to this size."""


@dataclass(frozen=True)
class EditPair:
    """One row: two encoded pictures and the instruction."""

    original: bytes
    instruction: str
    edited: bytes
    unembedded: dict[str, str] = field(default_factory=dict)
    """The paths that stand in place of pictures: by `original` and `edited`."""


class Pairs:
    """The rows of files, by number; pictures are read when they are asked for."""

    def __init__(
        self, shelf: Shelf, columns: Columns, index: Index, reads_once: bool = False
    ) -> None:
        """`shelf` holds the files that the index names.

        A store's files are fetched and kept, or read where they lie for a reader that `reads_once`, from
        row to row: then each row group that it comes to is fetched.
        """
        self.shelf = shelf
        self._place_of = shelf.place if reads_once else shelf.path
        self.columns = columns
        self.index = index
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.index)

    def where(self, row: int) -> str:
        """A row for a message."""
        return self.index.where(row)

    def pair(self, row: int) -> EditPair:
        """One row's pictures, empty where they are null, and its instruction.

        Raises `InputError` where the file cannot be read, or is not the one that was indexed.
        """
        places = self.index.file, self.index.group, self.index.offset
        number, group, offset = (int(place[row]) for place in places)
        table = self._table(number, group)
        names = self.columns
        (instruction,) = texts(table[names.edit_prompt].slice(offset, 1).combine_chunks())
        if not isinstance(instruction, str):
            raise InputError(f"{self.where(row)}: {names.edit_prompt} must be text, as it was")
        pictures = {
            "original": bytes_and_path(table[names.original_image][offset]),
            "edited": bytes_and_path(table[names.edited_image][offset]),
        }
        unembedded = {name: path for name, (_, path) in pictures.items() if path is not None}
        data = [data for data, _ in pictures.values()]
        return EditPair(data[0], instruction, data[1], unembedded)

    def is_unchanged(self) -> bool:
        """Whether all files are those that were indexed."""
        footers = zip(self.shelf.names, self.index.footers, strict=True)
        return all(
            footer_hash(self.shelf.place(number), name) == footer
            for number, (name, footer) in enumerate(footers)
        )

    def _table(self, number: int, group: int) -> pa.Table:
        place, name = (number, group), self.shelf.names[number]
        with self._lock:
            if place in self._groups:
                self._groups.move_to_end(place)
                return self._groups[place]
        file = open_file(self._place_of(number), name)
        if hash_of(file) != self.index.footers[number]:
            raise InputError(
                f"{self.shelf.store.uri}/{name}: must be the file that it was when this dataset was "
                "first read, got another"
            )
        table = _read_group(file, group, self.columns)
        with self._lock:
            self._groups[place] = table
            held = sum(other.nbytes for other in self._groups.values())
            while held > OPEN_BYTES and len(self._groups) > 1:
                held -= self._groups.popitem(last=False)[1].nbytes
        return table


def _read_group(file: UntrustedParquet, group: int, names: Columns) -> pa.Table:
    """A row group's pictures and instructions. Raises `InputError`."""
    wanted = [
        *stored_parts(file, names.original_image),
        names.edit_prompt,
        *stored_parts(file, names.edited_image),
    ]
    most, held = file.most(group, wanted), 0
    batches: list[pa.RecordBatch] = []
    for batch in file.batches(group, wanted):
        # One page's picture may come again in all rows.
        held += batch.nbytes
        if held > most:
            raise InputError(
                f"{file.name}: row group {group} must unpack to at most {most} bytes, got more in a "
                f"file of {file.bytes}"
            )
        batches.append(batch)
    table = pa.Table.from_batches(batches)
    if file.is_json(names.edit_prompt):
        read = [texts(chunk, is_json=True) for chunk in table[names.edit_prompt].chunks]
        said = [word if isinstance(word, str) else None for words in read for word in words]
        place = table.schema.get_field_index(names.edit_prompt)
        table = table.set_column(place, names.edit_prompt, pa.array(said, pa.string()))
    return table
