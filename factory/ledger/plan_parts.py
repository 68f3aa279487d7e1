"""The files of a plan: the triplets of one segment each, named by their bytes."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from factory.ledger import keys
from factory.storage.patience import read_named
from factory.storage.protocol import ObjectStore
from schemas.arrow import from_parquet, to_parquet
from schemas.commit import Part
from schemas.triplet import Triplet


def write_parts(
    store: ObjectStore, sequence: int, unit: int, triplets: Sequence[Triplet], unit_triplets: int
) -> list[Part]:
    """A part a segment; only the first may begin inside of one."""
    parts: list[Part] = []
    start = 0
    while start < len(triplets):
        room = keys.segment_units(keys.segment_of(unit)).stop - unit
        rows = triplets[start : start + room * unit_triplets]
        data = to_parquet(Triplet, rows)
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.plan_part(sequence, keys.segment(unit), sha256)
        store.put(key, data)
        parts.append(Part(key=key, sha256=sha256, units=-(-len(rows) // unit_triplets)))
        start += len(rows)
        unit += parts[-1].units
    return parts


def remembered_part(store: ObjectStore, part: Part) -> list[Triplet]:
    """As `read_part`, for callers who ask for one unit after the other."""
    return _remembered(_ByUri(store), part)


class _ByUri:
    """Lets a store be part of a cache's key, whatever it thinks of equality."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def __hash__(self) -> int:
        return hash(self.store.uri)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByUri) and other.store.uri == self.store.uri


@lru_cache(maxsize=8)
def _remembered(of: _ByUri, part: Part) -> list[Triplet]:
    return read_part(of.store, part)


def read_part(store: ObjectStore, part: Part) -> list[Triplet]:
    """The triplets of one file of the plan. Raises `ObjectMissing` or `Damaged`."""
    what = f"{store.uri}/{part.key}: not the bytes that the plan names"
    return from_parquet(Triplet, read_named(store, part.key, part.sha256, what))[0]
