"""How far a run is: counts from its commits."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from factory.ledger import committed_units, read_record
from factory.manifest import READERS, manifest_hash, newest_manifest
from factory.plan import Plan
from factory.run import Run
from schemas.tally import Counts, Tally


@dataclass
class Status:
    """The state of a run."""

    uri: str
    units: int
    committed_units: int
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


def status(run: Run, plan: Plan) -> Status:
    """Read every commit's record once."""
    units = [unit for unit in committed_units(run.store) if unit in plan.units]
    tally = Tally()
    with ThreadPoolExecutor(READERS) as pool:
        for unit_tally in pool.map(lambda unit: read_record(run.store, unit).tally, units):
            tally = tally.plus(unit_tally)
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
        committed_units=len(units),
        triplets=plan.record.triplets,
        counts=total,
        by_kind=tally.by_kind,
        rejections=tally.rejections,
        borderline=tally.borderline,
        truncated=tally.truncated,
        rows_per_accepted=rows / total.accepted if total.accepted else None,
        sealed=sealed,
    )
