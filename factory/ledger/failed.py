"""Failed units: committed though nothing of them could be made, and how they are opened again."""

from dataclasses import replace

from factory.ledger.book import Book
from factory.ledger.plan import Plan
from factory.ledger.retries import open_again, read_retries, retries
from factory.ledger.run import Run
from schemas.commit import UnitLine
from schemas.layout import Layout
from schemas.run import RetryRecord


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
        sequence = retries(run.store)
        plan = replace(plan, retries=read_retries(run.store))
        units = [line.unit for line in Book(run, plan).lines() if is_failed(run.layout, line)]
        if not units:
            return plan
        if open_again(run.store, sequence, RetryRecord(units=tuple(units))):
            return replace(plan, retries=read_retries(run.store))
