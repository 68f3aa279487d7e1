"""The plan of a run: its triplets in unit order, written once before anything is made.

A longer list appends a sequence with the new triplets alone, so the units before it stay as they are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from factory.errors import ObjectMissing, RunMismatch
from factory.ledger import keys
from factory.ledger.retries import generations
from factory.storage.patience import read_named, write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.arrow import from_parquet, rows_to_json, to_parquet
from schemas.canonical import canonical_json
from schemas.commit import Part
from schemas.run import PlanRecord
from schemas.stamped import to_stamped_json
from schemas.triplet import Triplet


@dataclass(frozen=True)
class Plan:
    """The heads of the plan's sequences and the store that holds its triplets."""

    store: ObjectStore
    records: tuple[PlanRecord, ...]
    generations: Mapping[int, int] = field(default_factory=dict, hash=False)
    """How often a unit was opened again, where it was."""

    @property
    def record(self) -> PlanRecord:
        """The newest head, which describes the whole plan."""
        return self.records[-1]

    @property
    def units(self) -> range:
        """All unit numbers."""
        return range(self.record.units)

    def generation(self, unit: int) -> int:
        """How often a unit was opened again."""
        return self.generations.get(unit, 0)

    def size(self, unit: int) -> int:
        """How many triplets a unit holds."""
        sequence = self._sequence(unit)
        before = self.records[sequence - 1].triplets if sequence else 0
        head = self.records[sequence]
        rest = head.triplets - before - (unit - head.first_unit) * head.unit_triplets
        return min(rest, head.unit_triplets)

    def first_units(self, triplets: int) -> range:
        """The fewest units from the start that hold so many triplets."""
        held = 0
        for unit in self.units:
            if held >= triplets:
                return range(unit)
            held += self.size(unit)
        return self.units

    def triplets(self, unit: int) -> list[Triplet]:
        """The triplets of one unit, in order."""
        head = self.records[self._sequence(unit)]
        segment = keys.segment_of(unit)
        rows = remembered_part(self.store, head.parts[segment - keys.segment_of(head.first_unit)])
        first = max(head.first_unit, keys.segment_units(segment).start)
        start = (unit - first) * head.unit_triplets
        return rows[start : start + head.unit_triplets]

    def all_triplets(self) -> Iterator[Triplet]:
        """Every triplet in unit order."""
        for head in self.records:
            for part in head.parts:
                yield from read_part(self.store, part)

    def _sequence(self, unit: int) -> int:
        return next(i for i, head in enumerate(self.records) if unit < head.units)


class ListDigest:
    """sha256 over the canonical JSON of a list of triplets, taken one by one."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"[")
        self.count = 0

    def add(self, triplets: Iterable[Triplet]) -> None:
        """Go on with these."""
        for triplet in triplets:
            self._hash.update(b"," if self.count else b"")
            self._hash.update(canonical_json(rows_to_json([triplet])[0]))
            self.count += 1

    @property
    def value(self) -> str:
        """Of the list so far, 64 hex digits."""
        closed = self._hash.copy()
        closed.update(b"]")
        return closed.hexdigest()


def digest(triplets: Iterable[Triplet]) -> str:
    """sha256 over the triplets in order, 64 hex digits."""
    taken = ListDigest()
    taken.add(triplets)
    return taken.value


def write_plan(
    store: ObjectStore,
    triplets: Sequence[Triplet],
    unit_triplets: int,
    duplicates: int = 0,
    *,
    extend: bool = False,
) -> Plan:
    """Write the plan, find that it is there already, or with `extend` append what is new.

    Raises `RunMismatch` where the list lacks a planned triplet, where it is longer and `extend` is
    not asked for, and where another driver extended the plan at the same moment.
    """
    present = find_plan(store)
    if present is None:
        wanted = write_parts(store, 0, 0, triplets, unit_triplets)
        head = PlanRecord(
            first_unit=0,
            units=sum(part.units for part in wanted),
            triplets=len(triplets),
            duplicates=duplicates,
            unit_triplets=unit_triplets,
            digest=digest(triplets),
            parts=tuple(wanted),
        )
        write_once(store, keys.plan_head(0), to_stamped_json(head))
        present = read_plan(store)
    if present.record.digest == digest(triplets):
        return present
    new = _new_triplets(present, triplets)
    if not new:
        return present
    if not extend:
        raise RunMismatch(
            f"{store.uri}: was planned with {present.record.triplets} triplets, the list given adds "
            f"{len(new)}; --extend appends them"
        )
    return _extend(present, new, duplicates)


def _extend(plan: Plan, new: Sequence[Triplet], duplicates: int) -> Plan:
    before, sequence = plan.record, len(plan.records)
    parts = write_parts(plan.store, sequence, before.units, new, before.unit_triplets)
    taken = ListDigest()
    taken.add(plan.all_triplets())
    taken.add(new)
    head = PlanRecord(
        first_unit=before.units,
        units=before.units + sum(part.units for part in parts),
        triplets=before.triplets + len(new),
        duplicates=duplicates,
        unit_triplets=before.unit_triplets,
        digest=taken.value,
        parts=tuple(parts),
    )
    data = to_stamped_json(head)
    if write_once(plan.store, keys.plan_head(sequence), data) != data:
        raise RunMismatch(
            f"{plan.store.uri}: another driver extended the plan at the same moment, by another "
            "list; run again to see what is new beside it"
        )
    return read_plan(plan.store)


def _new_triplets(plan: Plan, triplets: Sequence[Triplet]) -> list[Triplet]:
    """What a list adds to the plan, in its order. Raises `RunMismatch` where it is no superset."""
    given = {triplet.triplet_id: triplet for triplet in triplets}
    for planned in plan.all_triplets():
        found = given.pop(planned.triplet_id, None)
        if found != planned:
            name = f"{planned.triplet_id} ({first_words(planned)})"
            what = f"it lacks {name}" if found is None else f"it gives {name} another kind or url"
            raise RunMismatch(
                f"{plan.store.uri}: was planned with another list of triplets: "
                f"{plan.record.triplets} triplets there, {len(triplets)} in the list given; {what}"
            )
    return list(given.values())


def first_words(triplet: Triplet) -> str:
    """A triplet for a message."""
    text = f"{triplet.original_prompt} > {triplet.edit_prompt}"
    return repr(text if len(text) <= 60 else text[:57] + "...")


def find_plan(store: ObjectStore) -> Plan | None:
    """The plan, or None where none was written."""
    try:
        return read_plan(store)
    except ObjectMissing:
        return None


def read_plan(store: ObjectStore) -> Plan:
    """The plan with all its sequences. Raises `ObjectMissing` or `Damaged`."""
    records = [_read_head(store, 0)]
    while True:
        try:
            records.append(_read_head(store, len(records)))
        except ObjectMissing:
            return Plan(store, tuple(records), generations(store))


def _read_head(store: ObjectStore, sequence: int) -> PlanRecord:
    return read_stamped(store, keys.plan_head(sequence), PlanRecord, "a plan")


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
