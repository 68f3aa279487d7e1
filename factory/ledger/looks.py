"""A run of any stage look by look, from its ledger alone; each look asks only for what may have changed.

The first look lists every open segment, as `status` does. Those after it list the segments in work and, in
turn, a few of the others, and read a bounded number of commits: so many requests whatever the run's size.
"""

import heapq
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

from factory.errors import Damaged, ObjectMissing
from factory.ledger import keys
from factory.ledger.book import READERS, Book
from factory.ledger.manifest import newest_manifest
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, line_of
from factory.ledger.units.reopen import is_failed
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectInfo
from schemas.ledger.commit import LedgerLine, Manifest

PLAN_EVERY = 6
"""Looks between two at whether the plan is longer, or units were opened again."""
IN_WORK = 4
"""Segments, those that changed last, that each look lists with their neighbours."""
IN_TURN = 2
"""Of the others, that each look lists besides."""
MOST_READS = 512
"""Commits read by a look; those beyond count as committed, and their outcomes at the next looks."""
RECENT = 256
"""So many of the newest commits tell how long the others will take."""
ENOUGH = 3
"""Fewer tell nothing."""
GAP = 20.0
"""Commits that lie so many times further apart than is usual are of two starts."""
GAP_S = 60.0
"""Nor is it said of a shorter time that nothing happens."""

_COMMITTED, _COUNTED = 1, 2


@dataclass(frozen=True)
class Look:
    """How far a run was at a moment."""

    run: Run
    at: float
    """When; seconds since 1970, UTC, by this machine's clock."""
    units: int
    """Of the plan."""
    committed_units: int
    counted_units: int
    """Committed ones whose outcomes are in `counts`: fewer where a look met many at once."""
    failed_units: int
    """Counted ones of which nothing could be made."""
    damaged_units: int
    """Committed ones whose commit cannot be read; `editmill verify` says more."""
    counts: dict[str, int]
    """What became of the outcomes; every name of the layout."""
    each_s: float | None
    """Between two commits, of late; None where too few are known or nothing happens any more."""
    silent_s: float | None
    """Since the newest commit that was seen; None where its time is not known."""
    sealed: dict[str, Any] | None
    """The newest manifest's sequence and whether it is partial, as far as it was looked for."""
    ended: bool
    """Whether the run is sealed, or was sealed as far as it is since the first look."""

    @property
    def left_s(self) -> float | None:
        """Until all units are committed, at this pace."""
        return None if self.each_s is None else self.each_s * (self.units - self.committed_units)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        left = self.left_s
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at)),
            "uri": self.run.uri,
            "stage": self.run.layout.stage,
            "units": self.units,
            "committed_units": self.committed_units,
            "counted_units": self.counted_units,
            "failed_units": self.failed_units,
            "damaged_units": self.damaged_units,
            "counts": self.counts,
            "units_a_minute": round(60 / self.each_s, 2) if self.each_s else None,
            "left_s": None if left is None else round(left),
            "silent_s": None if self.silent_s is None else round(self.silent_s),
            "sealed": self.sealed,
            "ended": self.ended,
        }


class Looks:
    """Looks at one run, one after the other."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self.run = run
        self._number = 0
        self._turn = 0
        self._first_sequence = -1
        self._manifest: tuple[int, Manifest] | None = None
        self._begin(plan)

    def _begin(self, plan: Plan) -> None:
        """All anew: of units that were opened again it is not known what they were counted with."""
        self.plan = plan
        self._states = bytearray()
        self._left: list[int] = []
        self._changed: dict[int, int] = {}
        self._summed: set[int] = set()
        self._uncounted: deque[int] = deque()
        self._times: list[float] = []
        self._times_of: dict[int, list[float]] = {}
        self._counts = dict.fromkeys(self.run.layout.counts, 0)
        self._committed = self._counted = self._failed = self._damaged = 0
        self._whole_listing = True
        self._grow(plan)

    def _grow(self, plan: Plan) -> None:
        """Take in what a longer plan adds."""
        self.plan = plan
        self._states.extend(bytes(len(plan.units) - len(self._states)))
        self._left = [
            len(units) - sum(map(bool, self._states[units.start : units.stop]))
            for units in map(self._units_of, self._segments)
        ]

    @property
    def _segments(self) -> range:
        last = self.plan.units[-1] if self.plan.units else -1
        return range(keys.segment_of(last) + 1)

    def _units_of(self, segment: int) -> range:
        units = keys.segment_units(segment)
        return range(units.start, min(units.stop, len(self.plan.units)))

    def look(self) -> Look:
        """How far the run is now. Raises `StorageError`; the next look then goes on from this one."""
        if self._number and (self._number % PLAN_EVERY == 0 or not any(self._left)):
            self._read_plan()
        before = self._committed
        # A book that is opened lists the roll-ups.
        book = Book(self.run, self.plan)
        for segment in sorted(book.rolled_up - self._summed):
            if segment < len(self._left) and self._open(segment):
                self._sum_up(segment, book.lines_of(segment))
        chosen = self._chosen()
        with ThreadPoolExecutor(READERS) as pool:
            for segment, infos in zip(chosen, pool.map(self._listed, chosen), strict=True):
                self._note(segment, infos)
        self._whole_listing = False
        self._count()
        news = self._number > 0 and self._committed != before
        self._number += 1
        if not news:
            self._manifest = newest_manifest(self.run)
            if self._number == 1 and self._manifest:
                self._first_sequence = self._manifest[0]
        return self._look(news)

    def _read_plan(self) -> None:
        now = read_plan(self.run)
        if now.retries != self.plan.retries:
            self._begin(now)
        elif now.records != self.plan.records:
            self._grow(now)

    def _open(self, segment: int) -> bool:
        """Whether anything of a segment is open, or not counted."""
        units = self._units_of(segment)
        return self._states.count(_COUNTED, units.start, units.stop) < len(units)

    def _chosen(self) -> list[int]:
        """The segments that are listed now."""
        open_ones = [segment for segment, left in enumerate(self._left) if left]
        if self._whole_listing or len(open_ones) <= IN_WORK:
            return open_ones
        lately = sorted(self._changed, key=lambda segment: self._changed[segment])[-IN_WORK:]
        near = {segment + step for segment in lately for step in (-1, 0, 1)}
        chosen = near.intersection(open_ones) | {open_ones[0], open_ones[-1]}
        for _ in range(IN_TURN):
            self._turn += 1
            chosen.add(open_ones[self._turn % len(open_ones)])
        return sorted(chosen)

    def _listed(self, segment: int) -> list[ObjectInfo]:
        prefix = keys.commits_of(segment)
        return patiently(lambda: list(self.run.store.list(prefix)))

    def _note(self, segment: int, infos: Sequence[ObjectInfo]) -> None:
        """Note the units of a segment that are committed, and when."""
        times = []
        for info in infos:
            name = keys.commit_name(info.key)
            if name is None or name.unit >= len(self.plan.units):
                continue
            own = (name.attempt is not None) == (self.run.commits == "sealed")
            if not own or name.generation != self.plan.generation(name.unit):
                continue
            times.append(info.modified)
            if not self._states[name.unit]:
                self._commit(name.unit)
                self._uncounted.append(name.unit)
        if times:
            self._times_of[segment] = heapq.nlargest(RECENT, times)
            self._times = heapq.nlargest(RECENT, chain.from_iterable(self._times_of.values()))

    def _commit(self, unit: int) -> None:
        segment = keys.segment_of(unit)
        self._states[unit] = _COMMITTED
        self._left[segment] -= 1
        self._committed += 1
        self._changed[segment] = self._number

    def _sum_up(self, segment: int, lines: Sequence[LedgerLine]) -> None:
        """Count what a roll-up holds, all at once."""
        for line in lines:
            if not self._states[line.unit]:
                self._commit(line.unit)
            self._take(line)
        self._summed.add(segment)

    def _count(self) -> None:
        """Read some of the commits that were seen."""
        units: list[int] = []
        while self._uncounted and len(units) < MOST_READS:
            unit = self._uncounted.popleft()
            if self._states[unit] == _COMMITTED:
                units.append(unit)

        def line(unit: int) -> LedgerLine | Exception:
            try:
                return line_of(self.run, find_commit(self.run, self.plan, unit))
            except (Damaged, ObjectMissing) as error:
                return error

        try:
            with ThreadPoolExecutor(READERS) as pool:
                for unit, found in zip(units, pool.map(line, units), strict=True):
                    self._found(unit, found)
        except BaseException:
            self._uncounted.extend(units)
            raise

    def _found(self, unit: int, found: LedgerLine | Exception) -> None:
        if isinstance(found, LedgerLine):
            self._take(found)
        elif isinstance(found, Damaged):
            self._states[unit] = _COUNTED
            self._damaged += 1
        else:
            # An attempt that is not whole: another one will commit the unit.
            self._states[unit] = 0
            self._left[keys.segment_of(unit)] += 1
            self._committed -= 1

    def _take(self, line: LedgerLine) -> None:
        if self._states[line.unit] == _COUNTED:
            return
        self._states[line.unit] = _COUNTED
        self._counted += 1
        self._failed += is_failed(self.run.layout, line)
        for name in self._counts:
            self._counts[name] += line.counts.get(name, 0)

    def _look(self, news: bool) -> Look:
        now, each = time.time(), pace_of(self._times)
        silent = max(0.0, now - self._times[0]) if self._times else None
        if each is not None and silent is not None and silent > max(GAP_S, GAP * each):
            each = None
        sealed, ended = None, False
        counts, counted = dict(self._counts), self._counted
        if self._manifest:
            sequence, manifest = self._manifest
            sealed = {"sequence": sequence, "partial": manifest.partial}
            whole = not manifest.partial and manifest.plan_digest == self.plan.record.digest
            ended = sequence > self._first_sequence or (whole and not any(self._left) and not news)
            if ended and whole:
                counts, counted = dict(manifest.counts), manifest.units
        return Look(
            run=self.run,
            at=now,
            units=len(self.plan.units),
            committed_units=self._committed,
            counted_units=counted,
            failed_units=self._failed,
            damaged_units=self._damaged,
            counts=counts,
            each_s=each,
            silent_s=silent,
            sealed=sealed,
            ended=ended,
        )


def pace_of(times: Sequence[float]) -> float | None:
    """Seconds between two commits by when they were stored, newest first; None where too few are of one
    start, or all came at once.
    """
    steps = [later - earlier for later, earlier in zip(times, times[1:], strict=False)]
    usual = sorted(steps)[len(steps) // 2] if steps else 0.0
    of_start = len(steps)
    for number, step in enumerate(steps):
        if step > max(GAP_S, GAP * usual):
            of_start = number
            break
    if of_start < ENOUGH - 1 or (took := times[0] - times[of_start]) < 1.0:
        return None
    return took / of_start
