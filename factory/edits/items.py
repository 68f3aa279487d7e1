"""A long list of pictures to be edited, on disk: however many there are, few are in memory."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa

from factory.ledger.lookup import hash_of
from schemas.arrow import arrow_schema, columns_of
from schemas.edits import EditItem

AT_ONCE = 8192
"""Items in memory."""
SCHEMA = arrow_schema(columns_of(EditItem))


class ItemList(Sequence[EditItem]):
    """Items in a file that is mapped; a part of it is another view of the same file."""

    def __init__(self, table: pa.Table, folder: "tempfile.TemporaryDirectory[str]") -> None:
        self._table = table
        self._folder = folder
        """Holds the file, and removes it once nobody looks at it."""
        self.may_lack = False
        """Whether all below a place is listed: of what an earlier listing found some may be gone."""

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[EditItem]:
        for batch in self._table.to_batches(AT_ONCE):
            for row in batch.to_pylist():
                yield EditItem(**row)

    @staticmethod
    def made_of(items: Iterable[EditItem]) -> "ItemList":
        """As `on_disk`, for whoever has such a list and knows no more of it."""
        return on_disk(items)

    @overload
    def __getitem__(self, place: int) -> EditItem: ...
    @overload
    def __getitem__(self, place: slice) -> "ItemList": ...
    def __getitem__(self, place: int | slice) -> "EditItem | ItemList":
        if isinstance(place, int):
            place = range(len(self))[place]
            return EditItem(**self._table.slice(place, 1).to_pylist()[0])
        start, stop, step = place.indices(len(self))
        if step != 1:
            raise ValueError(f"step must be 1, got {step}")
        return ItemList(self._table.slice(start, max(0, stop - start)), self._folder)


def on_disk(items: Iterable[EditItem]) -> ItemList:
    """Items, taken one by one, as such a list."""
    folder = tempfile.TemporaryDirectory(prefix="editmill-list-")
    path = Path(folder.name, "items.arrow")
    with pa.ipc.new_file(path, SCHEMA) as writer:
        held: list[dict[str, object]] = []
        for item in items:
            held.append(item.model_dump())
            if len(held) == AT_ONCE:
                writer.write_batch(pa.RecordBatch.from_pylist(held, SCHEMA))
                held = []
        writer.write_batch(pa.RecordBatch.from_pylist(held, SCHEMA))
    return ItemList(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), folder)


def distinct(items: ItemList) -> tuple[ItemList, int]:
    """The list without items that repeat an earlier one, and how many they were.

    In memory are 16 bytes an item. Raises `ValueError` with the two of them where different ones name the
    same key.
    """
    keys, wholes = (np.empty(len(items), np.uint64) for _ in range(2))
    for place, item in enumerate(items):
        keys[place], wholes[place] = hash_of(item.key), hash_of(item.model_dump_json())
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(items), bool)
    first = 0
    for here in range(1, len(order)):
        if keys[order[here]] != keys[order[first]]:
            first = here
            continue
        one, other = items[int(order[first])], items[int(order[here])]
        if one.key == other.key and wholes[order[here]] != wholes[order[first]]:
            raise ValueError(one, other)
        again[order[here]] = one == other
    if not again.any():
        return items, 0
    return on_disk(item for item, out in zip(items, again, strict=True) if not out), int(
        again.sum()
    )
