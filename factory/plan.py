"""The plan of a run: its triplets in unit order, written once before anything is made."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError

from factory import keys
from factory.errors import Damaged, ObjectMissing, RunMismatch
from factory.storage.protocol import ObjectStore
from schemas.arrow import from_parquet, rows_to_json, to_parquet
from schemas.canonical import canonical_json, content_hash
from schemas.commit import Part, PlanRecord
from schemas.triplet import Triplet


@dataclass(frozen=True)
class Plan:
    """The head of the plan and the store that holds its triplets."""

    store: ObjectStore
    record: PlanRecord

    @property
    def units(self) -> range:
        """All unit numbers."""
        return range(self.record.first_unit, self.record.first_unit + self.record.units)

    def triplets(self, unit: int) -> list[Triplet]:
        """The triplets of one unit, in order."""
        segment = unit // keys.SEGMENT_UNITS - self.record.first_unit // keys.SEGMENT_UNITS
        rows = _part(self.store, self.record.parts[segment])
        start = (unit % keys.SEGMENT_UNITS) * self.record.unit_triplets
        return rows[start : start + self.record.unit_triplets]

    def all_triplets(self) -> Iterator[Triplet]:
        """Every triplet in unit order."""
        for part in self.record.parts:
            yield from read_part(self.store, part)


def _part(store: ObjectStore, part: Part) -> list[Triplet]:
    return _remembered_part(_ByUri(store), part)


class _ByUri:
    """Lets a store be part of a cache's key, whatever it thinks of equality."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def __hash__(self) -> int:
        return hash(self.store.uri)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByUri) and other.store.uri == self.store.uri


@lru_cache(maxsize=8)
def _remembered_part(of: _ByUri, part: Part) -> list[Triplet]:
    return read_part(of.store, part)


def read_part(store: ObjectStore, part: Part) -> list[Triplet]:
    """The triplets of one file of the plan. Raises `ObjectMissing` or `Damaged`."""
    data = store.get(part.key)
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise Damaged(f"{store.uri}/{part.key}: not the bytes that the plan names")
    return from_parquet(Triplet, data)[0]


def digest(triplets: Sequence[Triplet]) -> str:
    """sha256 over the triplets in order, 64 hex digits."""
    return content_hash(rows_to_json(triplets))


def write_plan(
    store: ObjectStore, triplets: Sequence[Triplet], unit_triplets: int, duplicates: int = 0
) -> Plan:
    """Write the plan, or find that it is there already; the head goes last.

    Raises `RunMismatch` where the run was planned with another list.
    """
    wanted = digest(triplets)
    present = find_plan(store)
    if present is None:
        store.put_new(
            keys.plan_head(0), _write_parts(store, triplets, unit_triplets, duplicates, wanted)
        )
        present = read_plan(store)
    if present.record.digest != wanted:
        raise RunMismatch(
            f"{store.uri}: was planned with another list of triplets: "
            f"{present.record.triplets} triplets there, {len(triplets)} in the list given"
        )
    return present


def _write_parts(
    store: ObjectStore,
    triplets: Sequence[Triplet],
    unit_triplets: int,
    duplicates: int,
    wanted: str,
) -> bytes:
    parts: list[Part] = []
    size = keys.SEGMENT_UNITS * unit_triplets
    for i in range(0, len(triplets), size):
        rows = triplets[i : i + size]
        data = to_parquet(Triplet, rows)
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.plan_part(0, f"{i // size:06d}", sha256)
        store.put(key, data)
        parts.append(Part(key=key, sha256=sha256, units=-(-len(rows) // unit_triplets)))
    record = PlanRecord(
        first_unit=0,
        units=sum(part.units for part in parts),
        triplets=len(triplets),
        duplicates=duplicates,
        unit_triplets=unit_triplets,
        digest=wanted,
        parts=tuple(parts),
    )
    return canonical_json(record.model_dump(mode="json"))


def find_plan(store: ObjectStore) -> Plan | None:
    """The plan, or None where none was written."""
    try:
        return read_plan(store)
    except ObjectMissing:
        return None


def read_plan(store: ObjectStore) -> Plan:
    """The plan. Raises `ObjectMissing` or `Damaged`."""
    key = keys.plan_head(0)
    try:
        return Plan(store, PlanRecord.model_validate_json(store.get(key)))
    except ValidationError as error:
        raise Damaged(f"{store.uri}/{key}: not a plan: {error.errors()[0]['msg']}") from None
