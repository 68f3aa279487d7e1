"""Counts of a unit's candidates, kept in its commit so that a run is summed up without its rows."""

from collections import Counter
from collections.abc import Iterable, Mapping

from schemas.candidate import Candidate, Verdict
from schemas.record import Record

KIND_NOT_GIVEN = "not given"


class Counts(Record):
    """Candidates by verdict."""

    accepted: int = 0
    """Kept as pairs."""
    rejected: int = 0
    """Below a gate, or behind better ones."""
    failed: int = 0
    """Not made."""

    @property
    def candidates(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.failed

    @property
    def acceptance(self) -> float:
        """Share accepted, 0..1; 0 where there are none."""
        return self.accepted / self.candidates if self.candidates else 0.0


class Tally(Record):
    """Everything that a run's state is summed up from."""

    by_kind: dict[str, Counts] = {}
    """Counts by edit kind; `not given` where a triplet names none."""
    rejections: dict[str, int] = {}
    """Candidates that each gate rejected; one may fail several."""
    borderline: int = 0
    """Candidates with a score near its gate."""
    truncated: int = 0
    """Candidates with a prompt that was cut."""

    @property
    def total(self) -> Counts:
        """Over all kinds."""
        return Counts(
            **{
                verdict.value: sum(getattr(c, verdict.value) for c in self.by_kind.values())
                for verdict in Verdict
            }
        )

    @classmethod
    def of(cls, rows: Iterable[Candidate], kinds: Mapping[str, str | None]) -> "Tally":
        """Count rows; `kinds` names each triplet's edit kind."""
        verdicts: dict[str, Counter[str]] = {}
        rejections: Counter[str] = Counter()
        borderline = truncated = 0
        for row in rows:
            kind = kinds[row.triplet_id] or KIND_NOT_GIVEN
            verdicts.setdefault(kind, Counter())[row.verdict.value] += 1
            if row.verdict == Verdict.REJECTED:
                rejections.update((row.reason or "").split(","))
            borderline += row.borderline
            truncated += row.truncated
        return cls(
            by_kind={kind: Counts(**counter) for kind, counter in sorted(verdicts.items())},
            rejections=dict(sorted(rejections.items())),
            borderline=borderline,
            truncated=truncated,
        )

    @classmethod
    def sum(cls, tallies: Iterable["Tally"]) -> "Tally":
        """All of them together."""
        verdicts: dict[str, Counter[str]] = {}
        rejections: Counter[str] = Counter()
        borderline = truncated = 0
        for tally in tallies:
            for kind, counts in tally.by_kind.items():
                verdicts.setdefault(kind, Counter()).update(counts.model_dump())
            rejections.update(tally.rejections)
            borderline += tally.borderline
            truncated += tally.truncated
        return cls(
            by_kind={kind: Counts(**counter) for kind, counter in sorted(verdicts.items())},
            rejections=dict(sorted(rejections.items())),
            borderline=borderline,
            truncated=truncated,
        )
