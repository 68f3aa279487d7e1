"""How far a run of any stage is: counts from its commits."""

from dataclasses import dataclass, field
from typing import Any

from factory.ledger.book import Book
from factory.ledger.lines import tally_of
from factory.ledger.manifest import manifest_hash, newest_manifest
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.units.reopen import is_failed
from schemas.ledger.layout import renamed
from schemas.ledger.tally import Tally


@dataclass
class Status:
    """The state of a run."""

    run: Run
    units: int
    committed_units: int
    failed_units: int
    """Committed units of which nothing could be made; `--retry-failed` opens them."""
    items: int
    """Of the plan."""
    tally: Tally
    """Of all that is committed."""
    sealed: dict[str, Any] | None = field(default=None)
    """The newest manifest's sequence, hash and whether it is partial; null where none is."""

    @property
    def counts(self) -> dict[str, int]:
        """What became of the outcomes; every name of the layout."""
        return {name: self.tally.total.get(name, 0) for name in self.run.layout.counts}

    @property
    def outcomes(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """For machines, under the stage's names."""
        layout = self.run.layout
        tally = {"marks": dict.fromkeys(layout.marks, 0)} | self.tally.model_dump()
        tally["marks"] = dict.fromkeys(layout.marks, 0) | tally["marks"]
        return {
            "uri": self.run.uri,
            "units": self.units,
            "committed_units": self.committed_units,
            "failed_units": self.failed_units,
            f"{layout.item}s": self.items,
            "counts": self.counts,
            **renamed(layout, tally),
            "sealed": self.sealed,
        }


def status(run: Run, plan: Plan, book: Book | None = None) -> Status:
    """Sum up the roll-ups of finished segments and the commits of open ones."""
    tally = Tally()
    committed = failed_units = 0
    book = book or Book(run, plan)
    for segment in book.segments:
        lines = book.lines_of(segment)
        committed += len(lines)
        failed_units += sum(is_failed(run.layout, line) for line in lines)
        part = Tally.sum(tally_of(run.layout, line) for line in lines)
        tally = Tally.sum((tally, part))
    newest = newest_manifest(run)
    sealed = None
    if newest:
        sequence, manifest = newest
        sealed = {
            "sequence": sequence,
            "manifest_hash": manifest_hash(run, manifest),
            "partial": manifest.partial,
        }
    return Status(
        run=run,
        units=len(plan.units),
        committed_units=committed,
        failed_units=failed_units,
        items=plan.record.items,
        tally=tally,
        sealed=sealed,
    )
