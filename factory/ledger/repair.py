"""Damaged units are opened again, so that a rerun makes them anew; what was damaged is kept.

A damaged commit stays where it is and is named as set aside. Damaged data is copied to `damaged/` before
the same bytes are stored again under its key.
"""

from collections.abc import Iterable, Iterator

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.attempts import attempt_keys
from factory.ledger.plan import Plan, read_plan
from factory.ledger.retries import open_again, retries
from factory.ledger.run import Run
from factory.ledger.verify.run import Verification
from factory.storage.patience import patiently
from schemas.run import RetryRecord


def repair(run: Run, found: Verification) -> tuple[int, ...]:
    """Open the damaged units that were found; returns which, none where another driver was there first."""
    units = tuple(sorted(found.broken))
    if not units:
        return ()
    sequence, plan = retries(run.store), read_plan(run)
    aside = [key for unit in units for key in _commits(run, plan, unit)]
    for unit in units:
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
