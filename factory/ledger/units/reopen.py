"""Units that are opened again, so that a rerun makes them anew: failed ones, and damaged ones.

A failed unit was committed though nothing of it could be made. Of a damaged one the commit stays where it
is and is named as set aside; damaged data is copied to `damaged/` before the same bytes are stored again
under its key.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from factory.errors import Damaged, ObjectMissing
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.named import claim
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run
from factory.ledger.units.attempts import attempt_keys
from factory.ledger.units.commits import read_commit
from factory.ledger.units.retries import next_retry, open_again, read_retries
from factory.ledger.verify.run import Verification
from factory.storage.patience import patiently
from schemas.ledger.commit import UnitLine
from schemas.ledger.layout import Layout
from schemas.ledger.run import RetryRecord


def is_failed(layout: Layout, line: UnitLine) -> bool:
    """Whether a unit is to be opened again: nothing of it was made, or, where failed outcomes alone are
    made anew, there is one.
    """
    failed = line.counts[Layout.FAILED]
    return failed > 0 and (layout.retry == "row" or failed == sum(line.counts.values()))


def open_failed(run: Run, plan: Plan) -> Plan:
    """Open every failed unit again; the plan with the generations that hold now."""
    while True:
        # Counted before anything is read, so that nobody else's retry goes unnoticed.
        sequence = next_retry(run.store)
        plan = replace(plan, retries=read_retries(run.store))
        units = [line.unit for line in Book(run, plan).lines() if is_failed(run.layout, line)]
        if not units:
            return plan
        if open_again(run.store, sequence, RetryRecord(units=tuple(units))):
            return replace(plan, retries=read_retries(run.store))


def repair(run: Run, found: Verification) -> tuple[int, ...]:
    """Open the damaged units that were found; returns which, none where another driver was there first."""
    units = tuple(sorted(found.broken))
    if not units:
        return ()
    sequence, plan = next_retry(run.store), read_plan(run)
    aside = [key for unit in units for key in _commits(run, plan, unit)]
    for unit in units:
        if run.layout.named:
            _claim(run, plan, unit)
        _keep(run, found.broken[unit])
    record = RetryRecord(units=units, repaired=True, aside=tuple(aside))
    return units if open_again(run.store, sequence, record) else ()


def _commits(run: Run, plan: Plan, unit: int) -> Iterator[str]:
    """All commits of a unit that are there: what is made anew is not compared with them."""
    for generation in range(plan.generation(unit) + 1):
        if run.commits == "sealed":
            yield from attempt_keys(run, unit, generation)
            continue
        key = keys.commit(unit, generation)
        if patiently(lambda key=key: run.store.find(key)) is not None:  # type: ignore[misc]
            yield key


def _claim(run: Run, plan: Plan, unit: int) -> None:
    """What the commits of a unit name around the root stays this run's, though its intent is lost."""
    for key in _commits(run, plan, unit):
        try:
            claim(run, unit, read_commit(run, unit, key).rows)
        except (Damaged, ObjectMissing):
            continue


def _keep(run: Run, damaged: Iterable[str]) -> None:
    """Copy what is damaged; of objects around the root, whose keys are no content's, make room besides."""
    for name in damaged:
        store, key = run.locate(name)
        try:
            data = patiently(lambda key=key, store=store: store.get(key))  # type: ignore[misc]
        except ObjectMissing:
            continue
        kept = keys.damaged(data, key)
        patiently(lambda kept=kept, data=data: run.store.put(kept, data))  # type: ignore[misc]
        if store is not run.store:
            store.delete(key)
