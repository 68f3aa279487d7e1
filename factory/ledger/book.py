"""The ledger as a driver reads it: finished segments from their roll-ups, open ones by listing.

A *roll-up* is one object for all units of a finished segment, written once. It is derived: whoever
writes it writes the same bytes, a lost one is made again, and no commit is ever left out for it.
"""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from factory.errors import Damaged, ObjectMissing, StorageRefused, first_line
from factory.ledger import keys
from factory.ledger.lines import read_lines, write_lines
from factory.ledger.manifest import newest_manifest, part_lines
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, line_of
from factory.ledger.units.commits import commit_names
from factory.storage.patience import patiently, read_whole, write_once
from schemas.ledger.commit import LedgerLine, UnitLine

READERS = 8
"""Commits that are read at once."""


class Closing(Exception):
    """Reading was given up because the job ends."""


class Book:
    """What is committed, for one start: a commit of an open segment is read at most once.

    Memory holds a byte per unit and the lines of open segments, not more. Where several threads use
    one book, one at a time may call it.
    """

    def __init__(self, run: Run, plan: Plan) -> None:
        self.run = run
        self.plan = plan
        self.closing = threading.Event()
        self.leave_out = False
        """Whether units whose commit is damaged count as open, and are told in `left_out`."""
        self.left_out: dict[int, str] = {}
        self._lines: dict[int, LedgerLine] = {}
        self._known = bytearray(len(plan.units))
        self._rolled_up = {
            int(name)
            for info in run.store.list(keys.SEGMENTS)
            if (name := info.key.removeprefix(keys.SEGMENTS).removesuffix(".parquet")).isdecimal()
        }

    def know(self, unit: int) -> None:
        """A unit was told to be committed: every listing that is begun after this must show it."""
        self._known[unit] = 1

    @property
    def rolled_up(self) -> frozenset[int]:
        """Segments that have a roll-up."""
        return frozenset(self._rolled_up)

    @property
    def segments(self) -> range:
        """The numbers of all segments of the plan."""
        last = self.plan.units[-1] if self.plan.units else -1
        return range(keys.segment_of(last) + 1)

    def units_of(self, segment: int) -> range:
        """The planned units of a segment."""
        units = keys.segment_units(segment)
        return range(units.start, min(units.stop, len(self.plan.units)))

    def committed(self) -> bytearray:
        """One byte per unit of the plan: 1 where it is committed."""
        done = bytearray(len(self.plan.units))
        for segment in self.segments:
            for unit in self.committed_of(segment):
                done[unit] = 1
        return done

    def committed_of(self, segment: int) -> Iterable[int]:
        """The committed units of a segment, in order."""
        if self.run.commits == "sealed":
            return [line.unit for line in self.lines_of(segment)]
        units = self.units_of(segment)
        if segment in self._rolled_up:
            again = {unit for unit in self.plan.retries.generations if unit in units}
            return (u for u in units if u not in again or self._is_there(u))
        return list(self._listed(segment))

    def lines(self) -> Iterator[LedgerLine]:
        """The line of every committed unit, in order. Raises `Damaged`."""
        for segment in self.segments:
            yield from self.lines_of(segment)

    def lines_of(self, segment: int) -> list[LedgerLine]:
        """The lines of a segment's committed units, in order. Raises `Damaged`."""
        if segment not in self._rolled_up:
            return self._read(segment, self._listed(segment))
        # Another driver may have extended the plan since this one read it, and rolled up more.
        units = self.units_of(segment)
        lines = [line for line in self.read_roll_up(segment) if line.unit in units]
        older = {line.unit for line in lines if line.generation < self.plan.generation(line.unit)}
        if not older:
            return lines
        newer = {line.unit: line for line in self._read(segment, sorted(older))}
        merged = (newer.get(line.unit) if line.unit in older else line for line in lines)
        return [line for line in merged if line is not None]

    def roll_up(self, segment: int) -> bool:
        """Write a segment's roll-up if all its units are planned and committed; True where it is there.

        Raises `Damaged`, and `Closing` once the book is closing.
        """
        if segment in self._rolled_up:
            return True
        units = keys.segment_units(segment)
        if units.stop > len(self.plan.units) or len(list(self._listed(segment))) < len(units):
            return False
        lines = self.lines_of(segment)
        if len(lines) < len(units):
            return False
        data = write_lines(self.run.layout, LedgerLine, lines)
        write_once(self.run.store, keys.roll_up(segment), data)
        self._rolled_up.add(segment)
        for unit in units:
            self._lines.pop(unit, None)
        return True

    def read_roll_up(self, segment: int) -> list[LedgerLine]:
        """The lines of a roll-up. Raises `Damaged`, or `ObjectMissing`."""
        key = keys.roll_up(segment)

        def taken(data: bytes) -> list[LedgerLine]:
            try:
                lines = read_lines(self.run.layout, LedgerLine, data)
                if [line.unit for line in lines] != list(keys.segment_units(segment)):
                    raise ValueError("its units are not those of its segment")
            except (ValueError, OSError) as error:
                raise Damaged(
                    f"{self.run.uri}/{key}: not a roll-up: {first_line(error)}; it is derived: remove it "
                    f"and run {self.run.layout.stage} or seal"
                ) from None
            return lines

        return read_whole(self.run.store, key, taken)

    def _listed(self, segment: int) -> Iterator[int]:
        """Units of an open segment with a commit of their newest generation, in order.

        Raises `StorageRefused` where one of them is known and not shown.
        """
        units, last = self.units_of(segment), -1
        known = {unit for unit in units if self._known[unit]}
        for name in commit_names(self.run.store, segment):
            planned = name.unit < len(self.plan.units) and name.unit != last
            own = (name.attempt is not None) == (self.run.commits == "sealed")
            if planned and own and name.generation == self.plan.generation(name.unit):
                last = name.unit
                known.discard(last)
                yield last
        if known:
            raise StorageRefused(
                f"{self.run.uri}/{self._commit_key(min(known))}: a listing must show every object, it "
                "lacks this one, which was stored; this store cannot be used"
            )

    def _is_there(self, unit: int) -> bool:
        return patiently(lambda: self.run.store.find(self._commit_key(unit))) is not None

    def _commit_key(self, unit: int) -> str:
        return keys.commit(unit, self.plan.generation(unit))

    def _read(self, segment: int, units: Iterable[int]) -> list[LedgerLine]:
        """The lines of these units of a segment, those that are open left out."""
        units = list(units)
        # Another sealer may have chosen, since a line was read, another attempt than this one did.
        chosen = self.chosen(segment)
        for unit, sealed in chosen.items():
            if unit in self._lines and self._lines[unit].content != sealed:
                del self._lines[unit]
        unread = [unit for unit in units if unit not in self._lines]

        def line(unit: int) -> LedgerLine | None:
            if self.closing.is_set():
                raise Closing
            try:
                return line_of(self.run, find_commit(self.run, self.plan, unit, chosen.get(unit)))
            except ObjectMissing:
                return None
            except Damaged as error:
                if not self.leave_out:
                    raise
                self.left_out[unit] = str(error)
                return None

        if unread:
            with ThreadPoolExecutor(READERS) as pool:
                for found in pool.map(line, unread):
                    if found is not None:
                        self._lines[found.unit] = found
        return [self._lines[unit] for unit in units if unit in self._lines]

    def chosen(self, segment: int) -> dict[int, UnitLine]:
        """What the newest manifest lists of a segment, where attempts are chosen from."""
        if self.run.commits == "conditional":
            return {}
        newest = newest_manifest(self.run)
        prefix = keys.manifest_part(keys.segment_name(segment), "").removesuffix(".parquet")
        parts = newest[1].parts if newest else ()
        lines = (part_lines(self.run, part) for part in parts if part.key.startswith(prefix))
        return {line.unit: line for some in lines for line in some}
