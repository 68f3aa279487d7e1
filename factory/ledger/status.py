"""How far a run is: counts from its commits."""

from dataclasses import dataclass, field
from typing import Any

from factory.ledger.book import Book
from factory.ledger.failed import is_failed
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.sealed import manifest_hash, newest_manifest
from schemas.tally import Counts, Tally


@dataclass
class Status:
    """The state of a run."""

    uri: str
    units: int
    committed_units: int
    failed_units: int
    """Committed units without one candidate that was made; `generate --retry-failed` opens them."""
    triplets: int
    counts: Counts
    by_kind: dict[str, Counts]
    rejections: dict[str, int]
    borderline: int
    truncated: int
    rows_per_accepted: float | None
    """UNet forwards per pair: steps x 4 per candidate; null without pairs."""
    sealed: dict[str, Any] | None = field(default=None)
    """The newest manifest's sequence, hash and whether it is partial; null where none is."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["counts"] = self.counts.model_dump()
        plain["by_kind"] = {kind: counts.model_dump() for kind, counts in self.by_kind.items()}
        return plain


def status(run: Run, plan: Plan, book: Book | None = None) -> Status:
    """Sum up the roll-ups of finished segments and the commits of open ones."""
    tally = Tally()
    committed = failed_units = 0
    book = book or Book(run, plan)
    for segment in book.segments:
        lines = book.lines_of(segment)
        committed += len(lines)
        failed_units += sum(is_failed(line) for line in lines)
        part = Tally.sum(Tally.model_validate_json(line.tally) for line in lines)
        tally = Tally.sum((tally, part))
    total = tally.total
    rows = 4 * run.recipe.steps * total.candidates
    newest = newest_manifest(run)
    sealed = None
    if newest:
        sequence, manifest = newest
        sealed = {
            "sequence": sequence,
            "manifest_hash": manifest_hash(manifest),
            "partial": manifest.partial,
        }
    return Status(
        uri=run.uri,
        units=len(plan.units),
        committed_units=committed,
        failed_units=failed_units,
        triplets=plan.record.triplets,
        counts=total,
        by_kind=tally.by_kind,
        rejections=tally.rejections,
        borderline=tally.borderline,
        truncated=tally.truncated,
        rows_per_accepted=rows / total.accepted if total.accepted else None,
        sealed=sealed,
    )
