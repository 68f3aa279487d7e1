"""The plan of a run: its items in unit order, written once before anything is made.

A longer list appends a sequence with the new items alone, so the units before it stay as they are. Each
sequence has a head, and a file for the items of each segment, named by its bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np

from factory.errors import Damaged, ObjectMissing, RunMismatch, first_line
from factory.ledger import keys
from factory.ledger.lookup import Lookup, without
from factory.ledger.run import Run
from factory.ledger.units.retries import Retries, read_retries
from factory.storage.patience import read_named, read_whole, write_once
from factory.storage.protocol import ObjectStore
from schemas.arrow import read_rows, to_parquet
from schemas.canonical import canonical_json
from schemas.ledger.commit import Part
from schemas.ledger.layout import Layout, from_stored, to_stored
from schemas.ledger.run import PlanRecord
from schemas.ledger.stamped import stamped, unstamped
from schemas.record import Record

Row = dict[str, Any]
"""An item as plain JSON."""


class Item(Protocol):
    """What a plan lists: a record that knows its own name, and a few words for a message."""

    BESIDE: ClassVar[str]
    """What it has besides its name, in words."""

    @property
    def item_id(self) -> str: ...

    @property
    def words(self) -> str: ...

    def model_dump(self, *, mode: str) -> Row: ...


@dataclass(frozen=True)
class Plan:
    """The heads of the plan's sequences and the store that holds its items."""

    store: ObjectStore
    layout: Layout
    records: tuple[PlanRecord, ...]
    retries: Retries = field(default_factory=Retries, hash=False)
    """What was opened again."""

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
        return self.retries.generations.get(unit, 0)

    def size(self, unit: int) -> int:
        """How many items a unit holds."""
        sequence = self._sequence(unit)
        before = self.records[sequence - 1].items if sequence else 0
        head = self.records[sequence]
        rest = head.items - before - (unit - head.first_unit) * head.unit_items
        return min(rest, head.unit_items)

    def first_units(self, items: int) -> range:
        """The fewest units from the start that hold so many items."""
        held = 0
        for unit in self.units:
            if held >= items:
                return range(unit)
            held += self.size(unit)
        return self.units

    def items(self, unit: int) -> list[Row]:
        """The items of one unit, in order."""
        head = self.records[self._sequence(unit)]
        segment = keys.segment_of(unit)
        part = head.parts[segment - keys.segment_of(head.first_unit)]
        rows = _remembered(_ByUri(self), part)
        first = max(head.first_unit, keys.segment_units(segment).start)
        start = (unit - first) * head.unit_items
        return rows[start : start + head.unit_items]

    def all_items(self) -> Iterator[Row]:
        """Every item in unit order."""
        for head in self.records:
            for part in head.parts:
                yield from self.read_part(part)

    def read_part(self, part: Part) -> list[Row]:
        """The items of one file. Raises `ObjectMissing` or `Damaged`."""
        data = self.part_bytes(part)
        try:
            return read_rows(self.layout.items, data)[0]
        except (ValueError, OSError) as error:
            where = f"{self.store.uri}/{part.key}"
            raise Damaged(f"{where}: not a part of a plan: {first_line(error)}") from None

    def part_bytes(self, part: Part) -> bytes:
        """A file as it is stored, looked at by its hash. Raises `ObjectMissing` or `Damaged`."""
        what = f"{self.store.uri}/{part.key}: not the bytes that the plan names"
        return read_named(self.store, part.key, part.sha256, what)

    def _sequence(self, unit: int) -> int:
        return next(i for i, head in enumerate(self.records) if unit < head.units)


class _ByUri:
    """Lets a plan be part of a cache's key, whatever its store thinks of equality."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __hash__(self) -> int:
        return hash(self.plan.store.uri)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByUri) and other.plan.store.uri == self.plan.store.uri


@lru_cache(maxsize=8)
def _remembered(of: _ByUri, part: Part) -> list[Row]:
    """For callers who ask for one unit after the other."""
    return of.plan.read_part(part)


class ListDigest:
    """sha256 over the canonical JSON of a list of items, taken one by one."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"[")
        self.count = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Go on with these."""
        for row in rows:
            self._hash.update(b"," if self.count else b"")
            self._hash.update(canonical_json(row))
            self.count += 1

    @property
    def value(self) -> str:
        """Of the list so far, 64 hex digits."""
        closed = self._hash.copy()
        closed.update(b"]")
        return closed.hexdigest()


def digest(items: Iterable[Item]) -> str:
    """sha256 over the items in order, 64 hex digits."""
    taken = ListDigest()
    taken.add(_rows(items))
    return taken.value


def _rows(items: Iterable[Item]) -> Iterator[Row]:
    return (item.model_dump(mode="json") for item in items)


def write_plan(
    run: Run,
    items: Sequence[Item],
    unit_items: int,
    duplicates: int = 0,
    *,
    extend: bool = False,
) -> Plan:
    """Write the plan, find that it is there already, or with `extend` append what is new.

    A list that begins as the plan does is hashed once, and no file of the plan's items is fetched: that
    they are whole is for `verify` to say, and for whoever makes their units. Raises `RunMismatch` where the
    list lacks a planned item and does not say that it may, where it is longer and `extend` is not asked
    for, and where another driver extended the plan at the same moment.
    """
    present, taken = find_plan(run), ListDigest()
    if present is None:
        taken.add(_rows(items))
        _write_head(run, 0, None, items, unit_items, duplicates, taken)
        present, taken = read_plan(run), ListDigest()
    new, taken = new_items(run, present, items, extend=extend)
    if not new:
        return present
    taken.add(_rows(new))
    before = present.record
    sequence = len(present.records)
    if not _write_head(run, sequence, before, new, before.unit_items, duplicates, taken):
        raise RunMismatch(
            f"{run.uri}: another driver extended the plan at the same moment, by another "
            "list; run again to see what is new beside it"
        )
    return read_plan(run)


def new_items(
    run: Run, plan: Plan, items: Sequence[Any], *, extend: bool
) -> tuple[Sequence[Item], ListDigest]:
    """What a list adds to a plan, in its order, and the digest of what the plan holds. Nothing is written.

    Of a place that is listed again some may be gone: where the list says that it `may_lack` some, they stay
    planned. Raises `RunMismatch` where another lacks a planned item, and where one adds some unasked.
    """
    planned, taken = plan.record.items, ListDigest()
    # The stored digest is of the whole list and cannot be gone on with, and only by hashing what is
    # planned is it known that the list begins so: both by one pass over it, which nothing can spare.
    taken.add(_rows(items[:planned]))
    new: Sequence[Item] = items[planned:]
    if taken.value != plan.record.digest:
        new, taken = _added(plan, items)
    if new and not extend:
        raise RunMismatch(
            f"{run.uri}: was planned with {planned} {run.layout.item}s, the list given adds "
            f"{len(new)}; --extend appends them"
        )
    return new, taken


def _write_head(
    run: Run,
    sequence: int,
    before: PlanRecord | None,
    new: Sequence[Item],
    unit_items: int,
    duplicates: int,
    taken: ListDigest,
) -> bool:
    """Whether the head of a sequence is this one now; its parts are written first."""
    first = before.units if before else 0
    parts = _write_parts(run.store, sequence, first, new, unit_items)
    head = PlanRecord(
        first_unit=first,
        units=first + sum(part.units for part in parts),
        items=taken.count,
        duplicates=duplicates,
        unit_items=unit_items,
        digest=taken.value,
        parts=tuple(parts),
    )
    data = stamped(to_stored(run.layout, head))
    return write_once(run.store, keys.plan_head(sequence), data) == data


def _write_parts(
    store: ObjectStore, sequence: int, unit: int, items: Sequence[Any], unit_items: int
) -> list[Part]:
    """A part a segment; only the first may begin inside of one."""
    parts: list[Part] = []
    start = 0
    while start < len(items):
        room = keys.segment_units(keys.segment_of(unit)).stop - unit
        rows: Sequence[Record] = items[start : start + room * unit_items]
        data = to_parquet(type(rows[0]), rows)
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.plan_part(sequence, keys.segment(unit), sha256)
        store.put(key, data)
        parts.append(Part(key=key, sha256=sha256, units=-(-len(rows) // unit_items)))
        start += len(rows)
        unit += parts[-1].units
    return parts


def _added(plan: Plan, items: Sequence[Any]) -> tuple[Sequence[Item], ListDigest]:
    """As `new_items` of a list in another order: the plan's rows are read, once.

    Raises `RunMismatch` where it is no superset, and may not be less.
    """
    things, kind = plan.layout.item + "s", type(items[0])
    lookup, there, taken = Lookup(items), np.zeros(len(items), bool), ListDigest()
    for row in plan.all_items():
        taken.add([row])
        planned = kind.model_validate(row)
        place = lookup.find(planned)
        if place is not None:
            there[place] = True
            continue
        lacks = not lookup.holds_name(planned)
        if lacks and getattr(items, "may_lack", False):
            continue
        name = f"{planned.item_id} ({planned.words})"
        what = f"it lacks {name}" if lacks else f"it gives {name} another {planned.BESIDE}"
        raise RunMismatch(
            f"{plan.store.uri}: was planned with another list of {things}: {plan.record.items} "
            f"{things} there, {len(items)} in the list given; {what}"
        )
    return without(items, there), taken


def find_plan(run: Run) -> Plan | None:
    """The plan, or None where none was written."""
    try:
        return read_plan(run)
    except ObjectMissing:
        return None


def read_plan(run: Run) -> Plan:
    """The plan with all its sequences. Raises `ObjectMissing` or `Damaged`."""
    records = [_read_head(run, 0)]
    while True:
        try:
            records.append(_read_head(run, len(records)))
        except ObjectMissing:
            return Plan(run.store, run.layout, tuple(records), read_retries(run.store))


def _read_head(run: Run, sequence: int) -> PlanRecord:
    key = keys.plan_head(sequence)

    def taken(data: bytes) -> PlanRecord:
        try:
            fields = from_stored(run.layout, PlanRecord, unstamped(data))
            return PlanRecord.model_validate(fields)
        except ValueError as error:
            raise Damaged(f"{run.uri}/{key}: not a plan: {first_line(error)}") from None

    return read_whole(run.store, key, taken)
