"""How far a run is: counts from its commits."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from factory.ledger import committed_units, read_commit
from factory.manifest import READERS, manifest_hash, newest_manifest
from factory.plan import Plan
from factory.run import Run
from schemas.candidate import Verdict


@dataclass
class Tally:
    """Candidates by verdict."""

    accepted: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def candidates(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.failed

    @property
    def acceptance(self) -> float:
        """Share accepted, 0..1; 0 where there are none."""
        return self.accepted / self.candidates if self.candidates else 0.0


@dataclass
class Status:
    """The state of a run."""

    uri: str
    units: int
    committed_units: int
    triplets: int
    tally: Tally
    by_kind: dict[str, Tally]
    rejections: dict[str, int]
    borderline: int
    truncated: int
    rows_per_accepted: float | None
    """UNet forwards per pair: steps x 4 per candidate; null without pairs."""
    sealed: dict[str, Any] | None = field(default=None)
    """The newest manifest's sequence, hash and whether it is partial; null where none is."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def status(run: Run, plan: Plan) -> Status:
    """Read every commit once."""
    units = [unit for unit in committed_units(run.store) if unit in plan.units]
    total = Tally()
    by_kind: dict[str, Tally] = {}
    rejections: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    with ThreadPoolExecutor(READERS) as pool:
        for unit, commit in zip(
            units, pool.map(lambda unit: read_commit(run.store, unit), units), strict=True
        ):
            kinds = {t.triplet_id: t.edit_kind or "not given" for t in plan.triplets(unit)}
            for row in commit.candidates:
                for tally in (total, by_kind.setdefault(kinds[row.triplet_id], Tally())):
                    setattr(tally, row.verdict, getattr(tally, row.verdict) + 1)
                if row.verdict == Verdict.REJECTED:
                    rejections.update((row.reason or "").split(","))
                flags["borderline"] += row.borderline
                flags["truncated"] += row.truncated
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
        tally=total,
        by_kind=dict(sorted(by_kind.items())),
        rejections=dict(sorted(rejections.items())),
        borderline=flags["borderline"],
        truncated=flags["truncated"],
        rows_per_accepted=rows / total.accepted if total.accepted else None,
        sealed=sealed,
    )
