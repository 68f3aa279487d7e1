"""Where the items of a long list stand in it: some 24 bytes an item in memory, wherever the list is."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Lookup:
    """Places of items by their names and by all that they say."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items
        names, wholes = (np.empty(len(items), np.uint64) for _ in range(2))
        for place, item in enumerate(items):
            names[place], wholes[place] = hash_of(item.item_id), _whole(item)
        self._order: NDArray[np.int64] = np.argsort(names, kind="stable")
        self._names, self._wholes = names[self._order], wholes[self._order]

    def find(self, item: Any) -> int | None:
        """The place of an equal item."""
        whole = _whole(item)
        return next(
            (int(self._order[at]) for at in self._at(item) if self._wholes[at] == whole), None
        )

    def holds_name(self, item: Any) -> bool:
        """Whether an item of this name is there, whatever else it says."""
        named = (self._items[int(self._order[at])] for at in self._at(item))
        return any(one.item_id == item.item_id for one in named)

    def _at(self, item: Any) -> range:
        name = np.uint64(hash_of(item.item_id))
        return range(
            int(np.searchsorted(self._names, name, "left")),
            int(np.searchsorted(self._names, name, "right")),
        )


def without(items: Sequence[Any], there: NDArray[np.bool_]) -> Sequence[Any]:
    """The items of a list that are not marked, in its order; on disk where the list is."""
    rest = (item for item, marked in zip(items, there, strict=True) if not marked)
    made = getattr(items, "made_of", list)
    found: Sequence[Any] = made(rest)
    return found


def _whole(item: Any) -> int:
    return hash_of(item.model_dump_json())


def hash_of(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
